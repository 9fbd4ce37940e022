"""Fuzz target: a stream cut into frames gives the same frames whatever the reads were, or ends with StunError."""

from turn_client import MessageClass, StunError, build_message
from turn_client.stream import MAX_STREAM_FRAME_BYTES, StreamParser, frame_for_stream

_MESSAGE = build_message(0x007, MessageClass.INDICATION, b"0123456789ab", [(0x0013, b"payload")])
_CHANNEL_DATA = b"\x40\x01\x00\x05hello"

SEEDS: list[bytes] = [
    frame_for_stream(_MESSAGE) + frame_for_stream(_CHANNEL_DATA) * 3,
    frame_for_stream(_CHANNEL_DATA) + b"\x40\x02\x00\x00" + frame_for_stream(_MESSAGE),
    b"\x03HTTP/1.1 400 Bad Request\r\n\r\n",
]


def one_input(data: bytes) -> None:
    """Cut ``data`` at once and in reads whose size its first byte says, and compare."""
    size = data[0] % 16 + 1 if data else 1
    whole, _ = _frames([data])
    pieces, held = _frames([data[at : at + size] for at in range(0, len(data), size)])
    if whole != pieces:
        raise AssertionError("the size of the reads changed the frames")
    if held >= MAX_STREAM_FRAME_BYTES:
        raise AssertionError("more is held than one frame")


def _frames(reads: list[bytes]) -> tuple[list[bytes], int]:
    parser = StreamParser()
    frames: list[bytes] = []
    held = 0
    for read in reads:
        try:
            frames += parser.feed(read)
        except StunError:
            break
        held = max(held, parser.buffered_bytes)
    return frames, held
