"""The curve of Ed25519 in plain integers, from its equation (RFC 8032 section 5.1): points that no library makes."""

from __future__ import annotations

from functools import cache

__all__ = ["BASE", "ORDER", "Point", "P", "add", "decode", "encode", "encodings", "times", "torsion"]

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
I = pow(2, (P - 1) // 4, P)  # noqa: E741  the name that the square root of -1 has everywhere
Point = tuple[int, int]


def add(one: Point, other: Point) -> Point:
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + product, -1, P)
    y = (y1 * y2 + x1 * x2) * pow(1 - product, -1, P)
    return x % P, y % P


def times(scalar: int, point: Point) -> Point:
    result = (0, 1)
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point, scalar = add(point, point), scalar >> 1
    return result


def decode(data: bytes) -> Point:
    number = int.from_bytes(data, "little")
    sign_bit, y = number >> 255, number & (2**255 - 1)
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P == -u % P:
        x = x * I % P
    assert v * x * x % P == u
    return (x if x & 1 == sign_bit else -x % P), y


def encode(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


@cache
def torsion() -> list[Point]:
    """The eight points whose order divides 8."""
    y = 2
    while True:
        try:
            point = times(ORDER, decode(y.to_bytes(32, "little")))
        except AssertionError:
            point = (0, 1)
        if times(4, point) != (0, 1):
            return [times(index, point) for index in range(8)]
        y += 1


def encodings() -> list[bytes]:
    """Every 32 bytes that some reader takes for a point of small order: also y + p where it fits, and -0 for x."""
    found = set()
    for _, y in torsion():
        for form in (y, y + P):
            if form < 2**255:
                found |= {(form | bit << 255).to_bytes(32, "little") for bit in (0, 1)}
    return sorted(found)


BASE = decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
