"""Chunk streams of unknown length, as a backup's: where they end, and what bounds them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ee.chunk_stream import ChunkCipher, ChunkOpener, ChunkSealer, StreamHeader
from e2ee.errors import AttachmentCorrupt, AttachmentTruncated, LimitReached
from tests.support.kat import pattern

KEY = bytes(range(32))
CHUNK = 4_096
HEADER = StreamHeader(chunk_log2=12, salt=bytes(16), prefix=bytes(7))


def stream(*chunks: bytes, last: bool = True) -> bytes:
    cipher = ChunkCipher(KEY, HEADER)
    final = len(chunks) - 1
    return HEADER.encode() + b"".join(cipher.seal(at, last and at == final, chunk) for at, chunk in enumerate(chunks))


def read(sealed: bytes, piece: int = 1_000, max_bytes: int = 1_000_000) -> bytes:
    opener = ChunkOpener(KEY, max_bytes=max_bytes)
    return b"".join(opener.feed(sealed[at : at + piece]) for at in range(0, len(sealed), piece)) + opener.finish()


@settings(max_examples=25, deadline=None)
@given(size=st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 10_000]), piece=st.integers(100, 9_000))
def test_every_length_has_one_end(size: int, piece: int) -> None:
    content = pattern(size)
    chunks = [content[at : at + CHUNK] for at in range(0, size, CHUNK)] or [b""]
    assert read(stream(*chunks), piece) == content


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 131_072, 200_000])
def test_a_sealer_is_read(size: int) -> None:
    sealer = ChunkSealer(KEY, random=bytes, max_bytes=size)
    sealed = sealer.feed(pattern(size)) + sealer.finish()
    assert (sealer.taken, sealer.finished) == (size, True)
    opener = ChunkOpener(KEY, max_bytes=size)
    assert opener.feed(sealed) + opener.finish() == pattern(size)
    assert opener.digest == sealer.digest


def test_an_end_between_two_chunks_is_no_end() -> None:
    full = pattern(CHUNK)
    with pytest.raises(AttachmentTruncated):
        read(stream(full, full, last=False))
    with pytest.raises(AttachmentTruncated):
        read(stream(last=False))
    with pytest.raises(AttachmentTruncated):
        read(stream(full)[: -CHUNK - 1])


def test_a_last_chunk_that_does_not_open() -> None:
    full = pattern(CHUNK)
    for broken in (stream(full, b"end")[:-1], stream(full, b"end") + b"\0", stream(full, b"end", last=False)):
        with pytest.raises(AttachmentCorrupt) as refused:
            read(broken)
        assert refused.value.chunk == 1


def test_an_empty_last_chunk_is_refused() -> None:
    assert read(stream(b"")) == b""
    with pytest.raises(AttachmentCorrupt) as refused:
        read(stream(pattern(CHUNK), b""))
    assert refused.value.chunk == 1


@pytest.mark.parametrize("size", [100, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7])
def test_the_limit_of_an_unknown_length(size: int) -> None:
    content = pattern(size)
    sealed = stream(*(content[at : at + CHUNK] for at in range(0, size, CHUNK)))
    assert read(sealed, max_bytes=size) == content
    with pytest.raises(LimitReached):
        read(sealed, max_bytes=size - 1)


def test_the_limit_of_a_sealer() -> None:
    sealer = ChunkSealer(KEY, random=bytes, max_bytes=10)
    sealed = sealer.feed(bytes(10))
    with pytest.raises(LimitReached):
        sealer.feed(b"x")
    assert read(sealed + sealer.finish()) == bytes(10)


def test_headers() -> None:
    assert StreamHeader.parse(HEADER.encode()) == HEADER
    with pytest.raises(AttachmentTruncated):
        StreamHeader.parse(HEADER.encode()[:-1])
    with pytest.raises(AttachmentCorrupt):
        StreamHeader.parse(HEADER.encode() + b"\0")
    for log2 in (0, 11, 21, 255):
        with pytest.raises(AttachmentCorrupt):
            StreamHeader.parse(b"SLA1" + bytes([log2]) + bytes(23))
    for log2 in (12, 20):
        assert StreamHeader.parse(b"SLA1" + bytes([log2]) + bytes(23)).chunk_bytes == 1 << log2
