"""H.264 headers: what a real encoder writes is read right, and nothing that a stranger writes gets out of hand."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction

import av
import pytest
from av.codec.context import Flags
from hypothesis import given
from hypothesis import strategies as st

from transcode.aac import build_aac_config, parse_aac_config
from transcode.h264 import (
    BitstreamError,
    NalType,
    build_avc_config,
    codecs_string,
    from_annex_b,
    iter_nals,
    join_nals,
    parse_avc_config,
    parse_sps,
)


def encoder_nals(width: int, height: int, fps: Fraction, **options: str) -> list[bytes]:
    encoder = av.VideoCodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, options.pop("pix_fmt", "yuv420p")
    encoder.time_base, encoder.framerate = 1 / fps, fps
    encoder.sample_aspect_ratio = Fraction(options.pop("aspect", "1"))
    encoder.flags |= Flags.global_header
    encoder.options = options
    encoder.open()
    return from_annex_b(encoder.extradata or b"")


@pytest.mark.parametrize(
    ("width", "height"), [(320, 180), (1920, 1080), (426, 240), (854, 480), (1080, 1920), (16, 16), (322, 242)]
)
@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30000, 1001), Fraction(60)])
def test_sps_of_a_real_encoder(width: int, height: int, fps: Fraction) -> None:
    nals = encoder_nals(width, height, fps)
    info = parse_sps(next(nal for nal in nals if nal[0] & 31 == NalType.SPS))
    assert (info.width, info.height, info.frame_rate) == (width, height, fps)
    assert (info.profile, info.chroma_format, info.bit_depth, info.interlaced) == (100, 1, 8, False)


def test_sps_of_unusual_encodes() -> None:
    interlaced = encoder_nals(720, 576, Fraction(25), **{"x264-params": "interlaced=1", "aspect": "16/15"})
    info = parse_sps(next(nal for nal in interlaced if nal[0] & 31 == NalType.SPS))
    assert (info.width, info.height, info.interlaced, info.sample_aspect) == (720, 576, True, Fraction(16, 15))
    rich = encoder_nals(640, 360, Fraction(30), pix_fmt="yuv444p", **{"x264-params": "cqm=jvt"})
    info = parse_sps(next(nal for nal in rich if nal[0] & 31 == NalType.SPS))
    assert (info.width, info.height, info.chroma_format, info.profile) == (640, 360, 3, 244)


@pytest.mark.parametrize(("profile", "expected"), [("baseline", "avc1.42"), ("main", "avc1.4d"), ("high", "avc1.64")])
def test_configuration_record_round_trip(profile: str, expected: str) -> None:
    nals = encoder_nals(640, 360, Fraction(30), profile=profile)
    sps = [nal for nal in nals if nal[0] & 31 == NalType.SPS]
    pps = [nal for nal in nals if nal[0] & 31 == NalType.PPS]
    record = build_avc_config(sps, pps)
    config = parse_avc_config(record)
    assert (list(config.sps), list(config.pps), config.length_size) == (sps, pps, 4)
    assert codecs_string(record).startswith(expected)
    decoder = av.CodecContext.create("h264", "r")
    decoder.extradata = record
    decoder.open()


# A NAL unit neither ends in a zero byte nor holds a start code.
nal_units = st.binary(min_size=1, max_size=60).map(lambda data: data.replace(b"\0", b"\1"))


@given(st.lists(nal_units, min_size=1, max_size=6))
def test_nal_units_survive_both_framings(nals: list[bytes]) -> None:
    assert list(iter_nals(join_nals(nals))) == nals
    assert from_annex_b(b"".join(b"\0\0\0\1" + nal for nal in nals)) == nals


@given(st.binary(max_size=200), st.integers(1, 4))
def test_parsers_raise_one_exception_only(data: bytes, length_size: int) -> None:
    for parse in (
        parse_avc_config,
        lambda raw: parse_sps(b"\x67" + raw),
        parse_aac_config,
        lambda raw: list(iter_nals(raw, length_size)),
    ):
        with suppress(BitstreamError):
            parse(data)


def test_damaged_records_are_refused() -> None:
    nals = encoder_nals(320, 180, Fraction(30))
    record = build_avc_config([nals[0]], [nals[1]])
    for end in range(len(record) - 4):
        if end < len(record) - 4 - 4:
            with pytest.raises(BitstreamError):
                parse_avc_config(record[:end])
    with pytest.raises(BitstreamError):
        list(iter_nals(b"\0\0\0\5abc"))
    with pytest.raises(BitstreamError):
        build_avc_config([], [])


@pytest.mark.parametrize("rate", [48_000, 44_100, 32_000, 7_350])
@pytest.mark.parametrize("channels", [1, 2])
def test_audio_specific_config(rate: int, channels: int) -> None:
    config = parse_aac_config(build_aac_config(rate, channels))
    assert (config.object_type, config.sample_rate_hz, config.channels, config.frame_samples) == (2, rate, channels, 1024)
