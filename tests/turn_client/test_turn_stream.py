"""Frames of a stream: the same whatever the reads were, refused when they are garbage, cut in time linear to the bytes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turn_client.stream import MAX_STREAM_FRAME_BYTES, StreamParser, frame_for_stream
from turn_client.stun import Attribute, MessageClass, StunError, build_message

TRANSACTION = bytes(range(12))


def stun(payload: bytes = b"") -> bytes:
    return build_message(0x007, MessageClass.INDICATION, TRANSACTION, [(Attribute.DATA, payload)] if payload else [])


def channel(number: int, payload: bytes) -> bytes:
    return number.to_bytes(2, "big") + len(payload).to_bytes(2, "big") + payload


frames = st.lists(
    st.one_of(
        st.binary(max_size=40).map(stun),
        st.builds(channel, st.integers(0x4000, 0x4FFF), st.binary(max_size=40)),
    ),
    max_size=12,
)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    at = 0
    for size in sizes:
        pieces.append(data[at : at + size])
        at += size
    return [*pieces, data[at:]]


@settings(deadline=None)
@given(frames, st.lists(st.integers(0, 30), max_size=40))
def test_reads_of_any_size_give_the_same_frames(expected: list[bytes], sizes: list[int]) -> None:
    parser = StreamParser()
    data = b"".join(map(frame_for_stream, expected))
    assert [frame for piece in cut(data, sizes) for frame in parser.feed(piece)] == expected
    assert parser.buffered_bytes == 0
    assert not parser.broken


@pytest.mark.parametrize("size", range(9))
def test_channel_data_is_padded_and_the_padding_never_relayed(size: int) -> None:
    frame = channel(0x4001, bytes(range(1, size + 1)))
    written = frame_for_stream(frame)
    assert len(written) % 4 == 0
    assert len(written) - len(frame) < 4
    # What the padding holds is the sender's affair.
    assert StreamParser().feed(frame + b"\xee" * (len(written) - len(frame))) == [frame]


def test_a_stun_message_is_written_as_it_is() -> None:
    assert frame_for_stream(stun(b"abc")) == stun(b"abc")


def test_the_largest_frames() -> None:
    data = [channel(0x4FFF, bytes(0xFFFF)), b"\x00\x17\xff\xfc" + bytes.fromhex("2112a442") + TRANSACTION + bytes(0xFFFC)]
    stream = b"".join(map(frame_for_stream, data))
    assert StreamParser().feed(stream) == data
    parser = StreamParser()
    found = []
    for at in range(0, len(stream), 1000):
        found += parser.feed(stream[at : at + 1000])
        assert parser.buffered_bytes < MAX_STREAM_FRAME_BYTES
    assert found == data


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x50\x00\x00\x00",
        b"\x80\x60\x00\x01",
        b"\xff\xff\xff\xff",
        b"\x00\x01\x00\x03\x21\x12\xa4\x42",
        b"\x00\x01\x00\x00\x21\x12\xa4\x43",
        b"\x00\x01\x00\x00\x21\x13",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_garbage_breaks_the_parser_for_good(garbage: bytes, whole: bool) -> None:
    parser = StreamParser()
    pieces = [garbage + bytes(8)] if whole else [garbage[at : at + 1] for at in range(len(garbage))] + [bytes(8)]
    with pytest.raises(StunError):
        list(map(parser.feed, pieces))
    assert parser.broken
    assert parser.buffered_bytes == 0
    with pytest.raises(StunError):
        parser.feed(stun())


def test_frames_before_garbage_are_not_lost() -> None:
    parser = StreamParser()
    assert parser.feed(stun() + channel(0x4000, b"1234") + b"\xff\xff\xff\xff") == [stun(), channel(0x4000, b"1234")]
    assert parser.broken
    with pytest.raises(StunError):
        parser.feed(b"")


@settings(deadline=None)
@given(st.lists(st.binary(max_size=64), max_size=8))
def test_any_bytes_are_frames_or_a_stun_error(pieces: list[bytes]) -> None:
    parser = StreamParser()
    try:
        for piece in pieces:
            parser.feed(piece)
            assert parser.buffered_bytes < MAX_STREAM_FRAME_BYTES
    except StunError:
        assert parser.broken


def steps(call: Callable[[], Any]) -> int:
    """How many instructions of Python ``call`` runs: a measure of work that no other load on the machine changes."""
    count = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


class CountingBytes(bytes):
    """Bytes that know how many of them were copied out by slicing."""

    copied = 0

    def __getitem__(self, key: Any) -> Any:
        value = super().__getitem__(key)
        if isinstance(value, bytes):
            CountingBytes.copied += len(value)
        return value


def test_work_is_linear_in_the_size_of_the_reads() -> None:
    frame = frame_for_stream(channel(0x4000, bytes(1200)))
    for count in (3, 1000):
        CountingBytes.copied = 0
        data = CountingBytes(frame * count + frame[:100])
        parser = StreamParser()
        assert len(parser.feed(data)) == count
        assert CountingBytes.copied == len(frame) * count + 100
    few, many = (steps(lambda n=n: StreamParser().feed(frame * n)) for n in (10, 1000))  # type: ignore[misc]
    assert few * 50 < many < few * 100


def test_a_frame_that_comes_byte_by_byte_is_not_copied_again_for_each() -> None:
    parser = StreamParser()
    frame = channel(0x4000, bytes(4096))
    first: list[int] = []
    later: list[int] = []
    for at in range(len(frame)):
        target = first if at < 100 else later
        target.append(steps(lambda at=at: parser.feed(frame[at : at + 1])))  # type: ignore[misc]
    assert max(later) <= max(first)
