"""Tags and publications: what becomes of each message of an encoder."""

from __future__ import annotations

from fractions import Fraction

import pytest

from ingest import AccessUnit, StreamInfo
from ingest.rtmp import InputDropped, MediaPacket, PacketKind, Publication, UnsupportedCodecError, parse_audio_tag, parse_video_tag
from ingest.rtmp.amf import encode
from salam import ProtocolError

AVCC = bytes.fromhex("014d400cffe10019674d400ceca0a0cfcf8088000003000800000300f078a14cb001000468ce0fc8")
OTHER_AVCC = bytes.fromhex("0164000cffe1001967640016acb405017fcb080000030008000003 00f478b17501000468ef3cb0".replace(" ", ""))
ASC = bytes.fromhex("1188")
VIDEO_CONFIG = b"\x17\x00\x00\x00\x00" + AVCC
AUDIO_CONFIG = b"\xaf\x00" + ASC
NAL = b"\x00\x00\x00\x02\x65\x88"
KEYFRAME = b"\x17\x01\x00\x00\x00" + NAL
SOUND = b"\xaf\x01\x21\x10"


def test_legacy_tags() -> None:
    assert parse_video_tag(VIDEO_CONFIG) == [MediaPacket(PacketKind.CONFIG, "h264", AVCC)]
    assert parse_video_tag(b"\x27\x01\xff\xff\xd8" + NAL) == [MediaPacket(PacketKind.FRAME, "h264", NAL, False, -40)]
    assert parse_video_tag(b"\x17\x02\x00\x00\x00") == [MediaPacket(PacketKind.END, "h264", b"")]
    assert parse_video_tag(b"\x57\x00") == []
    assert parse_video_tag(b"\x1c\x01\x00\x00\x28" + NAL)[0].codec == "hevc"
    assert parse_audio_tag(SOUND) == [MediaPacket(PacketKind.FRAME, "aac", b"\x21\x10", True)]


def test_enhanced_tags() -> None:
    assert parse_video_tag(b"\x91hvc1\x00\x00\x28" + NAL) == [MediaPacket(PacketKind.FRAME, "hevc", NAL, True, 40)]
    assert parse_video_tag(b"\xa3hvc1" + NAL) == [MediaPacket(PacketKind.FRAME, "hevc", NAL, False, 0)]
    assert parse_video_tag(b"\x91av01\x0a\x0b") == [MediaPacket(PacketKind.FRAME, "av1", b"\x0a\x0b", True, 0)]
    assert parse_video_tag(b"\x92avc1") == [MediaPacket(PacketKind.END, "h264", b"")]
    assert parse_video_tag(b"\x94hvc1" + encode("colorInfo", {})) == []
    assert parse_audio_tag(b"\x91Opus\x01\x02") == [MediaPacket(PacketKind.FRAME, "opus", b"\x01\x02", True)]
    assert parse_audio_tag(b"\x94mp4a\x00\x02\x03") == []


def test_modifiers_are_read_or_passed_over() -> None:
    with_offset = b"\x97\x02\x07\xa1\x20\x01av01\x0a"
    assert parse_video_tag(with_offset)[0].nano_offset_ns == 500_000
    unknown_long = b"\x97\xff\x01\x2b" + bytes(300) + b"\x51av01\x0a"
    assert parse_video_tag(unknown_long) == [MediaPacket(PacketKind.FRAME, "av1", b"\x0a", True)]
    with pytest.raises(ProtocolError, match="modifiers"):
        parse_video_tag(b"\x97" + b"\x00\x00\x57" * 20)


def test_tracks_are_told_apart() -> None:
    one = b"\x96\x01av01\x03" + b"\x0a\x0b"
    assert parse_video_tag(one) == [MediaPacket(PacketKind.FRAME, "av1", b"\x0a\x0b", True, track_id=3)]
    many = b"\x95\x11Opus" + b"\x00\x00\x00\x01a" + b"\x01\x00\x00\x02bc"
    assert [(packet.track_id, packet.data) for packet in parse_audio_tag(many)] == [(0, b"a"), (1, b"bc")]
    codecs = b"\x95\x21" + b"mp4a\x00\x00\x00\x01a" + b"Opus\x01\x00\x00\x01b"
    assert [packet.codec for packet in parse_audio_tag(codecs)] == ["aac", "opus"]
    with pytest.raises(ProtocolError, match="layout"):
        parse_audio_tag(b"\x95\x31Opus")


@pytest.mark.parametrize("tag", [b"\x12\x00", b"\x91vp08\x00", b"\x91\x00\x01\x02\x03"])
def test_other_video_codecs_are_named(tag: bytes) -> None:
    with pytest.raises(UnsupportedCodecError) as caught:
        parse_video_tag(tag)
    assert caught.value.codec.isprintable()


def test_other_audio_codecs_are_named() -> None:
    with pytest.raises(UnsupportedCodecError, match="id 2"):
        parse_audio_tag(b"\x2f\x00")
    with pytest.raises(UnsupportedCodecError, match="fLaC"):
        parse_audio_tag(b"\x90fLaC")


def started() -> Publication:
    publication = Publication("show", gather_s=1.0, now=0.0)
    assert publication.on_media("video", VIDEO_CONFIG, 0, 0.0) == []
    (info,) = publication.on_media("audio", AUDIO_CONFIG, 0, 0.0)
    assert isinstance(info, StreamInfo)
    return publication


