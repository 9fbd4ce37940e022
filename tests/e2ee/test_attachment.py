"""Attachments: all three interfaces against each other, every flipped byte, every limit, constant memory, and seeking."""

from __future__ import annotations

import io
import pickle
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ee.attachment import AttachmentDescriptor, AttachmentOpener, AttachmentSealer, open_pieces, padded_size, seal_pieces
from e2ee.attachment_file import OpenedFile, SealedFile
from e2ee.chunk_stream import ChunkCipher, StreamHeader
from e2ee.errors import AttachmentCorrupt, AttachmentTruncated, E2EEError, LimitReached, MalformedMessage
from e2ee.limits import Limits
from salam import RequestError
from tests.support.kat import Named, pattern

CHUNK = 65_536
SMALL = Limits(max_attachment_bytes=2_000)
FIVE_GIB = 5 * 1024**3


def seal(content: bytes, piece: int = CHUNK) -> tuple[bytes, AttachmentDescriptor]:
    sealer = AttachmentSealer()
    sealed = b"".join(sealer.feed(content[at : at + piece]) for at in range(0, len(content), piece))
    sealed += b"".join(sealer.finish())
    return sealed, sealer.descriptor(mime_type="a/b", name="name")


def opened(sealed: bytes, descriptor: AttachmentDescriptor, piece: int = CHUNK) -> bytes:
    opener = AttachmentOpener(descriptor)
    content = b"".join(opener.feed(sealed[at : at + piece]) for at in range(0, len(sealed), piece))
    opener.finish()
    return content


def read_all(sealed: bytes, descriptor: AttachmentDescriptor) -> bytes:
    return OpenedFile(io.BytesIO(sealed), descriptor).readall()


