"""Writes sealed.json: ``python -m tests.e2ee.kat.make_sealed``. All of it follows from names.

Types of cases:

- ``hpke``: ``plain`` for the X25519 pair of ``recipient_seed`` with ``info``, ``aad`` and ``random`` gives ``sealed``, and back.
- ``certificate``: the server of ``server_seed`` issues ``encoded`` for user, device, signing key and time; ``times`` are [now,
  error or null].
- ``certificate_refused``: ``encoded`` after ``edit`` gives ``error`` at ``now``.
- ``seal``: ``message`` from the device of ``sender_certificate`` to that of ``recipient_certificate`` with ``random`` gives
  ``sealed``, which the pair of ``agreement_seed`` opens at ``now``.
- ``seal_refused``: ``message`` is none of a session.
- ``open_refused``: ``sealed`` of the case ``of`` after ``edit``, or one of its own, gives ``error`` at ``now``, for the device of
  ``recipient_certificate`` and ``agreement_seed`` and the server's key ``server``.
"""

from __future__ import annotations

from e2ee.certificates import DeviceCertificate
from e2ee.encoding import lp
from e2ee.errors import E2EEError
from e2ee.hpke import hpke_seal
from e2ee.primitives import PREFIX, KeyPair, agreement_pair, signing_pair
from e2ee.sealed import SenderCertificate, issue_sender_certificate, open_sender, seal_sender
from tests.support.e2ee import NOW, edited, flip, local_device, write_kat
from tests.support.kat import Case, Named, append, cut, refusal, seeded

_DAY = 86_400
_SERVER = signing_pair(seeded("server"))
_SENDER = local_device("زيد", 7, random=Named("sender"))
_RECIPIENT = local_device("layla", 2, random=Named("recipient"))
_OTHER = local_device("layla", 3, random=Named("other"))
_MESSAGE = bytes.fromhex("01010200") + seeded("a message", 200)
_HEAD = bytes.fromhex("01050100")


def _hpke() -> list[Case]:
    cases: list[Case] = []
    for name, plain, info, aad in (("all empty", b"", b"", b""), ("all there", b"beauty is truth", b"an info", b"an aad")):
        pair, random = agreement_pair(seeded(f"hpke {name}")), Named(f"ephemeral {name}")
        sealed = hpke_seal(pair.public, plain, info=info, aad=aad, random=random)
        case = {"type": "hpke", "name": f"hpke, {name}", "recipient_seed": pair.secret.hex(), "recipient": pair.public.hex()}
        case |= {"random": random.drawn.hex(), "info": info.hex(), "aad": aad.hex()}
        cases.append(case | {"plain": plain.hex(), "sealed": sealed.hex()})
    return cases


def _certificate() -> SenderCertificate:
    named = _SENDER.certificate
    return issue_sender_certificate(
        _SERVER, user_id=named.user_id, device_id=named.device_id, signing_public=named.signing, expires=int(NOW) + 1_000
    )


def _certificates(certificate: SenderCertificate) -> list[Case]:
    expires, encoded = certificate.expires, certificate.encoded
    times = [(expires, None), (expires + 1, "untrusted_identity"), (expires - _DAY, None)]
    times += [(expires - _DAY - 1, "untrusted_identity")]
    case: Case = {
        "type": "certificate",
        "name": "sender certificate",
        "server_seed": _SERVER.secret.hex(),
        "server": _SERVER.public.hex(),
        "user": certificate.user_id,
        "device": certificate.device_id,
        "signing": certificate.signing.hex(),
        "expires": expires,
        "encoded": encoded.hex(),
        "times": times,
    }
    edits = {
        "the version is changed": {"at": 0, "delete": 1, "insert": "02"},
        "a letter of the user is changed": flip(encoded, 4),
        "a bit of the device is changed": flip(encoded, 12),
        "a bit of the key is changed": flip(encoded, 20),
        "a bit of the time is changed": flip(encoded, -65),
        "a bit of the signature is changed": flip(encoded, -1),
        "it ends early": cut(encoded, len(encoded) - 1),
        "a byte follows": append(encoded, b"\0"),
        "the device is 0": {"at": 9, "delete": 4, "insert": "00000000"},
        "there is no user": {"at": 1, "delete": 2 + 6, "insert": "0000"},
    }
    cases = [case]
    for name, edit in edits.items():
        try:
            SenderCertificate.parse(edited(encoded, [edit])).verify(_SERVER.public, now=NOW)
        except E2EEError as error:
            common = {"server": _SERVER.public.hex(), "encoded": encoded.hex(), "edit": [edit], "now": int(NOW)}
            cases.append({"type": "certificate_refused", "name": f"sender certificate: {name}"} | common | refusal(error))
    return cases


