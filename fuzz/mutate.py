"""Seeded mutation of inputs: the same seed gives the same cases on every machine."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

__all__ = ["cases"]

# Values at which length fields and counters break: the edges of 7, 8, 15, 16, 31 and 32 bits.
_EDGES = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
# Far past every limit of a datagram, and enough for several messages of a stream.
_MAX_BYTES = 70_000


def cases(seeds: Sequence[bytes], *, seed: int, count: int | None = None) -> Iterator[bytes]:
    """Yield every seed, then ``count`` mutated inputs (without end when None)."""
    rng = random.Random(seed)
    yield from seeds
    made = 0
    while count is None or made < count:
        made += 1
        yield _mutate(rng, bytearray(rng.choice(seeds) if seeds else b""), seeds)[:_MAX_BYTES]


def _mutate(rng: random.Random, data: bytearray, seeds: Sequence[bytes]) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        action = rng.randrange(8)
        at = rng.randrange(len(data) + 1)
        if action == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif action == 1 and data:
            data[at % len(data)] = rng.randrange(256)
        elif action == 2:
            del data[at : at + rng.randrange(1, 9)]
        elif action == 3:
            data[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif action == 4:
            data = data[:at]
        elif action == 5:
            width = rng.choice((1, 2, 3, 4))
            data[at : at + width] = (rng.choice(_EDGES) & ((1 << 8 * width) - 1)).to_bytes(width, rng.choice(("big", "little")))
        elif action == 6 and seeds:
            other = rng.choice(seeds)
            data[at:] = other[rng.randrange(len(other) + 1) :]
        else:
            data[at:at] = data[at : at + rng.randrange(1, 200)] * rng.choice((1, 2, 50))
    return bytes(data)