class Trickle(io.BytesIO):
    """A file that gives a few bytes at a time, as a pipe or a network file may."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(1_000, size if size is not None and size >= 0 else 1_000))


@settings(max_examples=25, deadline=None)
@given(
    size=st.one_of(st.integers(0, 3_000), st.sampled_from([CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 150_000])),
    fed=st.integers(1, 2 * CHUNK),
    read=st.integers(500, 2 * CHUNK),
)
def test_pieces_of_any_size(size: int, fed: int, read: int) -> None:
    content = pattern(size)
    sealed, descriptor = seal(content, fed)
    assert AttachmentDescriptor.parse(descriptor.encode()) == descriptor
    assert opened(sealed, descriptor, read) == content
    assert read_all(sealed, descriptor) == content
    assert len(sealed) == 28 + padded_size(size) + 16 * -(-padded_size(size) // CHUNK)


STEPS = st.lists(st.tuples(st.sampled_from(["set", "current", "end", "read"]), st.integers(-200_000, 300_000)), max_size=12)
WHENCE = {"set": io.SEEK_SET, "current": io.SEEK_CUR, "end": io.SEEK_END}
LONG = pattern(200_000)
LONG_SEALED, LONG_DESCRIPTOR = seal(LONG)


def same_as_a_file(file: io.RawIOBase, model: io.BytesIO, steps: list[tuple[str, int]]) -> None:
    for what, value in steps:
        if what == "read":
            assert file.read(abs(value)) == model.read(abs(value))
            assert file.tell() == model.tell()
            continue
        base = {"set": 0, "current": model.tell(), "end": len(model.getbuffer())}[what]
        if base + value < 0:
            with pytest.raises(ValueError):
                file.seek(value, WHENCE[what])
        else:
            assert file.seek(value, WHENCE[what]) == model.seek(base + value)
    assert file.readall() == model.read()


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_an_opened_file_is_a_file(steps: list[tuple[str, int]]) -> None:
    same_as_a_file(OpenedFile(Trickle(LONG_SEALED), LONG_DESCRIPTOR), io.BytesIO(LONG), steps)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS)
def test_a_sealed_file_is_a_file(steps: list[tuple[str, int]]) -> None:
    expected = SealedFile(io.BytesIO(LONG), random=Named("file")).readall()
    file = SealedFile(Trickle(LONG), random=Named("file"))
    assert file.length == len(expected)
    same_as_a_file(file, io.BytesIO(expected), steps)
    descriptor = file.descriptor(mime_type="", name="")
    assert opened(expected, descriptor) == LONG


def test_file_objects_work_with_the_library() -> None:
    file = OpenedFile(io.BytesIO(LONG_SEALED), LONG_DESCRIPTOR)
    assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
    with io.BufferedReader(file, 10_000) as buffered:
        buffered.seek(70_000)
        assert buffered.read(100) == LONG[70_000:70_100]
    with pytest.raises(ValueError):
        OpenedFile(io.BytesIO(LONG_SEALED), LONG_DESCRIPTOR).seek(0, 9)


def test_seeking_reads_one_chunk() -> None:
    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.taken += len(data)
            return data

    source = Counting(LONG_SEALED)
    file = OpenedFile(source, LONG_DESCRIPTOR)
    file.seek(140_000)
    assert file.read(10) == LONG[140_000:140_010]
    assert file.read(10) == LONG[140_010:140_020]
    assert source.taken == 28 + CHUNK + 16


async def test_asynchronous_iterators() -> None:
    async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
        for at in range(0, len(data), size):
            yield data[at : at + size]

    sealer = AttachmentSealer()
    sealed = b"".join([piece async for piece in seal_pieces(pieces(LONG, 7_000), sealer)])
    descriptor = sealer.descriptor(mime_type="a/b", name="c")
    assert b"".join([piece async for piece in open_pieces(pieces(sealed, 9_000), AttachmentOpener(descriptor))]) == LONG
    with pytest.raises(AttachmentTruncated):
        _ = [piece async for piece in open_pieces(pieces(sealed[:-1], 9_000), AttachmentOpener(descriptor))]


def test_every_flipped_byte_of_a_stream() -> None:
    sealed, descriptor = seal(b"content")
    for at in range(len(sealed)):
        wrong = sealed[:at] + bytes([sealed[at] ^ 1 << at % 8]) + sealed[at + 1 :]
        for read in (opened, read_all):
            with pytest.raises(AttachmentCorrupt) as refused:
                read(wrong, descriptor)
            assert refused.value.chunk in (0, None)


def test_every_cut_of_a_stream() -> None:
    sealed, descriptor = seal(b"content")
    for length in range(len(sealed)):
        for read in (opened, read_all):
            with pytest.raises(AttachmentTruncated):
                read(sealed[:length], descriptor)


def test_every_flipped_byte_of_a_descriptor() -> None:
    """What is not refused when it is read does not open the stream, but for the type and name, which the message protects."""
    sealed, descriptor = seal(b"content")
    encoded = descriptor.encode()
    texts = range(1 + 32 + 32 + 8, len(encoded))
    for at in range(len(encoded)):
        wrong = encoded[:at] + bytes([encoded[at] ^ 1]) + encoded[at + 1 :]
        try:
            parsed = AttachmentDescriptor.parse(wrong)
        except MalformedMessage:
            continue
        if at in texts:
            assert parsed != descriptor
            assert opened(sealed, parsed) == b"content"
        elif at in (71, 72):
            # Another size within the same bucket: the length is the sender's word, as the content is.
            assert opened(sealed, parsed) == b"content".ljust(1_024, b"\0")[: parsed.size]
        else:
            with pytest.raises(E2EEError):
                opened(sealed, parsed)


def test_a_refused_piece_changes_nothing() -> None:
    opener = AttachmentOpener(LONG_DESCRIPTOR)
    content = opener.feed(LONG_SEALED[:100_000])
    wrong = bytearray(LONG_SEALED[100_000:])
    wrong[40_000] ^= 1
    for _ in range(2):
        with pytest.raises(AttachmentCorrupt) as refused:
            opener.feed(wrong)
        assert refused.value.chunk == 1 + (100_000 + 40_000 - 28) // (CHUNK + 16) - 1
    content += opener.feed(LONG_SEALED[100_000:])
    opener.finish()
    assert content == LONG


def test_a_digest_that_is_wrong_is_found_before_the_last_byte() -> None:
    """Whoever knows the key can seal another content; the digest in the message says which one was meant."""
    wrong = replace(LONG_DESCRIPTOR, digest=bytes(32))
    file = OpenedFile(io.BytesIO(LONG_SEALED), wrong)
    assert file.read(len(LONG) - 1) == LONG[:-1]
    for _ in range(2):
        with pytest.raises(AttachmentCorrupt) as refused:
            file.read(1)
        assert refused.value.chunk is None
        assert file.tell() == len(LONG) - 1
    jumping = OpenedFile(io.BytesIO(LONG_SEALED), wrong)
    jumping.seek(len(LONG) - 1)
    assert jumping.read(1) == LONG[-1:]
    with pytest.raises(AttachmentCorrupt):
        jumping.verify()
    with pytest.raises(AttachmentTruncated):
        OpenedFile(io.BytesIO(LONG_SEALED[:-1]), LONG_DESCRIPTOR).verify()
    OpenedFile(io.BytesIO(LONG_SEALED), LONG_DESCRIPTOR).verify()
    with pytest.raises(AttachmentCorrupt):
        read_all(LONG_SEALED + b"\0", LONG_DESCRIPTOR)


def test_the_whole_can_be_read_twice() -> None:
    file = OpenedFile(io.BytesIO(LONG_SEALED), LONG_DESCRIPTOR)
    for _ in range(2):
        file.seek(0)
        assert file.readall() == LONG
    assert file.read(5) == b""


def test_limits() -> None:
    at, past = bytes(2_000), bytes(2_001)
    sealer = AttachmentSealer(limits=SMALL)
    sealed = sealer.feed(at)
    with pytest.raises(LimitReached):
        sealer.feed(b"x")
    sealed += b"".join(sealer.finish())
    descriptor = sealer.descriptor(mime_type="", name="")
    assert opened(sealed, descriptor) == at
    assert OpenedFile(io.BytesIO(sealed), descriptor, limits=SMALL).readall() == at
    assert AttachmentOpener(descriptor, limits=SMALL).feed(sealed) == at
    assert len(SealedFile(io.BytesIO(at), limits=SMALL).readall()) == len(sealed)
    more = replace(descriptor, size=2_001)
    with pytest.raises(LimitReached):
        AttachmentOpener(more, limits=SMALL)
    with pytest.raises(LimitReached):
        OpenedFile(io.BytesIO(sealed), more, limits=SMALL)
    with pytest.raises(LimitReached):
        SealedFile(io.BytesIO(past), limits=SMALL)


def test_five_gib(tmp_path: Path) -> None:
    """A file with a hole of that size: its ends are sealed and opened, and one byte more is refused."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(FIVE_GIB - 4)
        file.seek(0, io.SEEK_END)
        file.write(b"last")
    random = Named("large")
    with path.open("rb") as source:
        sealed = SealedFile(source, random=random)
        header = StreamHeader.parse(sealed.read(28) or b"")
        chunk = (FIVE_GIB - 1) // CHUNK
        sealed.seek(header.sealed_offset(chunk))
        plain = ChunkCipher(random.drawn[:32], header).open(chunk, False, sealed.read(CHUNK + 16) or b"")
        assert plain.endswith(b"last")
        assert sealed.length == header.sealed_bytes(padded_size(FIVE_GIB))
    with path.open("ab") as file:
        file.write(b"!")
    with path.open("rb") as source, pytest.raises(LimitReached):
        SealedFile(source)
    described = AttachmentDescriptor(key=bytes(32), digest=bytes(32), size=FIVE_GIB, mime_type="", name="")
    AttachmentOpener(described)
    with pytest.raises(LimitReached):
        AttachmentOpener(replace(described, size=FIVE_GIB + 1))


