"""Makes ratchet.json: python -m tests.e2ee.kat.make_ratchet

All seeds and nonces come from a hash of the case's name and the step, so the file is the same every time.
"""

from __future__ import annotations

import hashlib
from typing import Any

from e2ee.errors import E2EEError
from e2ee.limits import DAY_S, SUITE_PQ, SUITE_X25519
from e2ee.padding import pad, unpad
from e2ee.primitives import agreement_pair
from e2ee.ratchet import MESSAGE_OVERHEAD, Ratchet
from tests.support.e2ee import Recorded, edited, flip, write_kat

NOTE = """
Each case begins with two ratchets: `a` is the initiator (keys RK || HK || NHK from `keys`, remote ratchet key the
public key of `signed_prekey_seed`, its first pair from `initiator_random`), `b` the responder (the same keys, own
pair from `signed_prekey_seed`). `steps` then run in order, with the default limits. `encrypt`: that side encrypts
`content`, padded, behind `outer` with `random`, and gets `message`, which later steps know as `name`. `burn`: that
side encrypts empty content `count` times, whatever the randomness is, and nobody sees the messages. `decrypt`: that
side reads the message `name` after `edit` (at `at`, `delete` bytes are replaced by `insert`) at `now` behind `outer`,
and gets `content` or `error`, after which `skipped` keys are stored. A refused message changes nothing.
"""
NOW = 1_700_000_000


def seed(name: str, length: int) -> bytes:
    return hashlib.shake_256(name.encode()).digest(length)


class Script:
    """Two ratchets, and what was done with them."""

    def __init__(self, name: str, suite: int = SUITE_PQ) -> None:
        transcript, keys = seed(f"{name}/transcript", 32), seed(f"{name}/keys", 96)
        signed, first = seed(f"{name}/signed", 32), seed(f"{name}/first", 32)
        pair = agreement_pair(signed)
        self.sides = {
            "a": Ratchet.initiator(suite, transcript, keys, pair.public, Recorded(first)),
            "b": Ratchet.responder(suite, transcript, keys, pair),
        }
        self.messages: dict[str, bytes] = {}
        self.outer: dict[str, bytes] = {}
        self.case: dict[str, Any] = {
            "name": name,
            "suite": suite,
            "transcript": transcript.hex(),
            "keys": keys.hex(),
            "signed_prekey_seed": signed.hex(),
            "initiator_random": first.hex(),
            "steps": [],
        }

    def encrypt(self, side: str, name: str, content: bytes | None = None, *, outer: bytes = b"") -> None:
        """Both a new pair's seed and two nonces are at hand; what was drawn is recorded."""
        content = f"{name} of {side}".encode() if content is None else content
        source = Recorded(seed(f"{self.case['name']}/{name}", 56))
        before = source.left
        self.messages[name] = self.sides[side].encrypt(pad(content), outer=outer, random=source)
        self.outer[name] = outer
        drawn = before[: len(before) - len(source.left)]
        self._step("encrypt", side, name, content=content, outer=outer, random=drawn, message=self.messages[name])

    def burn(self, side: str, count: int) -> None:
        for _ in range(count):
            self.sides[side].encrypt(pad(b""), outer=b"", random=bytes)
        self.case["steps"].append({"do": "burn", "side": side, "count": count})

    def decrypt(
        self,
        side: str,
        name: str,
        error: str | None = None,
        *,
        edit: list[dict[str, Any]] | None = None,
        outer: bytes | None = None,
        now: int = NOW,
    ) -> None:
        """``error`` is what the step must give, so that the file cannot come out with another refusal than was meant."""
        ratchet, message = self.sides[side], edited(self.messages[name], edit or [])
        behind = self.outer[name] if outer is None else outer
        outcome: dict[str, Any]
        try:
            outcome = {"content": ratchet.decrypt(message, outer=behind, now=float(now), accept=unpad)}
        except E2EEError as refused:
            outcome = {"error": refused.code}
        assert outcome.get("error") == error, (self.case["name"], name, outcome)
        self._step("decrypt", side, name, outer=behind, edit=edit or [], now=now, **outcome, skipped=ratchet.skipped_count)

    def _step(self, do: str, side: str, name: str, **values: Any) -> None:
        shown = {key: value.hex() if isinstance(value, bytes) else value for key, value in values.items()}
        self.case["steps"].append({"do": do, "side": side, "name": name, **shown})

    def turn(self, side: str, name: str) -> None:
        """``side`` sends and the other reads."""
        self.encrypt(side, name)
        self.decrypt("b" if side == "a" else "a", name)


def ping_pong(suite: int) -> Script:
    script = Script(f"ping-pong in suite {suite}", suite)
    for turn in range(4):
        script.turn("a", f"a{turn}")
        script.turn("b", f"b{turn}")
    return script


def out_of_order() -> Script:
    script = Script("out of order in one chain")
    for number in range(6):
        script.encrypt("a", f"m{number}", outer=b"outer" if number < 3 else b"")
    for number in (2, 0, 5, 1, 4, 3):
        script.decrypt("b", f"m{number}")
    for number in range(6):
        script.decrypt("b", f"m{number}", "duplicate_message")
    return script


