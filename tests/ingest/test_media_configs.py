"""Decoder configurations: what encoders really write, and what must be refused."""

from __future__ import annotations

from fractions import Fraction

import av
import pytest

from ingest import parse_audio_specific_config, parse_avc_config, parse_sps
from ingest.hevc import parse_hevc_config, parse_hevc_sps
from ingest.nal import to_four_byte_lengths
from ingest.rtmp.formats import read_audio_config, read_video_config
from salam import ProtocolError


def encoder_config(codec: str, width: int, height: int, fps: int, options: dict[str, str]) -> bytes:
    """Return the record that FFmpeg's encoder and MP4 muxer make for such a picture."""
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = width, height, options.pop("pix_fmt", "yuv420p")
    context.framerate, context.time_base = Fraction(fps), Fraction(1, fps)
    context.options = options
    context.flags |= 1 << 22  # AV_CODEC_FLAG_GLOBAL_HEADER
    context.open()
    assert context.extradata is not None
    return context.extradata


def nal_units(annex_b: bytes) -> list[bytes]:
    return [unit.rstrip(b"\x00") for unit in annex_b.replace(b"\x00\x00\x00\x01", b"\x00\x00\x01").split(b"\x00\x00\x01") if unit]


@pytest.mark.parametrize(
    ("width", "height", "fps", "options"),
    [
        (320, 180, 15, {}),
        (1920, 1080, 30, {"profile": "high"}),
        (426, 240, 25, {"profile": "baseline"}),
        (720, 576, 50, {"x264-params": "interlaced=1"}),
        (642, 362, 24, {"pix_fmt": "yuv422p"}),
        (642, 362, 24, {"pix_fmt": "yuv444p"}),
        (640, 480, 30, {"x264-params": "cqm=jvt:videoformat=pal:sar=4/3:colorprim=bt709:fullrange=on"}),
    ],
)
def test_h264_picture_size_and_rate_are_read(width: int, height: int, fps: int, options: dict[str, str]) -> None:
    units = nal_units(encoder_config("libx264", width, height, fps, {**options, "preset": "ultrafast"}))
    sps = next(unit for unit in units if unit[0] & 0x1F == 7)
    read = parse_sps(sps)
    assert (read.width, read.height, read.frame_rate) == (width, height, Fraction(fps))
    for cut in range(len(sps) // 2):
        with pytest.raises(ProtocolError):
            parse_sps(sps[:cut])


@pytest.mark.parametrize(("width", "height"), [(320, 180), (1920, 1080), (418, 234)])
def test_hevc_picture_size_is_read(width: int, height: int) -> None:
    extradata = encoder_config("libx265", width, height, 25, {"preset": "ultrafast", "x265-params": "log-level=none:pools=1"})
    sps = next(unit for unit in nal_units(extradata) if (unit[0] >> 1) & 0x3F == 33)
    assert parse_hevc_sps(sps) == (width, height)


AVCC = bytes.fromhex("014d400cffe10019674d400ceca0a0cfcf8088000003000800000300f078a14cb001000468ce0fc8")


def test_avcc_is_read_whole() -> None:
    config = parse_avc_config(AVCC)
    assert config.length_size_bytes == 4
    assert [unit[0] & 0x1F for unit in config.sequence_parameter_sets] == [7]
    assert [unit[0] & 0x1F for unit in config.picture_parameter_sets] == [8]


@pytest.mark.parametrize("cut", range(len(AVCC)))
def test_avcc_cut_anywhere_is_refused(cut: int) -> None:
    with pytest.raises(ProtocolError):
        parse_avc_config(AVCC[:cut])


@pytest.mark.parametrize("config", [b"", b"\x01" * 22, b"\x01" + bytes(20) + b"\x03\x00", b"\x01" + bytes(20) + b"\x02\x00"])
def test_hvcc_without_parameter_sets_is_refused(config: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_hevc_config(config)


@pytest.mark.parametrize(
    ("config", "object_type", "rate_hz", "channels"),
    [
        ("1188", 2, 48_000, 1),
        ("1210", 2, 44_100, 2),
        ("120856e500", 2, 44_100, 1),
        ("2b920800", 5, 44_100, 2),
        ("eb8a0800", 29, 44_100, 2),
        # Sample rate index 15: 24 bits of rate follow.
        ("17805dc010", 2, 48_000, 2),
    ],
)
def test_aac_configurations(config: str, object_type: int, rate_hz: int, channels: int) -> None:
    read = parse_audio_specific_config(bytes.fromhex(config))
    assert (read.object_type, read.sample_rate_hz, read.channels) == (object_type, rate_hz, channels)


@pytest.mark.parametrize("config", ["", "11", "1690", "17800000"])
def test_senseless_aac_configurations_are_refused(config: str) -> None:
    with pytest.raises(ProtocolError):
        parse_audio_specific_config(bytes.fromhex(config))


def test_opus_heads() -> None:
    head = b"OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x00"
    assert read_audio_config("opus", head).channels == 2
    for bad in (head[:-1], b"OpusTags" + head[8:], head[:9] + b"\x00" + head[10:], head[:8] + b"\x10" + head[9:]):
        with pytest.raises(ProtocolError):
            read_audio_config("opus", bad)


def test_av1_takes_its_size_from_the_metadata() -> None:
    video, _ = read_video_config("av1", b"\x81\x04\x0c\x00", (1280, 720), Fraction(30))
    assert (video.width, video.height, video.frame_rate) == (1280, 720, Fraction(30))
    with pytest.raises(ProtocolError):
        read_video_config("av1", b"\x01\x04\x0c\x00", (1280, 720), None)


def test_short_lengths_become_four_bytes_in_picture_and_record() -> None:
    short = AVCC[:4] + b"\xfd" + AVCC[5:]
    video, length_size = read_video_config("h264", short, (0, 0), None)
    assert length_size == 2
    assert video.config == AVCC
    assert to_four_byte_lengths(b"\x00\x02ab\x00\x01c", 2) == b"\x00\x00\x00\x02ab\x00\x00\x00\x01c"


def test_nal_lengths_must_add_up() -> None:
    good = b"\x00\x00\x00\x02ab"
    assert to_four_byte_lengths(good, 4) is good
    assert to_four_byte_lengths(b"\x00\x00\x00\x00" + good, 4) == good
    for bad in (b"", b"\x00\x00\x00\x00", good[:-1], good + b"\x00", b"\xff\xff\xff\xffab"):
        with pytest.raises(ProtocolError):
            to_four_byte_lengths(bad, 4)
