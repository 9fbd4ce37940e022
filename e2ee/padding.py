"""Padding of plaintexts, so that the length of a message tells little about what it says (the profile's section 6)."""

from __future__ import annotations

from bisect import bisect_left

from e2ee.errors import LimitReached, MalformedMessage

__all__ = ["LARGEST_BUCKET", "bucket", "pad", "unpad"]

_STEP = 64
# Up to here every multiple of the step is a bucket; above it each bucket is 12 % larger than the one before, so that the number of
# buckets, which is what an observer can tell apart, grows with the logarithm of the length while a tenth of the bytes is padding.
_LAST_LINEAR = 1_024
_MARK = b"\x80"


def _buckets() -> list[int]:
    buckets = list(range(_STEP, _LAST_LINEAR + 1, _STEP))
    # Up to the largest attachment that `Limits` can be raised to: 2^32 chunks of 64 KiB.
    while buckets[-1] < 2**48:
        grown = (buckets[-1] * 112 + 99) // 100
        buckets.append(-(-grown // _STEP) * _STEP)
    return buckets


_BUCKETS = _buckets()
LARGEST_BUCKET = _BUCKETS[-1]


def bucket(length: int) -> int:
    """The least bucket of at least ``length`` bytes; `LimitReached` above 2^48, which nothing of the profile reaches."""
    if length <= _LAST_LINEAR:
        return max(-(-length // _STEP), 1) * _STEP
    if length > LARGEST_BUCKET:
        raise LimitReached(f"{length} bytes are more than the largest bucket, {LARGEST_BUCKET}")
    return _BUCKETS[bisect_left(_BUCKETS, length)]


def pad(content: bytes) -> bytes:
    """``content``, the byte 0x80, and zeros up to the bucket."""
    return (content + _MARK).ljust(bucket(len(content) + 1), b"\x00")


def unpad(padded: bytes) -> bytes:
    """What `pad` was given; `MalformedMessage` unless ``padded`` is exactly what it gives. Only for bytes whose tag was checked."""
    marked = padded.rstrip(b"\x00")
    if not marked.endswith(_MARK) or bucket(len(marked)) != len(padded):
        raise MalformedMessage("the padding of a plaintext is not that of the profile")
    return marked[:-1]
