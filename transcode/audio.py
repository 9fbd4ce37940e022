"""The one audio rendition: AAC frames without a gap, whatever the source sends.

A source's audio timestamps jitter, drift, leave holes and overlap. Players want every frame to follow the one before, so the frames
are laid end to end from an anchor, and corrected by whole pieces only when they are off by more than one frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol

import av
from av.audio.frame import AudioFrame
from av.codec.context import Flags

from ingest.access_unit import TIMESCALE_HZ, AudioFormat
from salam.errors import ResourceError
from transcode.aac import AAC_LC, FRAME_SAMPLES, AacConfig, build_aac_config, parse_aac_config
from transcode.cmaf import AudioTrack
from transcode.h264 import BitstreamError

__all__ = ["AacFrame", "AudioChain", "SampleClock", "open_audio", "silent_frame"]

AacFrame = tuple[int, bytes]
"""(position in samples on the output timeline, coded frame)"""

# What players decode without a doubt, and what is therefore passed through.
_PASSED_RATES_HZ = frozenset({32_000, 44_100, 48_000})
# Opus always runs at 48 kHz, and so does most video sound.
_RATE_HZ = 48_000
_CHANNELS = 2
# Transparent for nearly all material in AAC-LC stereo.
_BIT_RATE_BPS = 128_000
# A hole longer than this is no hole: the caller begins a new epoch first. The bound keeps a bad timestamp from filling memory.
_MAX_SILENCE_S = 10


class SampleClock:
    """Decides how incoming audio is laid end to end; positions and lengths are in samples.

    ``start`` is where the output begins. ``grain`` is the tolerance, and the unit in which silence can be inserted.
    """

    def __init__(self, start: int, *, grain: int, rate_hz: int) -> None:
        self.next = start
        self._grain = grain
        self._max_silence = _MAX_SILENCE_S * rate_hz
        self._started = False

    def accept(self, position: int, length: int) -> int | None:
        """Take ``length`` samples that claim ``position``; return how much silence goes in front of them, or None to drop them."""
        error = position - self.next
        if not self._started:
            if error < 0:
                return None
            self._started = True
            silence = min(error, self._max_silence) // self._grain * self._grain
            # The remainder is less than the tolerance; the output begins that much later and stays exact.
            self.next = position + length
            return silence
        if error <= -self._grain:
            return None
        silence = min(error, self._max_silence) // self._grain * self._grain if error >= self._grain else 0
        self.next += silence + length
        return silence

    def fill(self, position: int) -> int:
        """Return how much silence to append so that the output reaches ``position``, in whole grains."""
        missing = min(position - self.next, self._max_silence)
        silence = max(-(-missing // self._grain) * self._grain, 0)
        self._started = True
        self.next += silence
        return silence


class AudioChain(Protocol):
    """Turns a source's audio units into gapless AAC frames."""

    track: AudioTrack

    def push(self, data: bytes, pts: int) -> list[AacFrame]:
        """Take one unit that presents at ``pts`` (1/90000 s, output timeline)."""

    def fill(self, pts: int) -> list[AacFrame]:
        """Append silence up to ``pts``, because the source sends nothing."""

    def flush(self) -> list[AacFrame]:
        """Return what an encoder holds; nothing may be pushed afterwards."""


def silent_frame(sample_rate_hz: int, channels: int) -> bytes:
    """Return one AAC-LC frame of silence."""
    encoder = _open_encoder(sample_rate_hz, channels)
    frames = [
        bytes(packet) for index in range(4) for packet in encoder.encode(_silence(sample_rate_hz, channels, index * FRAME_SAMPLES))
    ]
    # The first frame is priming and carries the encoder's name.
    return frames[-1]


def open_audio(audio: AudioFormat | None, start_pts: int) -> AudioChain:
    """Return the chain for a source's audio; for None, one that gives silence only.

    AAC-LC with one or two channels at a usual rate is passed through, everything else is encoded again.
    Raises BitstreamError for a bad configuration and ResourceError when this build lacks a codec.
    """
    if audio is None:
        return _Passthrough(AacConfig(AAC_LC, _RATE_HZ, _CHANNELS, FRAME_SAMPLES), start_pts)
    if audio.codec == "aac":
        config = parse_aac_config(audio.config)
        plain = config.object_type == AAC_LC and config.frame_samples == FRAME_SAMPLES
        if plain and config.channels in (1, 2) and config.sample_rate_hz in _PASSED_RATES_HZ:
            return _Passthrough(config, start_pts)
    return _Transcoder(audio, start_pts)


