"""Makes handshake.json: python -m tests.e2ee.kat.make_handshake

The expected T, RK, HK, NHK and first message are computed here from the text of the profile and the bare primitives, not by
`e2ee.handshake`, so that the file is a telling of its own. All seeds come from a hash of the case's name. ML-KEM's encapsulation
draws for itself: what it once gave is kept from the file that is there.
"""

from __future__ import annotations

import hashlib
from typing import Any

from e2ee.certificates import device_key_signature, issue_certificate
from e2ee.handshake import LocalDevice
from e2ee.padding import pad
from e2ee.prekeys import Bundle, KemPreKey, OneTimePreKey, SignedPreKey
from e2ee.primitives import (
    AESGCM,
    KeyPair,
    agree,
    agreement_pair,
    encapsulate,
    hkdf,
    hmac_sha256,
    kem_pair,
    sha256,
    sign,
    signing_pair,
)
from tests.support.e2ee import KAT, flip, read_kat, write_kat

NOTE = """
Each case with a `message` is a handshake: build both devices and the prekeys from their seeds (certificates and
bundle must come out as they stand), initiate with `policy`, `random` (EK seed, first ratchet seed, then the two
nonces of the first message) and the recorded encapsulation `kem` (the key that it is for is checked all the same),
encrypt `content`, and get `transcript` (T), `root_key` (RK), `header_key` (HK), `next_header_key` (NHK) and
`message`. The responder gets the same keys, reads `message`, and answers with `reply_content` and `reply_random`
(ratchet seed, two nonces): `reply`. A case with `of` is a refusal: of the case it names, with the bundle (`target`
bundle: the initiator must refuse) or the message (`target` message: the responder must refuse it, at the latest when
it decrypts) edited: at `at`, `delete` bytes are replaced by `insert`. `policy` is that of the side which refuses;
`without` names a prekey that the responder no longer has; `error` is the code. `initiator_suites` or
`responder_suites`: the certificate that the refusing side knows lists these instead, signed by the same keys.
"""
P = b"salam/e2ee/1/"
NOW = 1_700_000_000
SMALL_ORDER = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"
NOT_CANONICAL_ZERO = "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
SMALL_ORDER_ED25519 = "01" + "00" * 31
NOT_CANONICAL_ED25519 = "ee" + "ff" * 30 + "7f"


def seed(name: str, length: int = 32) -> bytes:
    return hashlib.shake_256(name.encode()).digest(length)


