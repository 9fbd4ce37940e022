"""Media encoded once and played again and again, so that many robots cost little.

Encoding is blocking work of up to a second or two: call `LoopLibrary.get` in a thread.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import av
from av.video.frame import PictureType

from bench.media.portrait import generated_pictures
from bench.media.sources import AUDIO_RATE_HZ, OPUS_FRAME_SAMPLES, file_pictures, file_sound
from bench.media.spec import SIMULCAST_RIDS, FileMedia, Media
from bench.media.voice import generated_sound
from salam import ResourceError

__all__ = ["EncodedFrame", "Layer", "Loop", "LoopLibrary", "MediaLoops", "OpusEncoder", "VideoEncoder", "encode"]

VIDEO_RATE_HZ = 90_000
"""The RTP clock of VP8 and H.264 (RFC 7741 4.1, RFC 6184 8.2.1)."""

# Bits per pixel and picture: 1.5 Mbit/s for 720p at 20, what browsers settle on for a face.
_BITS_PER_PIXEL = 0.08
# A quarter-size layer needs more bits per pixel for the same look; these are the shares of Chromium's own simulcast rates.
_LAYER_SHARE = {1: 1.0, 2: 1 / 3, 4: 1 / 10}
_MIN_BITRATE_BPS = 30_000
_OPUS_BITRATE_BPS = 32_000
# Distinct media that are kept; a rig with more kinds of robots than this encodes the oldest again.
_MAX_LOOPS = 16
_ENCODER_OPTIONS: dict[str, tuple[str, dict[str, str]]] = {
    # Realtime without delay, and resilient: a lost frame must not spoil the ones that a decoder gets afterwards.
    "VP8": (
        "libvpx",
        {"deadline": "realtime", "cpu-used": "8", "error-resilient": "1", "lag-in-frames": "0", "auto-alt-ref": "0"},
    ),
    "H264": ("libx264", {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"}),
}


@dataclass(frozen=True, slots=True)
class EncodedFrame:
    """One encoded picture (VP8 frame, H.264 access unit in Annex B form) or one Opus frame."""

    data: bytes
    keyframe: bool
    level_dbov: int = -127
    """How loud a frame of sound is: 0 is loudest, -127 silence (RFC 6464)."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One encoding of a loop; ``rid`` is empty when it is the only one."""

    rid: str
    width: int
    height: int
    bitrate_bps: int
    frames: tuple[EncodedFrame, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """A piece of media in one or more layers of equally many frames; the first frame of each is a keyframe."""

    kind: Literal["audio", "video"]
    codec: Literal["VP8", "H264", "opus"]
    clock_rate_hz: int
    frame_ticks: int
    """Duration of each frame in ticks of the clock."""
    layers: tuple[Layer, ...]

    @property
    def frame_s(self) -> float:
        """Duration of each frame in seconds."""
        return self.frame_ticks / self.clock_rate_hz


@dataclass(frozen=True, slots=True)
class MediaLoops:
    """The loops of one robot's media; None for what it does not have."""

    video: Loop | None
    audio: Loop | None


class VideoEncoder:
    """A realtime encoder of one layer without look-ahead: every picture comes out at once.

    ``codec`` is ``VP8`` or ``H264``; sizes in pixels, both even. Not safe to use from two threads at a time.
    """

    def __init__(self, codec: Literal["VP8", "H264"], width: int, height: int, fps: int, bitrate_bps: int) -> None:
        name, options = _ENCODER_OPTIONS[codec]
        self._size = (width, height)
        self._ticks = VIDEO_RATE_HZ // fps
        self._count = 0
        context: Any = av.CodecContext.create(name, "w")
        context.width, context.height = width, height
        context.pix_fmt = "yuv420p"
        context.bit_rate = bitrate_bps
        context.time_base = Fraction(1, VIDEO_RATE_HZ)
        context.framerate = Fraction(fps, 1)
        # Keyframes come when asked for, as in a call; this is only the largest value both encoders take.
        context.gop_size = 9999
        context.thread_count = 1
        context.options = options
        self._context = context

    def encode(self, picture: av.VideoFrame, *, keyframe: bool = False) -> EncodedFrame:
        """Return ``picture`` encoded, scaled if it has another size; ``keyframe`` forces a keyframe. The first is always one."""
        frame = picture.reformat(width=self._size[0], height=self._size[1], format="yuv420p")
        frame.pts = self._count * self._ticks
        frame.time_base = self._context.time_base
        # Decoders and filters leave their own picture types, which the encoder would take as orders.
        frame.pict_type = PictureType.I if keyframe or not self._count else PictureType.NONE
        self._count += 1
        packets = self._context.encode(frame)
        if not packets:
            raise ResourceError("the encoder delays pictures; realtime settings are not in effect")
        return EncodedFrame(b"".join(bytes(packet) for packet in packets), any(packet.is_keyframe for packet in packets))


class OpusEncoder:
    """A mono Opus encoder for 20 ms frames of 48 kHz sound. Not safe to use from two threads at a time."""

    def __init__(self, bitrate_bps: int = _OPUS_BITRATE_BPS) -> None:
        context: Any = av.CodecContext.create("libopus", "w")
        context.sample_rate = AUDIO_RATE_HZ
        context.layout = "mono"
        context.format = "s16"
        context.bit_rate = bitrate_bps
        context.options = {"application": "voip", "frame_duration": "20"}
        self._context = context

    def encode(self, sound: av.AudioFrame) -> list[EncodedFrame]:
        """Return what ``sound`` became: one Opus frame for each 20 ms."""
        sound.pts = None
        level_dbov = _level_dbov(sound)
        return [EncodedFrame(bytes(packet), True, level_dbov) for packet in self._context.encode(sound)]


def encode(media: Media) -> MediaLoops:
    """Encode ``media``; blocking.

    Raises ResourceError when a file cannot be read, or holds nothing of what is asked for.
    """
    video = _encode_video(media) if media.video else None
    audio = _encode_audio(media) if media.audio else None
    if video is None and audio is None:
        raise ResourceError("the file has neither video nor audio to publish")
    return MediaLoops(video, audio)


class LoopLibrary:
    """Encodes each distinct media once and hands out the same loops to everybody who asks; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loops: OrderedDict[Media, Future[MediaLoops]] = OrderedDict()

    def get(self, media: Media) -> MediaLoops:
        """Return the loops of ``media``, encoding them on first use; blocking. Raises what `encode` raises."""
        with self._lock:
            future = self._loops.get(media)
            mine = future is None
            if future is None:
                future = self._loops[media] = Future()
            self._loops.move_to_end(media)
            while len(self._loops) > _MAX_LOOPS:
                self._loops.popitem(last=False)
        if mine:
            self._encode_into(future, media)
        return future.result()

    def _encode_into(self, future: Future[MediaLoops], media: Media) -> None:
        try:
            future.set_result(encode(media))
        except Exception as error:
            # A file may be there the next time; a failure is not kept.
            with self._lock:
                if self._loops.get(media) is future:
                    del self._loops[media]
            future.set_exception(error)


def _encode_video(media: Media) -> Loop | None:
    count = max(int(media.loop_s * media.fps), 1)
    divisors = (4, 2, 1) if media.simulcast else (1,)
    top_bps = media.bitrate_bps or int(media.width * media.height * media.fps * _BITS_PER_PIXEL)
    sizes = [(_even(media.width // divisor), _even(media.height // divisor)) for divisor in divisors]
    rates = [max(int(top_bps * _LAYER_SHARE[divisor]), _MIN_BITRATE_BPS) for divisor in divisors]
    encoders = [VideoEncoder(media.codec, *size, media.fps, rate) for size, rate in zip(sizes, rates, strict=True)]
    frames: list[list[EncodedFrame]] = [[] for _ in encoders]
    for picture in _pictures(media, count):
        for encoder, encoded in zip(encoders, frames, strict=True):
            encoded.append(encoder.encode(picture))
    if not frames[0]:
        return None
    rids = SIMULCAST_RIDS if media.simulcast else ("",)
    layers = tuple(
        Layer(rid, *size, rate, tuple(encoded)) for rid, size, rate, encoded in zip(rids, sizes, rates, frames, strict=True)
    )
    return Loop("video", media.codec, VIDEO_RATE_HZ, VIDEO_RATE_HZ // media.fps, layers)


def _encode_audio(media: Media) -> Loop | None:
    encoder = OpusEncoder()
    frames = tuple(_flatten(encoder.encode(sound) for sound in _sound(media)))
    if not frames:
        return None
    return Loop("audio", "opus", AUDIO_RATE_HZ, OPUS_FRAME_SAMPLES, (Layer("", 0, 0, _OPUS_BITRATE_BPS, frames),))


def _pictures(media: Media, count: int) -> Iterator[av.VideoFrame]:
    if isinstance(media, FileMedia):
        return file_pictures(media.path, media.width, media.height, media.fps, count)
    return generated_pictures(media.width, media.height, media.fps, count, media.label)


def _sound(media: Media) -> Iterator[av.AudioFrame]:
    if isinstance(media, FileMedia):
        return file_sound(media.path, media.loop_s)
    return generated_sound(media.loop_s, media.label)


def _flatten(groups: Iterable[list[EncodedFrame]]) -> Iterator[EncodedFrame]:
    for group in groups:
        yield from group


def _level_dbov(sound: av.AudioFrame) -> int:
    """Return the level of 16-bit mono sound as RFC 6464 wants it: the root mean square against the loudest possible."""
    # The buffer may be longer than the sound in it.
    samples = memoryview(bytes(sound.planes[0])).cast("h")[: sound.samples]
    power = sum(sample * sample for sample in samples) / max(len(samples), 1)
    return max(round(10 * math.log10(power / 32768**2)), -127) if power else -127


def _even(pixels: int) -> int:
    return pixels - pixels % 2