def late_across_turns() -> Script:
    script = Script("late messages of past chains")
    for turn in range(3):
        for number in range(3):
            script.encrypt("a", f"a{turn}.{number}")
        script.decrypt("b", f"a{turn}.1")
        script.encrypt("b", f"b{turn}.0")
        script.encrypt("b", f"b{turn}.1")
        script.decrypt("a", f"b{turn}.1")
    for turn in (1, 0, 2):
        script.decrypt("a", f"b{turn}.0")
        script.decrypt("b", f"a{turn}.2")
        script.decrypt("b", f"a{turn}.0")
    script.decrypt("b", "a2.1", "duplicate_message")
    script.decrypt("b", "a0.1", "decryption_failed")
    script.turn("b", "end")
    return script


def padding_buckets() -> Script:
    script = Script("lengths around the buckets")
    for length in (0, 62, 63, 64, 1022, 1023, 1024, 1151, 1152):
        name = f"l{length}"
        script.encrypt("a", name, bytes(number % 251 for number in range(length)))
        script.decrypt("b", name)
    script.encrypt("a", "zeros", b"\x80" + bytes(62))
    script.decrypt("b", "zeros")
    return script


def skip_bound() -> Script:
    script = Script("how far one message may skip")
    script.turn("a", "first")
    script.burn("a", 1000)
    script.encrypt("a", "after 1000")
    script.burn("a", 1001)
    script.encrypt("a", "after 1001")
    script.decrypt("b", "after 1000")
    script.decrypt("b", "after 1001", "too_many_skipped")
    return script


def turn_bound() -> Script:
    script = Script("how far a message that ends a chain may skip")
    script.turn("a", "first")
    script.turn("b", "reply")
    script.turn("a", "second")
    script.burn("a", 1001)
    script.encrypt("b", "other")
    script.decrypt("a", "other")
    script.encrypt("a", "third")
    script.decrypt("b", "third", "too_many_skipped")
    return script


def store_bound() -> Script:
    script = Script("how many keys may be stored")
    script.turn("a", "first")
    for round_ in range(2):
        script.burn("a", 1000)
        script.turn("a", f"gap {round_}")
    script.encrypt("a", "missed")
    script.encrypt("a", "one more")
    script.decrypt("b", "one more", "too_many_skipped")
    script.decrypt("b", "missed")
    script.encrypt("a", "missed later")
    script.encrypt("a", "a week later")
    script.decrypt("b", "a week later", "too_many_skipped", now=NOW + int(7 * DAY_S) - 1)
    script.decrypt("b", "a week later", now=NOW + int(7 * DAY_S))
    return script


def ages() -> Script:
    script = Script("the age of skipped keys")
    for name in ("late", "too late", "fresh"):
        script.encrypt("a", name)
    script.decrypt("b", "fresh")
    script.decrypt("b", "late", now=NOW + int(7 * DAY_S) - 1)
    script.decrypt("b", "too late", "duplicate_message", now=NOW + int(7 * DAY_S))
    script.turn("b", "reply")
    script.encrypt("a", "four chains late")
    script.encrypt("a", "five chains late")
    script.turn("a", "chain 1")
    for chain in range(2, 6):
        script.turn("b", f"reply {chain}")
        script.turn("a", f"chain {chain}")
    script.decrypt("b", "four chains late")
    script.turn("b", "reply 6")
    script.turn("a", "chain 6")
    script.decrypt("b", "five chains late", "decryption_failed")
    return script


def tampered() -> Script:
    script = Script("tampered messages change nothing")
    script.encrypt("a", "first", outer=b"outer")
    script.encrypt("a", "second")
    script.encrypt("a", "skipped")
    script.encrypt("a", "third")
    size = len(script.messages["first"])
    for name, outer in (("first", b"outer"), ("second", b"")):
        for at in (4, 15, 16, 55, 71, 72, 84, size - 17, size - 1):
            script.decrypt("b", name, "decryption_failed", edit=[flip(script.messages[name], at)])
        script.decrypt("b", name, "decryption_failed", outer=outer + b"x")
        script.decrypt("b", name)
    script.decrypt("b", "third")
    short = {"at": MESSAGE_OVERHEAD - 1, "delete": size, "insert": ""}
    for name in ("skipped",):
        message = script.messages[name]
        script.decrypt("b", name, "unsupported_version", edit=[flip(message, 0)])
        script.decrypt("b", name, "malformed_message", edit=[{"at": 1, "delete": 1, "insert": "03"}])
        script.decrypt("b", name, "unsupported_suite", edit=[{"at": 2, "delete": 1, "insert": "03"}])
        script.decrypt("b", name, "decryption_failed", edit=[{"at": 2, "delete": 1, "insert": "01"}])
        script.decrypt("b", name, "malformed_message", edit=[flip(message, 3)])
        script.decrypt("b", name, "malformed_message", edit=[short])
        script.decrypt("b", name, "malformed_message", edit=[{"at": 1, "delete": size, "insert": ""}])
        script.decrypt("b", name, "decryption_failed", edit=[flip(message, 90)])
        script.decrypt("b", name, "decryption_failed", edit=[{"at": size, "delete": 0, "insert": "00"}])
        script.decrypt("b", name)
    script.turn("b", "reply")
    return script


def reflected() -> Script:
    script = Script("a message sent back to its sender")
    script.turn("a", "first")
    script.decrypt("a", "first", "decryption_failed")
    script.turn("b", "reply")
    script.decrypt("b", "reply", "decryption_failed")
    return script


def main() -> None:
    scripts = [ping_pong(SUITE_X25519), ping_pong(SUITE_PQ), out_of_order(), late_across_turns(), padding_buckets(), skip_bound()]
    scripts += [turn_bound(), store_bound(), ages(), tampered(), reflected()]
    write_kat("ratchet", " ".join(NOTE.split()), [script.case for script in scripts])


if __name__ == "__main__":
    main()
