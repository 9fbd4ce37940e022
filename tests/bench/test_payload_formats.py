"""RTP payload formats: round trips of real encoded media, known bytes, and hostile payloads."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.media import FrameDecoder, GeneratedMedia, LoopLibrary, PayloadError
from bench.media.h264 import H264Depacketizer, H264Packetizer, split_annex_b
from bench.media.opus import OpusDepacketizer, OpusPacketizer
from bench.media.payload import MAX_PAYLOAD_BYTES, Depacketizer, split_evenly
from bench.media.vp8 import Vp8Depacketizer, Vp8Packetizer, parse_vp8_descriptor


def test_vp8_frames_survive_the_wire_and_decode(library: LoopLibrary) -> None:
    loop = library.get(GeneratedMedia(width=320, height=180, loop_s=1, bitrate_bps=800_000, simulcast=False)).video
    assert loop is not None
    packetizer, depacketizer, decoder = (
        Vp8Packetizer(picture_id=0x7FF8, tl0_picture_index=250),
        Vp8Depacketizer(),
        FrameDecoder("VP8"),
    )
    pictures = 0
    ids = []
    for frame in loop.layers[0].frames:
        payloads = packetizer.packetize(frame.data)
        assert max(map(len, payloads)) <= MAX_PAYLOAD_BYTES
        pieces = [depacketizer.read(payload) for payload in payloads]
        assert [piece.first for piece in pieces] == [True] + [False] * (len(pieces) - 1)
        assert pieces[0].keyframe == frame.keyframe
        assert depacketizer.join(payloads) == frame.data
        descriptor = parse_vp8_descriptor(payloads[-1])
        ids.append((descriptor.picture_id, descriptor.tl0_picture_index, descriptor.temporal))
        pictures += len(decoder.decode(depacketizer.join(payloads)))
    assert ids == [((0x7FF8 + index) & 0x7FFF, (250 + index) & 0xFF, 0) for index in range(20)]
    assert (pictures, decoder.failures) == (20, 0)


def test_h264_access_units_survive_the_wire_and_decode(library: LoopLibrary) -> None:
    loop = library.get(GeneratedMedia(width=640, height=360, codec="H264", loop_s=1, simulcast=False)).video
    assert loop is not None
    packetizer, depacketizer, decoder = H264Packetizer(), H264Depacketizer(), FrameDecoder("H264")
    pictures = 0
    for frame in loop.layers[0].frames:
        payloads = packetizer.packetize(frame.data)
        assert max(map(len, payloads)) <= MAX_PAYLOAD_BYTES
        assert any(depacketizer.read(payload).keyframe for payload in payloads) == frame.keyframe
        joined = depacketizer.join(payloads)
        assert split_annex_b(joined) == split_annex_b(frame.data)
        pictures += len(decoder.decode(joined))
    assert (pictures, decoder.failures) == (20, 0)


def test_opus_frames_survive_the_wire_and_decode(library: LoopLibrary) -> None:
    loop = library.get(GeneratedMedia(video=False, loop_s=1)).audio
    assert loop is not None
    decoder = FrameDecoder("opus")
    samples = 0
    for frame in loop.layers[0].frames:
        (payload,) = OpusPacketizer().packetize(frame.data)
        assert OpusDepacketizer().read(payload).keyframe
        samples += sum(sound.samples for sound in decoder.decode(OpusDepacketizer().join([payload])))
    assert decoder.failures == 0
    # The encoder looks 6.5 ms ahead, which the decoder may leave out at the beginning.
    assert 47_000 <= samples <= 48_000


def test_h264_small_units_go_together_and_large_ones_apart() -> None:
    sps, pps, idr = b"\x67" + bytes([1] * 9), b"\x68\x02\x02", b"\x65" + bytes(range(1, 251)) * 10
    frame = b"".join(b"\x00\x00\x00\x01" + unit for unit in (sps, pps, idr))
    first, *fragments = H264Packetizer().packetize(frame)
    assert first == b"\x78" + b"\x00\x0a" + sps + b"\x00\x03" + pps
    assert [payload[:2] for payload in fragments] == [b"\x7c\x85", b"\x7c\x05", b"\x7c\x45"]
    assert b"".join(payload[2:] for payload in fragments) == idr[1:]


def test_vp8_descriptor_of_the_rfc() -> None:
    # RFC 7741 4.2 with every field: X, N, S; I, L, T, K; a 15-bit picture id.
    descriptor = parse_vp8_descriptor(bytes.fromhex("b0 f0 92 34 05 a3 00"))
    assert descriptor.starts_frame
    assert (descriptor.picture_id, descriptor.tl0_picture_index, descriptor.temporal) == (0x1234, 5, 2)
    assert descriptor.size_bytes == 6
    assert parse_vp8_descriptor(b"\x90\x80\x11\x00").picture_id == 0x11


@pytest.mark.parametrize("payload", [b"", b"\x10", b"\x80", b"\x80\x80", b"\x80\x80\x80", b"\x80\xf0\x80\x00\x00", b"\x90\x80\x01"])
def test_truncated_vp8_is_refused(payload: bytes) -> None:
    with pytest.raises(PayloadError):
        Vp8Depacketizer().read(payload)


@pytest.mark.parametrize(
    "payload", [b"", b"\x00", b"\x7c\x85", b"\x78", b"\x78\x00\x00", b"\x78\x00\x05\x67", b"\x7f\x00", b"\x79\x00\x00"]
)
def test_broken_h264_is_refused(payload: bytes) -> None:
    with pytest.raises(PayloadError):
        H264Depacketizer().read(payload)


@pytest.mark.parametrize(
    "payloads",
    [[b"\x7c\x85a"], [b"\x7c\x05a"], [b"\x7c\x85a", b"\x7c\x85a"], [b"\x7c\x85a", b"\x41\x01"]],
    ids=["no end", "no start", "two starts", "broken off"],
)
def test_h264_fragments_out_of_order_are_refused(payloads: list[bytes]) -> None:
    with pytest.raises(PayloadError):
        H264Depacketizer().join(payloads)


@given(st.sampled_from([Vp8Depacketizer(), H264Depacketizer(), OpusDepacketizer()]), st.lists(st.binary(max_size=40), max_size=4))
@example(H264Depacketizer(), [b"\x7c"])
def test_garbage_raises_nothing_but_our_own_type(depacketizer: Depacketizer, payloads: list[bytes]) -> None:
    for payload in payloads:
        try:
            depacketizer.read(payload)
        except PayloadError:
            pass
    try:
        depacketizer.join(payloads)
    except PayloadError:
        pass


@given(st.binary(max_size=5000))
def test_any_frame_survives_vp8(frame: bytes) -> None:
    payloads = Vp8Packetizer().packetize(frame or b"\x00")
    assert Vp8Depacketizer().join(payloads) == (frame or b"\x00")


@given(st.binary(max_size=500), st.integers(1, 100))
def test_parts_are_nearly_equal_and_lose_nothing(data: bytes, limit: int) -> None:
    parts = split_evenly(data, limit)
    assert b"".join(parts) == data
    assert max(map(len, parts)) <= limit
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
