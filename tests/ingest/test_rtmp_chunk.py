"""The chunk stream: every header form, limits, and that cutting and joining are inverse."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.rtmp import ChunkReader, ChunkWriter, Message, MessageType, RtmpLimits
from salam import ProtocolError

# Small chunks reach the edges sooner.
TINY_CHUNKS = RtmpLimits(min_chunk_size_bytes=1)


def read_all(data: bytes, reader: ChunkReader | None = None) -> list[Message]:
    """Return all messages but those that only steer the chunk stream itself."""
    reader = reader or ChunkReader(TINY_CHUNKS)
    reader.receive_data(data)
    messages = []
    while (message := reader.next_message()) is not None:
        if message.type_id not in (MessageType.SET_CHUNK_SIZE, MessageType.ABORT):
            messages.append(message)
    return messages


def full_header(timestamp_ms: int, length: int, *, chunk_stream: int = 6, type_id: int = 9, stream_id: int = 1) -> bytes:
    return (
        bytes((chunk_stream,))
        + timestamp_ms.to_bytes(3, "big")
        + length.to_bytes(3, "big")
        + bytes((type_id,))
        + stream_id.to_bytes(4, "little")
    )


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from([3, 63, 64, 319, 320, 65_599]),
        st.builds(
            Message,
            st.sampled_from([8, 9, 18, 20]),
            st.sampled_from([0, 1, 0x01020304]),
            st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0xFFFFFE, 0xFFFFFF, 0x1000000, 2**32 - 1, 0])),
            st.binary(max_size=600),
        ),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(messages=MESSAGES, chunk_sizes=st.lists(st.integers(1, 700), min_size=1, max_size=3), seed=st.integers(0, 2**32))
def test_messages_survive_any_interleaving_and_any_cut(
    messages: list[tuple[int, Message]], chunk_sizes: list[int], seed: int
) -> None:
    rng = random.Random(seed)
    writer, reader = ChunkWriter(), ChunkReader(TINY_CHUNKS)
    sent: dict[int, list[Message]] = {}
    queues: dict[int, list[Message]] = {}
    for chunk_stream, message in messages:
        queues.setdefault(chunk_stream, []).append(message)
        sent.setdefault(chunk_stream, []).append(message)
    wire = writer.set_chunk_size(chunk_sizes[0])
    open_streams: dict[int, Iterator[bytes]] = {key: iter(()) for key in queues}
    done: list[tuple[int, Message]] = []
    while open_streams:
        key = rng.choice(sorted(open_streams))
        piece = next(open_streams[key], None)
        if piece is not None:
            wire += piece
        elif queues[key]:
            message = queues[key].pop(0)
            done.append((key, message))
            open_streams[key] = writer.chunks(key, message)
        else:
            del open_streams[key]
    # A change of size is only put between whole messages: chunks already cut would have the old one.
    received = []
    at = 0
    while at < len(wire):
        step = rng.randrange(1, 400)
        received += read_all(wire[at : at + step], reader)
        at += step
    assert sorted(received, key=repr) == sorted((message for _, message in done), key=repr)
    assert reader.bytes_received == len(wire)


@settings(deadline=None)
@given(
    timestamps=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8),
    size=st.integers(1, 50),
    same_shape=st.booleans(),
)
def test_timestamps_of_one_chunk_stream_survive_past_every_wrap(timestamps: list[int], size: int, same_shape: bool) -> None:
    writer = ChunkWriter()
    wire = writer.set_chunk_size(size)
    messages = [Message(9, 1, timestamp, bytes(30 if same_shape else 30 + number)) for number, timestamp in enumerate(timestamps)]
    wire += b"".join(writer.write(6, message) for message in messages)
    assert read_all(wire) == messages


def test_steady_deltas_are_written_as_bare_chunks_and_read_back() -> None:
    writer = ChunkWriter()
    messages = [Message(8, 1, timestamp, b"same") for timestamp in (1000, 1040, 1080, 1120)]
    pieces = [writer.write(6, message) for message in messages]
    assert [piece[0] >> 6 for piece in pieces] == [0, 2, 3, 3]
    assert [message.timestamp_ms for message in read_all(b"".join(pieces))] == [1000, 1040, 1080, 1120]


def test_a_bare_chunk_after_a_full_header_adds_its_timestamp_again() -> None:
    # RTMP 1.0 section 5.3.1.2.4, and what FFmpeg writes for the timestamps 40, 80.
    wire = full_header(40, 1) + b"a" + b"\xc6" + b"b"
    assert [message.timestamp_ms for message in read_all(wire)] == [40, 80]


def test_a_bare_chunk_after_a_full_extended_header_keeps_the_time() -> None:
    stamp = (0x01000000).to_bytes(4, "big")
    wire = full_header(0xFFFFFF, 1) + stamp + b"a" + b"\xc6" + stamp + b"b"
    assert [message.timestamp_ms for message in read_all(wire)] == [0x01000000, 0x01000000]


@pytest.mark.parametrize("repeated", [True, False])
def test_extended_timestamps_may_be_missing_from_further_chunks(repeated: bool) -> None:
    stamp = (0x01234567).to_bytes(4, "big")
    payload = bytes(range(200))
    further = b"\xc6" + (stamp if repeated else b"")
    wire = full_header(0xFFFFFF, 200) + stamp + payload[:128] + further + payload[128:]
    assert read_all(wire) == [Message(9, 1, 0x01234567, payload)]


def test_the_chunk_size_counts_from_the_next_chunk_on() -> None:
    size = b"\x02" + bytes(3) + b"\x00\x00\x04" + b"\x01" + bytes(4) + (300).to_bytes(4, "big")
    payload = bytes(428)
    wire = full_header(0, 428) + payload[:128] + size + b"\xc6" + payload[128:]
    assert read_all(wire) == [Message(9, 1, 0, payload)]


def test_tiny_chunks_are_refused_unless_asked_for() -> None:
    wire = ChunkWriter().set_chunk_size(127)
    assert read_all(wire) == []
    with pytest.raises(ProtocolError, match="outside 128"):
        read_all(wire, ChunkReader())


def test_an_abort_discards_the_unfinished_message_only() -> None:
    abort = b"\x02" + bytes(3) + b"\x00\x00\x04" + b"\x02" + bytes(4) + (6).to_bytes(4, "big")
    wire = full_header(0, 200) + bytes(128) + abort + full_header(9, 1) + b"x"
    assert read_all(wire) == [Message(9, 1, 9, b"x")]


def test_an_empty_message_is_a_message() -> None:
    assert read_all(full_header(7, 0)) == [Message(9, 1, 7, b"")]


def test_a_control_stream_may_open_without_a_stream_id() -> None:
    wire = b"\x42" + bytes(3) + b"\x00\x00\x04" + b"\x05" + bytes(4)
    assert read_all(wire) == [Message(MessageType.WINDOW_ACK_SIZE, 0, 0, bytes(4))]


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(b"\xc6", id="bare chunk on a new chunk stream"),
        pytest.param(b"\x86" + bytes(3), id="short header on a new chunk stream"),
        pytest.param(full_header(0, 200) + bytes(128) + full_header(0, 1), id="new message inside another"),
        pytest.param(full_header(0, 4, chunk_stream=2, type_id=1) + bytes(4), id="chunk size zero"),
        pytest.param(full_header(0, 4, chunk_stream=2, type_id=1) + b"\xff" * 4, id="chunk size with the top bit"),
        pytest.param(full_header(0, 2, chunk_stream=2, type_id=1) + b"\x01\x00", id="short chunk size"),
        pytest.param(full_header(0, 1, chunk_stream=2, type_id=2) + b"\x01", id="short abort"),
        pytest.param(full_header(0, 0xFFFFFF), id="message beyond the limit"),
    ],
)
def test_what_the_protocol_does_not_allow_is_refused(wire: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_all(wire)


def test_chunk_streams_are_bounded() -> None:
    limits = RtmpLimits(max_chunk_streams=4)
    reader = ChunkReader(limits)
    for chunk_stream in range(3, 7):
        assert read_all(full_header(0, 1, chunk_stream=chunk_stream) + b"x", reader)
    with pytest.raises(ProtocolError, match="4 chunk streams"):
        read_all(full_header(0, 1, chunk_stream=7) + b"x", reader)


def test_unfinished_messages_share_one_bound() -> None:
    limits = RtmpLimits(max_message_bytes=1000, max_unfinished_bytes=300)
    reader = ChunkReader(limits)
    assert read_all(full_header(0, 900, chunk_stream=4) + bytes(128), reader) == []
    assert read_all(full_header(0, 900, chunk_stream=5) + bytes(128), reader) == []
    with pytest.raises(ProtocolError) as caught:
        read_all(full_header(0, 900, chunk_stream=6) + bytes(128), reader)
    assert caught.value.code == "message_too_large"


def test_finished_messages_do_not_count_as_unfinished() -> None:
    reader = ChunkReader(RtmpLimits(max_message_bytes=200, max_unfinished_bytes=200))
    for _ in range(10):
        assert len(read_all(full_header(0, 128) + bytes(128), reader)) == 1


@pytest.mark.parametrize("chunk_stream", [0, 1, 65_600])
def test_the_writer_refuses_chunk_streams_that_cannot_be_written(chunk_stream: int) -> None:
    with pytest.raises(ValueError, match="chunk stream id"):
        ChunkWriter().write(chunk_stream, Message(8, 1, 0, b""))


@pytest.mark.parametrize("size", [0, 2**31])
def test_the_writer_refuses_chunk_sizes_that_cannot_be_read(size: int) -> None:
    with pytest.raises(ValueError, match="chunk size"):
        ChunkWriter().set_chunk_size(size)