def test_chunk_numbers_end() -> None:
    header = StreamHeader(chunk_log2=12, salt=bytes(16), prefix=bytes(7))
    assert header.chunks(2**44) == 2**32
    with pytest.raises(LimitReached):
        header.chunks(2**44 + 1)


def test_a_file_that_changes_is_refused() -> None:
    source = io.BytesIO(LONG)
    file = SealedFile(source)
    file.read(CHUNK)
    file.seek(100_000)
    file.read(1)
    source.getbuffer()[10] ^= 1
    file.seek(0)
    with pytest.raises(RequestError) as refused:
        file.read(100)
    assert refused.value.code == "source_changed"
    shorter = io.BytesIO(LONG)
    file = SealedFile(shorter)
    shorter.truncate(1_000)
    with pytest.raises(RequestError):
        file.read(100)


def test_a_finished_sealer_takes_no_nonce_again() -> None:
    sealer = AttachmentSealer()
    with pytest.raises(RequestError):
        sealer.descriptor(mime_type="", name="")
    sealer.feed(b"a")
    _ = list(sealer.finish())
    with pytest.raises(RequestError):
        sealer.feed(b"b")
    with pytest.raises(RequestError):
        _ = list(sealer.finish())


@pytest.mark.parametrize(
    "fields",
    [
        {"key": bytes(31)},
        {"digest": bytes(33)},
        {"size": -1},
        {"size": 2**64},
        {"mime_type": "x" * 65_536},
        {"name": "\ud800"},
    ],
)
def test_what_a_descriptor_cannot_carry(fields: dict[str, object]) -> None:
    described = AttachmentDescriptor(key=bytes(32), digest=bytes(32), size=2**64 - 1, mime_type="x" * 65_535, name="")
    assert AttachmentDescriptor.parse(described.encode()) == described
    with pytest.raises(MalformedMessage):
        replace(described, **fields).encode()  # type: ignore[arg-type]


def test_no_secret_is_shown() -> None:
    assert LONG_DESCRIPTOR.key.hex() not in repr(LONG_DESCRIPTOR)
    assert repr(LONG_DESCRIPTOR.key) not in repr(LONG_DESCRIPTOR)
    with pytest.raises(TypeError):
        pickle.dumps(LONG_DESCRIPTOR)


def peak_bytes(run: Iterator[object]) -> int:
    tracemalloc.start()
    try:
        for _ in run:
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def both(size: int) -> Iterator[object]:
    """Seal and open that many bytes, piece by piece, with neither side ever whole."""
    sealer, piece = AttachmentSealer(random=bytes), bytes(CHUNK)
    header = sealer.feed(b"")
    key = bytes(32)
    described = AttachmentDescriptor(key=key, digest=bytes(32), size=size, mime_type="", name="")
    opener = AttachmentOpener(described)
    opener.feed(header)
    for _ in range(size // CHUNK):
        yield opener.feed(sealer.feed(piece))
    for sealed in sealer.finish():
        yield opener.feed(sealed)


def test_memory_does_not_grow_with_the_size() -> None:
    small, large = peak_bytes(both(32 * CHUNK)), peak_bytes(both(256 * CHUNK))
    assert large < 1024 * 1024
    assert large < small + CHUNK
