"""Our boxes, read by our parser and by FFmpeg."""

from __future__ import annotations

import io
from contextlib import suppress
from fractions import Fraction

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transcode.live_rig import audio_units, frame_times, video_units
from transcode.cmaf import (
    AudioTrack,
    Sample,
    VideoTrack,
    find_box,
    init_segment,
    iter_boxes,
    media_fragment,
    parse_fragments,
    segment_type,
)
from transcode.h264 import BitstreamError


@st.composite
def runs_of_samples(draw: st.DrawFn) -> list[Sample]:
    dts = draw(st.integers(0, 2**40))
    samples = []
    for _ in range(draw(st.integers(1, 12))):
        duration = draw(st.integers(1, 10_000))
        offset = draw(st.integers(-5000, 5000))
        samples.append(Sample(draw(st.binary(max_size=50)), dts, duration, offset, draw(st.booleans())))
        dts += duration
    return samples


@given(runs_of_samples(), st.integers(1, 2**31))
def test_fragments_round_trip(samples: list[Sample], sequence: int) -> None:
    (fragment,) = parse_fragments(segment_type() + media_fragment(sequence, samples))
    assert (fragment.sequence, list(fragment.samples)) == (sequence, samples)


@given(st.binary(max_size=120))
def test_parser_raises_one_exception_only(data: bytes) -> None:
    for raw in (data, media_fragment(1, [Sample(b"x", 0, 1, 0, True)])[: len(data)] + data):
        with suppress(BitstreamError):
            parse_fragments(raw)


def test_ffmpeg_reads_a_video_track() -> None:
    video, units = video_units(frame_times(1), b_frames=2)
    samples = [
        Sample(unit.data, 900_000 + index * 3000, 3000, unit.pts - unit.dts, unit.keyframe) for index, unit in enumerate(units)
    ]
    track = VideoTrack(video.config, 320, 180, Fraction(4, 3))
    with av.open(io.BytesIO(init_segment(track) + segment_type() + media_fragment(1, samples)), "r") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.width, stream.codec_context.height, stream.time_base) == (320, 180, Fraction(1, 90_000))
        assert stream.sample_aspect_ratio == Fraction(4, 3)
        packets = [packet for packet in container.demux(stream) if packet.dts is not None]
        assert [bytes(packet) for packet in packets] == [sample.data for sample in samples]
        assert [packet.dts for packet in packets] == [sample.dts for sample in samples]
        assert [packet.pts for packet in packets] == [sample.dts + sample.composition_offset for sample in samples]
        assert [packet.is_keyframe for packet in packets] == [sample.sync for sample in samples]


def test_ffmpeg_reads_an_audio_track() -> None:
    audio, units = audio_units(0, 0.5)
    samples = [Sample(unit.data, 480_000 + index * 1024, 1024, 0, True) for index, unit in enumerate(units)]
    track = AudioTrack(audio.config[:2], 48_000, 2)
    with av.open(io.BytesIO(init_segment(track) + segment_type() + media_fragment(1, samples)), "r") as container:
        stream = container.streams.audio[0]
        assert (stream.codec_context.sample_rate, stream.codec_context.channels) == (48_000, 2)
        packets = [packet for packet in container.demux(stream) if packet.dts is not None]
        assert [packet.pts for packet in packets] == [sample.dts for sample in samples]


def test_header_has_no_edit_list() -> None:
    track = AudioTrack(b"\x11\x90", 48_000, 2)
    header = init_segment(track)
    assert [kind for kind, _ in iter_boxes(header)] == [b"ftyp", b"moov"]
    assert b"elst" not in header
    assert find_box(header, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"mp4a", b"esds").endswith(b"\x06\x01\x02")
    with pytest.raises(BitstreamError):
        find_box(header, b"moov", b"trak", b"edts")
