"""RFC 4571 framing over streams that are cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfu.tcp_framing import FrameDecoder, FramingError, encode_frame


@given(packets=st.lists(st.binary(min_size=1, max_size=300), max_size=10), cuts=st.lists(st.integers(0, 4000), max_size=20))
def test_any_cut_gives_the_same_packets(packets: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(encode_frame(packet) for packet in packets)
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    decoder = FrameDecoder()
    received: list[bytes] = []
    for start, end in zip(edges, edges[1:], strict=False):
        received += decoder.feed(stream[start:end])
    assert received == packets


def test_empty_frames_are_left_out() -> None:
    assert FrameDecoder().feed(encode_frame(b"") + encode_frame(b"x")) == [b"x"]


@pytest.mark.parametrize("stream", [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00\x01", b"\x20\x01"])
def test_other_protocols_are_refused_at_once(stream: bytes) -> None:
    decoder = FrameDecoder()
    if stream[0] == 0x16:
        # A TLS hello reads as a frame of 5635 bytes: it is held back, and the connection's idle limit ends it.
        assert decoder.feed(stream) == []
        return
    with pytest.raises(FramingError):
        decoder.feed(stream)


def test_a_frame_has_a_largest_size() -> None:
    with pytest.raises(ValueError):
        encode_frame(bytes(65_536))


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_garbage_raises_only_our_type_and_is_not_hoarded(chunks: list[bytes]) -> None:
    decoder = FrameDecoder()
    try:
        for chunk in chunks:
            decoder.feed(chunk)
    except FramingError:
        return
