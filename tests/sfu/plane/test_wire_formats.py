"""RTP, RTCP, VP8 and H.264 on the wire: known bytes, round trips, and garbage."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sfu.plane import MediaError, RtpPacket, SrtpContext, build_rtp, parse_rtcp, parse_rtp
from sfu.plane.h264 import is_h264_keyframe_start, sps_height
from sfu.plane.packets import inspect_payload
from sfu.plane.rtcp import (
    Bye,
    Dlrr,
    DlrrBlock,
    Fir,
    Nack,
    Pli,
    ReceiverReferenceTime,
    ReceiverReport,
    Remb,
    ReportBlock,
    RtcpMessage,
    SenderReport,
    SourceDescription,
)
from sfu.plane.vp8 import encode_vp8_descriptor, parse_vp8
from tests.sfu.plane.rig import keys, reversed_keys

u8, u16, u32 = st.integers(0, 255), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)


@given(
    st.integers(0, 127),
    u16,
    u32,
    u32,
    st.binary(max_size=50),
    st.booleans(),
    st.dictionaries(st.integers(1, 14), st.binary(min_size=1, max_size=16), max_size=5)
    | st.dictionaries(st.integers(1, 255), st.binary(max_size=40), max_size=5),
    st.integers(0, 255),
)
def test_rtp_round_trip(
    payload_type: int,
    sequence: int,
    timestamp: int,
    ssrc: int,
    payload: bytes,
    marker: bool,
    extensions: dict[int, bytes],
    padding: int,
) -> None:
    data = build_rtp(
        RtpPacket(payload_type, sequence, timestamp, ssrc, payload, marker=marker, extensions=extensions, padding_bytes=padding)
    )
    packet = parse_rtp(data)
    assert (packet.payload_type, packet.sequence, packet.timestamp, packet.ssrc) == (payload_type, sequence, timestamp, ssrc)
    assert (packet.payload, packet.marker, packet.padding_bytes) == (payload, marker, padding)
    assert dict(packet.extensions) == extensions


def test_rtp_known_bytes() -> None:
    data = bytes.fromhex("90e0 0102 00000003 00000004 bede 0002 10 aa 00 31 bbcc f0 dd 010203".replace(" ", ""))
    packet = parse_rtp(data)
    assert packet.marker
    assert packet.payload_type == 96
    # Id 15 ends the list; padding between elements is skipped.
    assert packet.extensions == {1: b"\xaa", 3: b"\xbb\xcc"}
    assert packet.payload == b"\x01\x02\x03"


@pytest.mark.parametrize(
    "data",
    [
        "",
        "8060",
        "4060000100000000000000 01".replace(" ", ""),
        "a060000100000000000000010009",
        "a0600001000000000000000100",
        "9060000100000000000000 01 bede 0002 00000000".replace(" ", ""),
        "9060000100000000000000 01 bede 0001 1f000000".replace(" ", ""),
        "8f60000100000000000000 01".replace(" ", ""),
    ],
)
def test_rtp_refuses(data: str) -> None:
    with pytest.raises(MediaError):
        parse_rtp(bytes.fromhex(data))


BLOCK = ReportBlock(5, 12, -3, 70_000, 90, 0x12345678, 65_536)
MESSAGES: list[RtcpMessage] = [
    SenderReport(1, 1 << 40, 2, 3, 4, (BLOCK,)),
    ReceiverReport(1, (BLOCK, BLOCK)),
    ReceiverReport(1),
    SourceDescription(((1, "someone"), (2, "x"), (3, "abc"))),
    Bye((1, 2)),
    Nack(1, 2, (65_530, 65_535, 3, 40)),
    Pli(1, 2),
    Fir(1, ((2, 3), (4, 5))),
    Remb(1, 2_500_000, (7, 8)),
    ReceiverReferenceTime(1, 1 << 50),
    Dlrr(1, (DlrrBlock(2, 3, 4), DlrrBlock(5, 6, 7))),
]


def test_rtcp_round_trip_in_one_compound() -> None:
    assert parse_rtcp(b"".join(message.build() for message in MESSAGES)) == MESSAGES


def test_unknown_rtcp_is_skipped() -> None:
    unknown = bytes.fromhex("80d20001deadbeef") + bytes.fromhex("9fcd0002000000010000000 2".replace(" ", ""))
    assert parse_rtcp(unknown + Pli(1, 2).build()) == [Pli(1, 2)]


def test_padded_rtcp() -> None:
    padded = bytearray(Pli(1, 2).build() + bytes((0, 0, 0, 4)))
    padded[0] |= 0x20
    padded[3] += 1
    assert parse_rtcp(bytes(padded)) == [Pli(1, 2)]


@given(st.sets(u16, min_size=1, max_size=60), u16)
def test_nack_holds_any_set(numbers: set[int], start: int) -> None:
    ordered = sorted(numbers, key=lambda number: number - start & 0xFFFF)
    [message] = parse_rtcp(Nack(1, 2, tuple(ordered)).build())
    assert isinstance(message, Nack)
    assert list(message.sequences) == ordered


@given(st.binary(max_size=200))
def test_garbage_raises_one_type(data: bytes) -> None:
    for parse in (parse_rtp, parse_rtcp, parse_vp8, is_h264_keyframe_start, sps_height):
        try:
            parse(data)
        except MediaError:
            continue


def test_vp8_known_bytes() -> None:
    frame = bytes.fromhex("90f08123 2a 61 10 02 00 9d012a 4001 b400".replace(" ", ""))
    descriptor = parse_vp8(frame)
    assert (descriptor.picture_id, descriptor.picture_id_bits) == (0x123, 15)
    assert (descriptor.tl0picidx, descriptor.temporal, descriptor.sync, descriptor.keyidx) == (0x2A, 1, True, 1)
    assert (descriptor.start, descriptor.keyframe) == (True, True)
    assert (descriptor.width, descriptor.height) == (320, 180)
    assert descriptor.size_bytes == 6
    short = parse_vp8(bytes.fromhex("80807f00"))
    assert (short.picture_id, short.picture_id_bits, short.start) == (0x7F, 7, False)


@given(
    st.none() | st.integers(0, 0x7FFF), st.none() | u8, st.none() | st.integers(0, 31), st.none() | st.integers(0, 3), st.booleans()
)
def test_vp8_descriptor_round_trip(
    picture: int | None, tl0: int | None, keyidx: int | None, temporal: int | None, sync: bool
) -> None:
    source = parse_vp8(b"\x10\x00")
    source.temporal, source.sync = temporal, sync
    again = parse_vp8(encode_vp8_descriptor(source, picture, tl0, keyidx) + b"\x00")
    assert (again.picture_id, again.tl0picidx, again.keyidx, again.temporal) == (picture, tl0, keyidx, temporal)
    assert again.keyframe


SPS_720P = bytes.fromhex("6742c01fd9005005bb011000000300100000030140f1832480")


def test_h264_keyframes_are_found_in_every_packing() -> None:
    assert is_h264_keyframe_start(SPS_720P) == SPS_720P
    aggregate = bytes((24, 0, 2, 9, 16, 0, len(SPS_720P))) + SPS_720P
    assert is_h264_keyframe_start(aggregate) == SPS_720P
    assert is_h264_keyframe_start(bytes((0x7C, 0x87)) + SPS_720P[1:]) == SPS_720P
    assert is_h264_keyframe_start(bytes((0x7C, 0x07)) + SPS_720P[1:]) is None
    assert is_h264_keyframe_start(bytes((0x41, 1, 2))) is None
    assert inspect_payload("H264", SPS_720P).height == 720
    # The high profile carries more fields before the size, and 1080 is 1088 with cropping.
    assert sps_height(bytes.fromhex("64640028acd940780227e5c044000003000400000300503c60c658")) == 1080


def test_srtp_refuses_what_it_cannot_do() -> None:
    given_keys = keys(10)
    near, far = SrtpContext(given_keys), SrtpContext(reversed_keys(given_keys))
    packet = build_rtp(RtpPacket(96, 1, 2, 3, bytes(100)))
    protected = near.protect_rtp(packet)
    assert far.unprotect_rtp(protected) == packet
    with pytest.raises(MediaError):
        far.unprotect_rtp(protected)
    with pytest.raises(MediaError):
        far.unprotect_rtp(protected[:-1] + b"\0")
    with pytest.raises(MediaError):
        near.protect_rtp(build_rtp(RtpPacket(96, 2, 2, 3, bytes(2000))))
    # A full Ethernet frame passes.
    large = build_rtp(RtpPacket(96, 3, 2, 3, bytes(1460)))
    assert far.unprotect_rtp(near.protect_rtp(large)) == large
    with pytest.raises(MediaError):
        near.protect_rtcp(b"")
