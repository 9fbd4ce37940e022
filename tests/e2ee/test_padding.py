"""Padding: which lengths can be seen, and what is no padding."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ee.errors import LimitReached, MalformedMessage
from e2ee.padding import LARGEST_BUCKET, bucket, pad, unpad


def test_buckets_of_the_profile() -> None:
    assert [bucket(length) for length in (0, 1, 64, 65, 1024)] == [64, 64, 64, 128, 1024]
    # 1,024 x 1.12 = 1,146.88, up to a multiple of 64; and so on, in whole numbers.
    assert [bucket(length) for length in (1025, 1152, 1153, 1344, 1345)] == [1152, 1152, 1344, 1344, 1536]
    size = 1024
    while size < 2**20:
        size = -(-((size * 112 + 99) // 100) // 64) * 64
        assert (bucket(size), bucket(size - 1)) == (size, size)
        assert bucket(size + 1) > size


def test_the_largest_bucket_holds_the_largest_attachment() -> None:
    assert bucket(2**48) == LARGEST_BUCKET
    with pytest.raises(LimitReached):
        bucket(LARGEST_BUCKET + 1)


@given(st.integers(0, 2**48))
@settings(max_examples=200, deadline=None)
def test_a_bucket_is_the_least_one(length: int) -> None:
    found = bucket(length)
    assert found >= length
    assert found % 64 == 0
    assert bucket(found) == found
    if length > 64:
        assert bucket(length - 1) <= found
    assert found <= max(64, length + 64, length * 1.12 + 64)


@given(st.binary(max_size=3000) | st.builds(lambda tail: b"\x80" + bytes(tail), st.integers(0, 2000)))
@settings(max_examples=200, deadline=None)
def test_what_is_padded_comes_back(content: bytes) -> None:
    padded = pad(content)
    assert len(padded) == bucket(len(content) + 1)
    assert unpad(padded) == content


@pytest.mark.parametrize(
    "padded",
    [
        b"",
        bytes(64),
        b"x" * 64,
        b"\x80",
        b"\x80" + bytes(62),
        b"\x80" + bytes(64),
        b"\x80" + bytes(127),
        b"x" * 63 + b"\x81",
        b"x" * 64 + b"\x80" + bytes(62),
        pad(b"x" * 1100) + bytes(64),
        pad(b"x" * 1100)[:-1],
    ],
    ids=range(11),
)
def test_what_is_no_padding(padded: bytes) -> None:
    with pytest.raises(MalformedMessage):
        unpad(padded)