def _refused(
    name: str,
    sealed: bytes,
    of: str | None = None,
    *,
    edit: list[Case] | None = None,
    now: int = int(NOW),
    own: DeviceCertificate = _RECIPIENT.certificate,
    agreement: KeyPair = _RECIPIENT.agreement,
    server: bytes = _SERVER.public,
) -> Case:
    case: Case = {"type": "open_refused", "name": name}
    case |= {"of": of, "edit": edit or []} if of else {"sealed": sealed.hex()}
    case |= {"recipient_certificate": own.encoded.hex(), "agreement_seed": agreement.secret.hex()}
    case |= {"server": server.hex(), "now": now}
    try:
        open_sender(own, agreement, edited(sealed, edit or []), server=server, now=now)
    except E2EEError as error:
        return case | refusal(error)
    raise AssertionError(f"{name} was not refused")


def _inside(name: str, plain: bytes) -> Case:
    """A message that only a dishonest sender can make."""
    info = PREFIX + b"sealed" + _RECIPIENT.certificate.hash
    sealed = _HEAD + hpke_seal(_RECIPIENT.agreement.public, plain, info=info, aad=_HEAD, random=Named(name))
    return _refused(name, sealed)


def _refusals(of: str, sealed: bytes, certificate: SenderCertificate) -> list[Case]:
    where = {"version": 0, "type": 1, "suite": 2, "flags": 3, "ephemeral key": 4, "ciphertext": 36, "tag": len(sealed) - 1}
    cases = [_refused(f"a bit of the {what} is changed", sealed, of, edit=[flip(sealed, at)]) for what, at in where.items()]
    cases += [_refused(f"it has {at} bytes", sealed, of, edit=[cut(sealed, at)]) for at in (0, 3, 4, 35, 36, 51, len(sealed) - 1)]
    cases.append(_refused("a byte follows", sealed, of, edit=[append(sealed, b"\0")]))
    cases.append(_refused("an ephemeral key of small order", sealed, of, edit=[{"at": 4, "delete": 32, "insert": "00" * 32}]))
    cases.append(_refused("the certificate is past", sealed, of, now=certificate.expires + 1))
    cases.append(_refused("the certificate is too far ahead", sealed, of, now=certificate.expires - _DAY - 1))
    cases.append(_refused("another server", sealed, of, server=signing_pair(seeded("another server")).public))
    cases.append(_refused("another device's key", sealed, of, agreement=_OTHER.agreement))
    cases.append(_refused("another certificate of the same key", sealed, of, own=_OTHER.certificate))
    encoded = certificate.encoded
    cases.append(_inside("inside is nothing", b""))
    cases.append(_inside("inside is no message", lp(encoded)))
    cases.append(_inside("inside is a message of type 3", lp(encoded) + bytes.fromhex("0103")))
    cases.append(_inside("inside is a message of version 2", lp(encoded) + bytes.fromhex("0201")))
    cases.append(_inside("inside is a longer certificate", lp(encoded + b"\0") + _MESSAGE))
    cases.append(_inside("inside is a forged certificate", lp(edited(encoded, [flip(encoded, -1)])) + _MESSAGE))
    return cases


def cases() -> list[Case]:
    certificate = _certificate()
    sealing: list[Case] = []
    for name, message in (("a message of type 1", _MESSAGE), ("a message of type 2", bytes.fromhex("0102") + _MESSAGE)):
        random = Named(name)
        sealed = seal_sender(_RECIPIENT.certificate, certificate, message, random=random)
        case: Case = {"type": "seal", "name": name, "random": random.drawn.hex(), "message": message.hex()}
        case |= {"sender_certificate": certificate.encoded.hex(), "server": _SERVER.public.hex(), "now": int(NOW)}
        case |= {"recipient_certificate": _RECIPIENT.certificate.encoded.hex()}
        sealing.append(case | {"agreement_seed": _RECIPIENT.agreement.secret.hex(), "sealed": sealed.hex()})
    for message in (b"", b"\1", bytes.fromhex("0103"), bytes.fromhex("0105"), bytes.fromhex("0201")):
        case = {"type": "seal_refused", "name": f"to seal {message.hex() or 'nothing'}", "message": message.hex()}
        case |= {"sender_certificate": certificate.encoded.hex()}
        case |= {"recipient_certificate": _RECIPIENT.certificate.encoded.hex()}
        sealing.append(case | {"error": "malformed_message"})
    first = bytes.fromhex(sealing[0]["sealed"])
    return [*_hpke(), *_certificates(certificate), *sealing, *_refusals(sealing[0]["name"], first, certificate)]


if __name__ == "__main__":
    write_kat("sealed", "Types of cases as in make_sealed.py.", cases())
