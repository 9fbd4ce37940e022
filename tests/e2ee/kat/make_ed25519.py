"""Writes ed25519.json: ``python -m tests.e2ee.kat.make_ed25519``. Which keys and signatures the profile takes (its section 1).

One type of case, ``verify``: under ``public``, is ``signature`` that of kind ``spk`` and ``body``? ``error`` is null where it is.
The points are computed from the curve's equation. Without the look at the key, a library that verifies without the cofactor accepts
what is named "equal without the cofactor", and one that verifies with it everything of mixed order.
"""

from __future__ import annotations

import hashlib

from e2ee.errors import E2EEError
from e2ee.primitives import PREFIX, sign, signing_pair, verify
from tests.support.e2ee import write_kat
from tests.support.edwards import BASE, ORDER, P, Point, add, encode, encodings, times, torsion
from tests.support.kat import Case, seeded

_KIND = "spk"


def _challenge(r: bytes, key: bytes, body: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + key + PREFIX + _KIND.encode() + b"\0" + body).digest(), "little") % ORDER


def _number(name: str) -> int:
    return int.from_bytes(seeded(name, 64), "little") % ORDER


def _case(name: str, public: bytes, body: bytes, signature: bytes) -> Case:
    case: Case = {"type": "verify", "name": name, "public": public.hex(), "body": body.hex(), "signature": signature.hex()}
    try:
        verify(public, _KIND, body, signature)
    except E2EEError as error:
        return case | {"error": error.code}
    return case | {"error": None}


def _signed(scalar: int, key: bytes, r: Point, nonce: int, body: bytes) -> bytes:
    """What the holder of ``scalar`` signs with this R, of which ``nonce`` is the logarithm but for a part of small order."""
    encoded = encode(r)
    return encoded + ((nonce + _challenge(encoded, key, body) * scalar) % ORDER).to_bytes(32, "little")


def _mixed_keys() -> list[Case]:
    made: list[Case] = []
    scalar, nonce = _number("scalar"), _number("nonce")
    r = times(nonce, BASE)
    for index in range(1, 8):
        part = torsion()[index]
        key = encode(add(times(scalar, BASE), part))
        vanishes = {True: False, False: False}
        for number in range(64):
            body = bytes([number])
            equal = times(_challenge(encode(r), key, body) % 8, part) == (0, 1)
            if not vanishes[equal]:
                vanishes[equal] = True
                how = "equal without the cofactor" if equal else "equal with the cofactor alone"
                made.append(_case(f"mixed order {index}, {how}", key, body, _signed(scalar, key, r, nonce, body)))
        assert all(vanishes.values())
    return made


def _odd_signatures() -> list[Case]:
    made: list[Case] = []
    scalar, nonce, body = _number("scalar"), _number("nonce"), b"body"
    key = encode(times(scalar, BASE))
    good = _signed(scalar, key, times(nonce, BASE), nonce, body)
    made.append(_case("a signature", key, body, good))
    for index in range(8):
        r = torsion()[index]
        made.append(_case(f"R of small order {index}", key, body, _signed(scalar, key, r, 0, body)))
    for index in range(1, 8):
        r = add(times(nonce, BASE), torsion()[index])
        made.append(_case(f"R of mixed order {index}", key, body, _signed(scalar, key, r, nonce, body)))
    s = int.from_bytes(good[32:], "little")
    for multiple in (1, 2, 7):
        signature = good[:32] + (s + multiple * ORDER).to_bytes(32, "little")
        made += [_case(f"S and {multiple} times the order", key, body, signature)]
    made += [_case(f"{length} bytes", key, body, good[:length].ljust(length, b"\0")) for length in (0, 63, 65)]
    return made


def cases() -> list[Case]:
    pair = signing_pair(seeded("pair"))
    made = [_case("signed by the library", pair.public, b"body", sign(pair, _KIND, b"body"))]
    made.append(_case("another body", pair.public, b"bodies", sign(pair, _KIND, b"body")))
    by_base = encode(BASE) + (1).to_bytes(32, "little")
    for key in encodings():
        # R the neutral element and S zero: without a look at the key, this verifies for one message in eight, or for all.
        made.append(_case(f"small order {key.hex()}", key, b"body", encode((0, 1)) + bytes(32)))
        made.append(_case(f"small order {key.hex()}, R the base point", key, b"body", by_base))
    ys = (P + 3, P + 4, 2**255 - 1)
    made += [_case(f"not canonical: p + {y - P}", y.to_bytes(32, "little"), b"body", by_base) for y in ys]
    made.append(_case("no point", (2).to_bytes(32, "little"), b"body", bytes(64)))
    made += [_case(f"a key of {length} bytes", bytes(length), b"body", bytes(64)) for length in (0, 31, 33)]
    return made + _mixed_keys() + _odd_signatures()


if __name__ == "__main__":
    write_kat("ed25519", "Ed25519 keys and signatures at the edges of the curve.", cases())
