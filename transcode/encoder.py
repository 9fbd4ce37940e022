"""The codecs: one decoder of the source's video, one encoder per rung. No threads here; every object serves one."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.codec.context import Flags
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from ingest.access_unit import TIMESCALE_HZ, VideoFormat
from salam.errors import ResourceError
from transcode.h264 import NalType, build_avc_config, from_annex_b, join_nals
from transcode.ladder import Rung

__all__ = ["HEADER_NALS", "Picture", "Scaler", "VideoDecoder", "VideoEncoder"]

_TIME_BASE = Fraction(1, TIMESCALE_HZ)
_DECODERS = {"h264": "h264", "hevc": "hevc", "av1": "libdav1d"}
HEADER_NALS = frozenset({NalType.SPS, NalType.PPS, NalType.ACCESS_UNIT_DELIMITER, NalType.SPS_EXTENSION})
"""NAL types that live in the header and must not be repeated in avc1 samples (ISO/IEC 14496-15 section 5.4.2), and delimiters."""
# 1080p30 encodes in about 0.4 of one core with these settings; above this many pixels a second one thread may not keep up.
_ONE_THREAD_PIXELS_HZ = 1920 * 1080 * 40


@dataclass(frozen=True, slots=True)
class Picture:
    """One coded picture; without B-frames its decode time is its presentation time."""

    pts: int
    data: bytes
    """Length-prefixed NAL units."""
    sync: bool


class VideoDecoder:
    """Decodes access units as they come, without a container or a probe.

    Raises ResourceError when this build has no decoder for the codec.
    """

    def __init__(self, video: VideoFormat) -> None:
        try:
            self._context = av.CodecContext.create(_DECODERS[video.codec], "r")
        except av.FFmpegError as error:
            raise ResourceError(f"this FFmpeg has no decoder for {video.codec}") from error
        assert isinstance(self._context, av.VideoCodecContext)
        self._context.extradata = video.config
        # Frame threads would add a picture of delay each; one core decodes 1080p30 seven times over.
        self._context.thread_count = 1
        self.errors = 0

    def decode(self, data: bytes, pts: int, dts: int) -> list[VideoFrame]:
        """Return the pictures that are ready, in presentation order; damaged input is counted in `errors` and skipped."""
        packet = av.Packet(data)
        packet.pts, packet.dts, packet.time_base = pts, dts, _TIME_BASE
        return self._run(packet)

    def flush(self) -> list[VideoFrame]:
        """Return the pictures that were held back for reordering; the decoder takes nothing afterwards."""
        return self._run(None)

    def _run(self, packet: av.Packet[Any] | None) -> list[VideoFrame]:
        assert isinstance(self._context, av.VideoCodecContext)
        try:
            return self._context.decode(packet)
        except av.FFmpegError:
            self.errors += 1
            return []


class Scaler:
    """Scales pictures to one size, as 8-bit 4:2:0."""

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._reformatter = VideoReformatter()

    def scale(self, frame: VideoFrame) -> VideoFrame:
        """Return ``frame`` in this scaler's size; the frame itself when nothing has to be done."""
        width, height = self._size
        # Bilinear costs half of bicubic, and in a cascade, where each step shrinks by two at most, it drops no source pixel.
        return self._reformatter.reformat(
            frame, width, height, "yuv420p", dst_color_range="MPEG", interpolation=Interpolation.BILINEAR, threads=1
        )


class VideoEncoder:
    """x264 for one rung: no reordering, keyframes only where they are asked for, quality capped by the rung's bit rate.

    Raises ResourceError when this build has no x264 or it refuses the size.
    """

    def __init__(self, rung: Rung, *, frame_rate: float, sample_aspect: Fraction = Fraction(1)) -> None:
        fps = frame_rate / 2 if rung.halve_frame_rate else frame_rate
        try:
            context = av.CodecContext.create("libx264", "w")
            context.width, context.height, context.pix_fmt = rung.width, rung.height, "yuv420p"
            context.time_base = _TIME_BASE
            context.framerate = Fraction(fps or 30).limit_denominator(1001)
            context.sample_aspect_ratio = sample_aspect
            context.flags |= Flags.global_header
            context.thread_count = 1 if rung.width * rung.height * fps <= _ONE_THREAD_PIXELS_HZ else 2
            # The schedule forces every keyframe; x264's own interval and scene cuts would break the alignment of the rungs.
            context.gop_size = 1_000_000
            context.options = {
                "preset": "veryfast",
                "tune": "zerolatency",
                # Capped quality: plain scenes cost what they need, busy ones at most the rung's rate over one second.
                "crf": "23",
                "maxrate": str(rung.bit_rate_bps),
                "bufsize": str(rung.bit_rate_bps),
                "forced-idr": "1",
                "x264-params": "scenecut=0",
            }
            context.open()
        except av.FFmpegError as error:
            raise ResourceError(f"x264 refuses {rung.width}x{rung.height}: {error}") from error
        self._context = context
        nals = from_annex_b(context.extradata or b"")
        self.config = build_avc_config(
            [nal for nal in nals if nal[0] & 0x1F == NalType.SPS], [nal for nal in nals if nal[0] & 0x1F == NalType.PPS]
        )

    def encode(self, frame: VideoFrame, pts: int, *, keyframe: bool) -> list[Picture]:
        """Encode ``frame`` at ``pts``, which grows from call to call; the frame's own timestamp and type are overwritten."""
        frame.pts, frame.time_base = pts, _TIME_BASE
        # The source's own picture types must not leak into this encode.
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        return self._pictures(self._context.encode(frame))

    def flush(self) -> list[Picture]:
        """Return what the encoder still holds; it takes nothing afterwards."""
        return self._pictures(self._context.encode(None))

    @staticmethod
    def _pictures(packets: list[av.Packet[av.VideoStream]]) -> list[Picture]:
        pictures = []
        for packet in packets:
            nals = [nal for nal in from_annex_b(bytes(packet)) if nal[0] & 0x1F not in HEADER_NALS]
            assert packet.pts is not None
            pictures.append(Picture(packet.pts, join_nals(nals), any(nal[0] & 0x1F == NalType.IDR for nal in nals)))
        return pictures