def test_both_tracks_are_announced_together() -> None:
    publication = Publication("show", gather_s=1.0, now=0.0)
    assert publication.on_media("video", VIDEO_CONFIG, 0, 0.0) == []
    assert publication.on_media("video", KEYFRAME, 0, 0.1) == []
    info, unit = publication.on_media("audio", AUDIO_CONFIG, 0, 0.2)
    assert isinstance(info, StreamInfo)
    assert info.video is not None
    assert info.audio is not None
    assert (info.name, info.video.codec, info.video.width, info.video.height) == ("show", "h264", 320, 180)
    assert (info.audio.codec, info.audio.sample_rate_hz, info.audio.channels) == ("aac", 48_000, 1)
    assert unit == AccessUnit("video", NAL, 0, 0, True, 0.1)


def test_a_second_track_is_not_awaited_for_ever() -> None:
    publication = Publication("show", gather_s=1.0, now=0.0)
    publication.on_media("video", VIDEO_CONFIG, 0, 0.0)
    assert publication.on_media("video", KEYFRAME, 0, 0.9) == []
    info, *units = publication.on_media("video", KEYFRAME, 1000, 1.0)
    assert isinstance(info, StreamInfo)
    assert info.audio is None
    assert [unit.dts for unit in units if isinstance(unit, AccessUnit)] == [0, 90_000]
    late = publication.on_media("audio", AUDIO_CONFIG, 0, 3.0)
    assert [event.audio is not None for event in late if isinstance(event, StreamInfo)] == [True]


def test_metadata_tells_that_there_is_one_track_and_what_the_records_leave_open() -> None:
    publication = Publication("show", gather_s=1.0, now=0.0)
    metadata = {"videocodecid": 7.0, "width": 1920.0, "height": 1080.0, "framerate": 29.97}
    assert publication.on_metadata(encode("@setDataFrame", "onMetaData", metadata)) == []
    (info,) = publication.on_media("video", b"\x90av01\x81\x04\x0c\x00", 0, 0.0)
    assert isinstance(info, StreamInfo)
    assert info.video is not None
    assert (info.video.width, info.video.height) == (1920, 1080)
    assert info.video.frame_rate == Fraction(2997, 100) or info.video.frame_rate == Fraction(30_000, 1001)


@pytest.mark.parametrize("payload", [b"", b"\x02\x00", encode("onCuePoint", {}), encode("onMetaData", "text"), encode(1.0)])
def test_useless_metadata_does_no_harm(payload: bytes) -> None:
    events = Publication("show", gather_s=1.0, now=0.0).on_metadata(payload)
    assert events == ([InputDropped("bad_metadata")] if payload == b"\x02\x00" else [])


def test_presentation_follows_decoding() -> None:
    publication = started()
    (unit,) = publication.on_media("video", b"\x17\x01\x00\x00\x28" + NAL, 1000, 1.0)
    assert isinstance(unit, AccessUnit)
    assert (unit.dts, unit.pts) == (90_000, 93_600)
    (early,) = publication.on_media("video", b"\x27\x01\xff\xff\x00" + NAL, 1040, 1.0)
    assert isinstance(early, AccessUnit)
    assert early.pts == early.dts


def test_pictures_before_the_first_keyframe_are_left_out_and_again_after_a_change() -> None:
    publication = started()
    delta = b"\x27\x01\x00\x00\x00" + NAL
    assert publication.on_media("video", delta, 0, 1.0) == [InputDropped("before_keyframe")]
    assert len(publication.on_media("video", KEYFRAME, 40, 1.0)) == 1
    assert len(publication.on_media("video", delta, 80, 1.0)) == 1
    assert publication.on_media("video", VIDEO_CONFIG, 120, 1.0) == [], "the same configuration again is no news"
    assert len(publication.on_media("video", delta, 120, 1.0)) == 1
    (info,) = publication.on_media("video", b"\x17\x00\x00\x00\x00" + OTHER_AVCC, 160, 1.0)
    assert isinstance(info, StreamInfo)
    assert publication.on_media("video", delta, 200, 1.0) == [InputDropped("before_keyframe")]


@pytest.mark.parametrize(
    ("kind", "payload", "reason"),
    [
        ("video", b"\x17", "bad_tag"),
        ("video", b"\x17\x09\x00\x00\x00", "bad_tag"),
        ("video", b"\x12\x00", "unsupported_codec"),
        ("audio", b"\x2f\x00", "unsupported_codec"),
        ("audio", b"\xaf\x05", "bad_tag"),
        ("video", b"\x17\x00\x00\x00\x00\x01", "bad_decoder_config"),
        ("audio", b"\xaf\x00", "bad_decoder_config"),
        ("video", b"\x17\x01\x00\x00\x00\x00\x00\x00\x09\x65", "bad_frame"),
        ("audio", b"\xaf\x01", "bad_frame"),
        ("video", b"\x91hvc1\x00\x00\x00" + NAL, "no_decoder_config"),
        ("audio", b"\x91Opus\x01", "no_decoder_config"),
        ("video", b"\x96\x01avc1\x02\x00\x00\x00" + NAL, "extra_track"),
    ],
)
def test_unusable_input_is_counted_and_the_stream_goes_on(kind: str, payload: bytes, reason: str) -> None:
    publication = started()
    assert publication.on_media(kind, payload, 0, 1.0) == [InputDropped(reason)]  # type: ignore[arg-type]
    assert publication.last_unit_s == 0.0
    assert len(publication.on_media("video", KEYFRAME, 0, 2.0)) == 1
    assert publication.last_unit_s == 2.0


def test_empty_messages_are_keep_alives() -> None:
    assert started().on_media("audio", b"", 0, 1.0) == []


def test_what_is_held_for_a_second_track_is_bounded() -> None:
    publication = Publication("show", gather_s=3600.0, now=0.0)
    publication.on_media("audio", AUDIO_CONFIG, 0, 0.0)
    for number in range(5000):
        events = publication.on_media("audio", SOUND, number, 0.0)
        if events:
            break
    assert publication.started
    assert number < 1000