def lp(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


class Party:
    """A device from the seeds of its name."""

    def __init__(self, user: str, device_id: int, suites: list[int]) -> None:
        self.user, self.device_id, self.suites = user, device_id, suites
        self.seeds = {kind: seed(f"{user}/{device_id}/{kind}") for kind in ("account", "signing", "agreement")}
        self.account, self.signing = signing_pair(self.seeds["account"]), signing_pair(self.seeds["signing"])
        self.agreement = agreement_pair(self.seeds["agreement"])
        self.certificate = issue_certificate(
            self.account,
            user_id=user,
            device_id=device_id,
            signing_public=self.signing.public,
            agreement_public=self.agreement.public,
            device_signature=device_key_signature(self.signing, user, device_id, self.agreement.public),
            created=NOW,
            suites=tuple(suites),
        )

    def local(self) -> LocalDevice:
        return LocalDevice(self.certificate, self.signing, self.agreement)

    def to_json(self) -> dict[str, Any]:
        seeds = {f"{kind}_seed": value.hex() for kind, value in self.seeds.items()}
        place = {"user": self.user, "device": self.device_id, "created": NOW, "suites": self.suites}
        return {**place, **seeds, "certificate": self.certificate.encoded.hex()}

    def address(self) -> bytes:
        return lp(self.user.encode()) + self.device_id.to_bytes(4, "big")

    def keys(self) -> bytes:
        return self.signing.public + self.agreement.public


def type1(
    suite: int, transcript: bytes, outer: bytes, header_key: bytes, chain: bytes, ratchet: bytes, draws: bytes, content: bytes
) -> bytes:
    """The first message of a chain, PN and N zero."""
    prefix = bytes([1, 1, suite, 0])
    header = draws[:12] + AESGCM(header_key).encrypt(draws[:12], ratchet + bytes(8), transcript + prefix)
    before = prefix + header + draws[12:]
    body = AESGCM(hmac_sha256(chain, b"\x01")).encrypt(draws[12:], pad(content), transcript + outer + before)
    return before + body


class Prekeys:
    """The prekeys of one case; ``kem`` is None, "last" or "once"."""

    def __init__(self, name: str, owner: Party, *, one_time: bool, kem: str | None) -> None:
        self.seeds = {"spk": seed(f"{name}/spk"), "opk": seed(f"{name}/opk"), "kpk": seed(f"{name}/kpk", 64)}
        self.spk, self.opk, self.kpk = (
            agreement_pair(self.seeds["spk"]),
            agreement_pair(self.seeds["opk"]),
            kem_pair(self.seeds["kpk"]),
        )
        self.ids = {"spk": 0x01020304, "opk": 0x11121314, "kpk": 0x21222324}
        self.owner, self.one_time, self.kem = owner, one_time, kem

    def _signed(self, kind: str, label: str, public: bytes) -> tuple[int, int, bytes, bytes]:
        body = self.ids[label].to_bytes(4, "big") + NOW.to_bytes(8, "big") + public
        return self.ids[label], NOW, public, sign(self.owner.signing, kind, body)

    def bundle(self) -> bytes:
        return Bundle(
            self.owner.certificate,
            SignedPreKey(*self._signed("spk", "spk", self.spk.public)),
            OneTimePreKey(self.ids["opk"], self.opk.public) if self.one_time else None,
            KemPreKey(*self._signed(f"kem-{self.kem}", "kpk", self.kpk.public)) if self.kem else None,
            self.kem == "once",
        ).encode()

    def to_json(self) -> dict[str, Any]:
        def shown(label: str, **more: Any) -> dict[str, Any]:
            return {"id": self.ids[label], "seed": self.seeds[label].hex(), **more}

        return {
            "signed_prekey": shown("spk", created=NOW),
            "one_time_prekey": shown("opk") if self.one_time else None,
            "kem_prekey": shown("kpk", created=NOW, once=self.kem == "once") if self.kem else None,
            "bundle": self.bundle().hex(),
        }


def agreed(
    suite: int, alice: Party, bob: Party, prekeys: Prekeys, ek: KeyPair, secret: bytes, ciphertext: bytes
) -> tuple[bytes, bytes]:
    """T, and RK || HK || NHK."""
    spk, opk = prekeys.spk, prekeys.opk
    agreements = [agree(alice.agreement.secret, spk.public), agree(ek.secret, bob.agreement.public), agree(ek.secret, spk.public)]
    agreements += [agree(ek.secret, opk.public)] if prekeys.one_time else []
    kem_mark = {"last": b"\x01", "once": b"\x02"}.get(prekeys.kem or "", b"")
    transcript = sha256(
        P
        + b"transcript\x01"
        + bytes([suite])
        + alice.address()
        + bob.address()
        + alice.keys()
        + bob.keys()
        + ek.public
        + spk.public,
        b"\x01" + opk.public if prekeys.one_time else b"\x00",
        kem_mark + prekeys.kpk.public + ciphertext if suite == 2 else b"\x00",
    )
    ikm = b"\xff" * 32 + b"".join(agreements) + secret
    return transcript, hkdf(bytes(32), ikm, P + b"x3dh" + bytes([suite]) + transcript, 96)


def encapsulated(suite: int, public: bytes, old: dict[str, Any] | None) -> tuple[bytes, bytes]:
    """Secret and ciphertext; those of ``old`` where there is such a case already."""
    if suite == 1:
        return b"", b""
    return (bytes.fromhex(old["kem"]["secret"]), bytes.fromhex(old["kem"]["ciphertext"])) if old else encapsulate(public)


def handshake(
    name: str, suite: int, *, one_time: bool, kem: str | None, old: dict[str, Any] | None, **sides: Any
) -> dict[str, Any]:
    """One case; ``kem`` is None, "last" or "once", ``old`` the same case of the file that is there."""
    alice = Party(sides.get("a", "alice@example.org"), 7, sides.get("a_suites", [1, 2]))
    bob = Party(sides.get("b", "b\u00f6b"), sides.get("b_device", 0xFFFFFFFF), sides.get("b_suites", [1, 2]))
    prekeys = Prekeys(name, bob, one_time=one_time, kem=kem)
    draws = seed(f"{name}/random", 88)
    ek, ratchet = agreement_pair(draws[:32]), agreement_pair(draws[32:64])
    secret, ciphertext = encapsulated(suite, prekeys.kpk.public, old)
    transcript, keys = agreed(suite, alice, bob, prekeys, ek, secret, ciphertext)
    root, header_key, next_header_key = keys[:32], keys[32:64], keys[64:]
    flags = one_time | (2 if suite == 2 else 0) | (4 if suite == 2 and kem == "once" else 0)
    used = [prekeys.ids["spk"], prekeys.ids["opk"] * one_time, prekeys.ids["kpk"] * (suite == 2)]
    named = b"".join(number.to_bytes(4, "big") for number in used)
    outer = bytes([1, 2, suite, flags]) + alice.keys() + alice.certificate.device_signature + ek.public + named + ciphertext
    content, reply_content = f"\x00first message of {name}".encode(), b"\x00" + seed(f"{name}/reply", 200)
    step = hkdf(root, agree(ratchet.secret, prekeys.spk.public), P + b"root", 96)
    message = outer + type1(suite, transcript, outer, header_key, step[32:64], ratchet.public, draws[64:], content)
    reply_draws = seed(f"{name}/reply-random", 56)
    answering = agreement_pair(reply_draws[:32])
    reply_step = hkdf(step[:32], agree(answering.secret, ratchet.public), P + b"root", 96)
    reply = type1(suite, transcript, b"", next_header_key, reply_step[32:64], answering.public, reply_draws[32:], reply_content)
    return {
        "name": name,
        "suite": suite,
        "now": NOW,
        "policy": {"min_suite": suite, "require_one_time": one_time},
        "initiator": alice.to_json(),
        "responder": bob.to_json(),
        **prekeys.to_json(),
        "random": draws.hex(),
        "kem": {"ciphertext": ciphertext.hex(), "secret": secret.hex()} if suite == 2 else None,
        "content": content.hex(),
        "transcript": transcript.hex(),
        "root_key": root.hex(),
        "header_key": header_key.hex(),
        "next_header_key": next_header_key.hex(),
        "fingerprint": sha256(ek.public, named).hex(),
        "message": message.hex(),
        "reply_random": reply_draws.hex(),
        "reply_content": reply_content.hex(),
        "reply": reply.hex(),
    }


def put(at: int, replacement: str) -> list[dict[str, Any]]:
    return [{"at": at, "delete": len(replacement) // 2, "insert": replacement}]


def bundle_refusals(case: dict[str, Any]) -> list[dict[str, Any]]:
    """What the initiator refuses of a full bundle in suite 2."""
    bundle, bob = bytes.fromhex(case["bundle"]), Party(case["responder"]["user"], case["responder"]["device"], [1, 2])
    start = 4  # The certificate stands behind version, flags and its length.
    end = start + len(bob.certificate.encoded)
    keys = start + 1 + 2 + len(bob.user.encode()) + 4  # AK, IKs, IKd
    spk, opk = end, end + 108
    kem = opk + 36
    total = len(bundle)

    def signed(at: int, kind: str, changed: bytes) -> list[dict[str, Any]]:
        """The whole prekey replaced by one that the device did sign."""
        return put(at, (changed + sign(bob.signing, kind, changed)).hex())

    spk_head, kem_body = bundle[spk : spk + 12], bundle[kem : kem + 1196]
    bad_kem_key = b"\xff" * 1184  # Coefficients that are not below q: FIPS 203's modulus check fails.
    table: list[tuple[str, str, list[dict[str, Any]]]] = [
        ("an empty bundle", "malformed_message", [{"at": 0, "delete": total, "insert": ""}]),
        ("one byte short", "malformed_message", [{"at": total - 1, "delete": 1, "insert": ""}]),
        ("one byte left over", "malformed_message", [{"at": total, "delete": 0, "insert": "00"}]),
        ("version 2", "unsupported_version", put(0, "02")),
        ("an unknown flag", "malformed_message", put(1, "0f")),
        ("a one-time flag without KEM prekey", "malformed_message", put(1, "05")),
        ("a certificate of version 2", "unsupported_version", put(start, "02")),
        ("the device signature altered", "bad_signature", [flip(bundle, end - 128)]),
        ("the account's signature altered", "bad_signature", [flip(bundle, end - 64)]),
        ("an account key of small order", "invalid_key", put(keys, SMALL_ORDER_ED25519)),
        ("an account key that is not canonical", "invalid_key", put(keys, NOT_CANONICAL_ED25519)),
        ("a signing key of small order", "invalid_key", put(keys + 32, SMALL_ORDER_ED25519)),
        ("an agreement key of small order", "invalid_key", put(keys + 64, SMALL_ORDER)),
        ("the agreement key altered", "bad_signature", [flip(bundle, keys + 64)]),
        ("the signed prekey altered", "bad_signature", [flip(bundle, spk + 12)]),
        ("the signed prekey's id altered", "bad_signature", [flip(bundle, spk)]),
        ("the signed prekey's signature altered", "bad_signature", [flip(bundle, opk - 1)]),
        ("a signed prekey of small order, well signed", "invalid_key", signed(spk, "spk", spk_head + bytes.fromhex(SMALL_ORDER))),
        ("a signed prekey signed as a KEM prekey", "bad_signature", signed(spk, "kem-once", bundle[spk : spk + 44])),
        ("a one-time prekey of small order", "invalid_key", put(opk + 4, NOT_CANONICAL_ZERO)),
        ("the KEM prekey altered", "bad_signature", [flip(bundle, kem + 12)]),
        ("a one-time KEM prekey passed off as a last resort", "bad_signature", put(1, "03")),
        ("a KEM prekey that is none, well signed", "invalid_key", signed(kem, "kem-once", kem_body[:12] + bad_kem_key)),
        ("the KEM prekey taken away", "downgrade_refused", [*put(1, "01"), {"at": kem, "delete": total - kem, "insert": ""}]),
    ]
    refusals = [refusal(case, "bundle", name, error, edits) for name, error, edits in table]
    strict = {"policy": {"min_suite": 2, "require_one_time": True}}
    without = [*put(1, "06"), {"at": opk, "delete": 36, "insert": ""}]
    older = [{"at": 2, "delete": end - 2, "insert": lp(Party(bob.user, bob.device_id, [1]).certificate.encoded).hex()}]
    return [
        *refusals,
        refusal(case, "bundle", "no one-time prekey where the policy wants one", "prekeys_exhausted", without, **strict),
        refusal(case, "bundle", "a certificate without suite 2", "downgrade_refused", older, **strict),
    ]


def message_refusals(case: dict[str, Any]) -> list[dict[str, Any]]:
    """What the responder refuses of a first message in suite 2 with a one-time prekey."""
    message = bytes.fromhex(case["message"])
    inner = 4 + 32 + 32 + 64 + 32 + 12 + 1088
    table: list[tuple[str, str, list[dict[str, Any]]]] = [
        ("an empty message", "malformed_message", [{"at": 0, "delete": len(message), "insert": ""}]),
        ("one byte", "malformed_message", [{"at": 1, "delete": len(message) - 1, "insert": ""}]),
        ("cut in the ciphertext", "malformed_message", [{"at": inner - 1, "delete": len(message) - inner + 1, "insert": ""}]),
        ("nothing inside", "malformed_message", [{"at": inner, "delete": len(message) - inner, "insert": ""}]),
        ("a first message inside", "malformed_message", put(inner + 1, "02")),
        ("version 2", "unsupported_version", put(0, "02")),
        ("version 2 inside", "unsupported_version", put(inner, "02")),
        ("an unknown type inside", "malformed_message", put(inner + 1, "07")),
        ("suite 3", "unsupported_suite", put(2, "03")),
        ("suite 3 inside", "unsupported_suite", put(inner + 2, "03")),
        ("suite 1 inside", "decryption_failed", put(inner + 2, "01")),
        ("flags inside", "malformed_message", put(inner + 3, "01")),
        ("an unknown flag", "malformed_message", put(3, "0f")),
        ("suite 1 with a KEM ciphertext", "malformed_message", put(2, "01")),
        ("suite 2 without the KEM flag", "malformed_message", put(3, "01")),
        ("an id without its flag", "malformed_message", put(3, "06")),
        ("another signing key", "untrusted_identity", [flip(message, 4)]),
        ("another agreement key", "untrusted_identity", [flip(message, 36)]),
        ("another device signature", "untrusted_identity", [flip(message, 68)]),
        ("another base key", "decryption_failed", [flip(message, 132)]),
        ("a base key of small order", "invalid_key", put(132, SMALL_ORDER)),
        ("a base key of zeros", "invalid_key", put(132, "00" * 32)),
        ("a last-resort key instead of a one-time one", "decryption_failed", put(3, "03")),
        ("the KEM ciphertext altered", "decryption_failed", [flip(message, 176)]),
        ("the header nonce altered", "decryption_failed", [flip(message, inner + 4)]),
        ("the header altered", "decryption_failed", [flip(message, inner + 16)]),
        ("the body's nonce altered", "decryption_failed", [flip(message, inner + 72)]),
        ("the body altered", "decryption_failed", [flip(message, inner + 84)]),
        ("the tag altered", "decryption_failed", [flip(message, -1)]),
        ("one byte short", "decryption_failed", [{"at": len(message) - 1, "delete": 1, "insert": ""}]),
        ("one byte left over", "decryption_failed", [{"at": len(message), "delete": 0, "insert": "00"}]),
    ]
    refusals = [refusal(case, "message", name, error, edits) for name, error, edits in table]
    gone = ("one_time_prekey", "kem_prekey")
    return refusals + [refusal(case, "message", f"the {name} is gone", "unknown_prekey", [], without=name) for name in gone]


def refusal(case: dict[str, Any], target: str, name: str, error: str, edits: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    named = {"name": f"{target}: {name}", "of": case["name"], "target": target, "edit": edits}
    return {**named, "policy": {"min_suite": 1, "require_one_time": False}, "error": error, **more}


def suite_refusals(case: dict[str, Any]) -> list[dict[str, Any]]:
    """What is refused of a good handshake in suite 1: a better suite on both sides, or a suite below the policy of either side."""
    strict = {"policy": {"min_suite": 2, "require_one_time": False}}
    better = {"initiator_suites": [1, 2], "responder_suites": [1, 2]}
    return [
        refusal(case, "message", "suite 1 where both devices have suite 2", "downgrade_refused", [], **better),
        refusal(case, "message", "suite 1 where the policy wants suite 2", "downgrade_refused", [], **strict),
        refusal(case, "bundle", "suite 1 where the policy wants suite 2", "downgrade_refused", [], **strict),
    ]


def main() -> None:
    known = {case["name"]: case for case in read_kat("handshake")} if (KAT / "handshake.json").exists() else {}
    cases = [
        handshake(name, suite, one_time=one_time, kem=kem, old=known.get(name), **sides)
        for name, suite, one_time, kem, sides in (
            ("suite 1", 1, False, None, {"a_suites": [1]}),
            ("suite 1, one-time prekey", 1, True, None, {"b_suites": [1]}),
            ("suite 1, KEM prekey on offer", 1, True, "last", {"a_suites": [1], "a": "\u00fc" * 127 + "x", "b": "z"}),
            ("suite 2, last resort", 2, False, "last", {"b_device": 1}),
            ("suite 2, one-time prekey, last resort", 2, True, "last", {}),
            ("suite 2, one-time KEM prekey", 2, False, "once", {"a_suites": [1, 2, 3], "b_suites": [2, 9]}),
            ("suite 2, all one-time", 2, True, "once", {}),
            ("suite 2, to oneself", 2, True, "once", {"b": "alice@example.org"}),
        )
    ]
    by_name = {case["name"]: case for case in cases}
    full = by_name["suite 2, all one-time"]
    write_kat(
        "handshake",
        " ".join(NOTE.split()),
        [*cases, *bundle_refusals(full), *message_refusals(full), *suite_refusals(by_name["suite 1"])],
    )


if __name__ == "__main__":
    main()