class _Passthrough:
    def __init__(self, config: AacConfig, start_pts: int) -> None:
        rate = config.sample_rate_hz
        # Written anew, because extensions that announce HE-AAC would contradict the codec string.
        self.track = AudioTrack(build_aac_config(rate, config.channels), rate, config.channels)
        self._clock = SampleClock(-(-start_pts * rate // TIMESCALE_HZ), grain=FRAME_SAMPLES, rate_hz=rate)
        self._silent = silent_frame(rate, config.channels)

    def push(self, data: bytes, pts: int) -> list[AacFrame]:
        position = round(Fraction(pts * self.track.sample_rate_hz, TIMESCALE_HZ))
        silence = self._clock.accept(position, FRAME_SAMPLES)
        if silence is None:
            return []
        position = self._clock.next - FRAME_SAMPLES
        return [*self._silence(position - silence, silence), (position, data)]

    def fill(self, pts: int) -> list[AacFrame]:
        start = self._clock.next
        return list(self._silence(start, self._clock.fill(-(-pts * self.track.sample_rate_hz // TIMESCALE_HZ))))

    def flush(self) -> list[AacFrame]:
        return []

    def _silence(self, start: int, samples: int) -> Iterator[AacFrame]:
        for position in range(start, start + samples, FRAME_SAMPLES):
            yield position, self._silent


class _Transcoder:
    """Decodes, resamples to 48 kHz stereo, and encodes once for all rungs."""

    def __init__(self, audio: AudioFormat, start_pts: int) -> None:
        try:
            self._decoder = av.AudioCodecContext.create(audio.codec, "r")
        except av.FFmpegError as error:
            raise ResourceError(f"this FFmpeg has no decoder for {audio.codec}") from error
        self._decoder.extradata = audio.config
        self._decoder.sample_rate = audio.sample_rate_hz or _RATE_HZ
        self._resampler = av.AudioResampler("fltp", "stereo", _RATE_HZ)
        self._fifo = av.AudioFifo()
        self._encoder = _open_encoder(_RATE_HZ, _CHANNELS)
        self.track = AudioTrack(build_aac_config(_RATE_HZ, _CHANNELS), _RATE_HZ, _CHANNELS)
        self._start = -(-start_pts * _RATE_HZ // TIMESCALE_HZ)
        # PCM silence comes in any length; 20 ms of tolerance is what millisecond timestamps and one Opus frame need.
        self._clock = SampleClock(self._start, grain=_RATE_HZ // 50, rate_hz=_RATE_HZ)
        self._written = self._start
        self.errors = 0

    def push(self, data: bytes, pts: int) -> list[AacFrame]:
        packet = av.Packet(data)
        try:
            decoded = self._decoder.decode(packet)
        except av.FFmpegError:
            self.errors += 1
            return []
        frames: list[AacFrame] = []
        position = round(Fraction(pts * _RATE_HZ, TIMESCALE_HZ))
        for source in decoded:
            source.pts = None
            for frame in self._resampler.resample(source):
                silence = self._clock.accept(position, frame.samples)
                if silence is not None:
                    # The first frame may start within the tolerance after the anchor; exact silence keeps the output exact.
                    gap = self._clock.next - frame.samples - self._written
                    frames += self._append_silence(gap)
                    frames += self._append(frame)
                position += frame.samples
        return frames

    def fill(self, pts: int) -> list[AacFrame]:
        self._clock.fill(-(-pts * _RATE_HZ // TIMESCALE_HZ))
        return self._append_silence(self._clock.next - self._written)

    def flush(self) -> list[AacFrame]:
        frames = []
        rest = self._fifo.read(0, partial=True)
        if rest is not None:
            rest.pts = self._written - rest.samples
            frames += self._frames(self._encoder.encode(rest))
        return frames + self._frames(self._encoder.encode(None))

    def _append_silence(self, samples: int) -> list[AacFrame]:
        frames: list[AacFrame] = []
        while samples > 0:
            piece = min(samples, FRAME_SAMPLES)
            frames += self._append(_silence(_RATE_HZ, _CHANNELS, None, piece))
            samples -= piece
        return frames

    def _append(self, frame: AudioFrame) -> list[AacFrame]:
        # The FIFO checks timestamps for continuity; ours are kept beside it.
        frame.pts = None
        self._fifo.write(frame)
        self._written += frame.samples
        frames: list[AacFrame] = []
        while (piece := self._fifo.read(FRAME_SAMPLES)) is not None:
            piece.pts = self._written - self._fifo.samples - FRAME_SAMPLES
            piece.time_base = Fraction(1, _RATE_HZ)
            frames += self._frames(self._encoder.encode(piece))
        return frames

    def _frames(self, packets: list[av.Packet[av.AudioStream]]) -> list[AacFrame]:
        # What lies before the start is the encoder's priming: it carries no sound, and dropping it needs no edit list.
        return [(packet.pts, bytes(packet)) for packet in packets if packet.pts is not None and packet.pts >= self._start]


def _open_encoder(sample_rate_hz: int, channels: int) -> av.AudioCodecContext:
    try:
        encoder = av.AudioCodecContext.create("aac", "w")
        encoder.sample_rate = sample_rate_hz
        encoder.layout = "stereo" if channels == 2 else "mono"
        encoder.format = "fltp"
        encoder.bit_rate = _BIT_RATE_BPS
        encoder.time_base = Fraction(1, sample_rate_hz)
        encoder.flags |= Flags.global_header
        encoder.open()
    except av.FFmpegError as error:
        raise ResourceError(f"this FFmpeg cannot encode AAC at {sample_rate_hz} Hz") from error
    if encoder.frame_size != FRAME_SAMPLES:
        raise BitstreamError(f"the AAC encoder makes frames of {encoder.frame_size} samples")
    return encoder


def _silence(sample_rate_hz: int, channels: int, pts: int | None, samples: int = FRAME_SAMPLES) -> AudioFrame:
    frame = AudioFrame("fltp", "stereo" if channels == 2 else "mono", samples)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.sample_rate, frame.pts, frame.time_base = sample_rate_hz, pts, Fraction(1, sample_rate_hz)
    return frame
