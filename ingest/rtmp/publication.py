"""One publication: from its audio, video and metadata messages to a stream's description and access units."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

from ingest.access_unit import AccessUnit, AudioFormat, StreamInfo, VideoFormat
from ingest.nal import to_four_byte_lengths
from ingest.rtmp import amf
from ingest.rtmp.flv import MediaPacket, PacketKind, UnsupportedCodecError, parse_audio_tag, parse_video_tag
from ingest.rtmp.formats import read_audio_config, read_video_config
from ingest.rtmp.timeline import TICKS_PER_MS, Timeline
from salam import ProtocolError

__all__ = ["InputDropped", "Publication", "PublicationEvent"]

# What is held while the second track is awaited. A second of a 60 Mb/s stream; more would be held for a publisher that sends no
# second track.
_MAX_HELD_BYTES = 8 * 1024 * 1024
# Six seconds of sound in 20 ms frames and pictures at 60 a second: more than a second's worth of any honest stream.
_MAX_HELD_UNITS = 660
# An offset beyond this is no reordering but a broken tag: H.264 allows 16 reordered pictures, 16 s at one picture a second.
_MAX_COMPOSITION_MS = 16_000
_NANOSECONDS_PER_SECOND = 1_000_000_000
_TICKS_PER_SECOND = TICKS_PER_MS * 1000
# Metadata outside these is a mistake of the encoder and worth less than no metadata.
_MAX_SIDE = 16_384
_MAX_FRAME_RATE = 1_000
# 30000/1001 and its relatives are the finest frame rates in use.
_FRAME_RATE_DENOMINATOR = 1001


@dataclass(frozen=True, slots=True)
class InputDropped:
    """A message was unusable and left out; ``reason`` is a fixed word for the metrics."""

    reason: str


PublicationEvent: TypeAlias = StreamInfo | AccessUnit | InputDropped


class Publication:
    """Turns the media messages of one publication into events.

    The first event of a usable stream is its StreamInfo; access units before it are held back for at most ``gather_s`` seconds,
    until both tracks are known or the metadata says that there is only one. Nothing here raises on bad input: it becomes
    `InputDropped`.
    """

    def __init__(self, name: str, *, gather_s: float, now: float) -> None:
        self.name = name
        self.unsupported: str | None = None
        """What was last said in a codec that is not taken, as a sentence."""
        self.last_unit_s = now
        """When the last usable access unit came; ``now`` of the construction before that."""
        self._gather_s = gather_s
        self._timeline = Timeline()
        self._video: VideoFormat | None = None
        self._audio: AudioFormat | None = None
        self._length_size_bytes = 4
        self._keyframe_seen = False
        self._stated_size = (0, 0)
        self._stated_frame_rate: Fraction | None = None
        self._single_track = False
        self._announced: StreamInfo | None = None
        self._first_config_s: float | None = None
        self._held: list[AccessUnit] = []
        self._held_bytes = 0

    @property
    def started(self) -> bool:
        """Whether the stream has been described yet."""
        return self._announced is not None

    def on_metadata(self, payload: bytes) -> list[PublicationEvent]:
        """Take the AMF0 values of a data message; anything but onMetaData is of no use here."""
        try:
            values = amf.decode(payload)
        except ProtocolError:
            return [InputDropped("bad_metadata")]
        if values and values[0] == "@setDataFrame":
            values = values[1:]
        if len(values) < 2 or values[0] != "onMetaData" or not isinstance(values[1], dict):
            return []
        stated = values[1]
        width, height, rate = (stated.get(key) for key in ("width", "height", "framerate"))
        if isinstance(width, float) and isinstance(height, float) and 0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE:
            self._stated_size = (int(width), int(height))
        if isinstance(rate, float) and 0 < rate <= _MAX_FRAME_RATE:
            self._stated_frame_rate = Fraction(rate).limit_denominator(_FRAME_RATE_DENOMINATOR)
        # Encoders name the codecs they are going to send, so one name alone means one track.
        self._single_track = ("videocodecid" in stated) != ("audiocodecid" in stated)
        return []

    def on_media(self, kind: Literal["video", "audio"], payload: bytes, timestamp_ms: int, now: float) -> list[PublicationEvent]:
        """Take a media message with its 32-bit ``timestamp_ms``, received at ``now`` (monotonic seconds)."""
        # Encoders send empty messages as keep-alives.
        if not payload:
            return []
        try:
            packets = parse_video_tag(payload) if kind == "video" else parse_audio_tag(payload)
        except UnsupportedCodecError as error:
            self.unsupported = error.message
            return [InputDropped("unsupported_codec")]
        except ProtocolError:
            return [InputDropped("bad_tag")]
        events: list[PublicationEvent] = []
        for packet in packets:
            if packet.track_id:
                events.append(InputDropped("extra_track"))
            elif packet.kind is PacketKind.CONFIG:
                events += self._on_config(kind, packet, now)
            elif packet.kind is PacketKind.FRAME:
                events += self._on_frame(kind, packet, timestamp_ms, now)
        return events

    def _on_config(self, kind: Literal["video", "audio"], packet: MediaPacket, now: float) -> list[PublicationEvent]:
        try:
            if kind == "video":
                video, self._length_size_bytes = read_video_config(
                    packet.codec, packet.data, self._stated_size, self._stated_frame_rate
                )
                if video != self._video:
                    # Pictures of the new configuration can only be read from its first keyframe on.
                    self._keyframe_seen = False
                self._video = video
            else:
                self._audio = read_audio_config(packet.codec, packet.data)
        except ProtocolError:
            return [InputDropped("bad_decoder_config")]
        if self._first_config_s is None:
            self._first_config_s = now
        return self._announce() if self.started or self._complete(now) else []

    def _on_frame(
        self, kind: Literal["video", "audio"], packet: MediaPacket, timestamp_ms: int, now: float
    ) -> list[PublicationEvent]:
        current = self._video if kind == "video" else self._audio
        if current is None or current.codec != packet.codec:
            return [InputDropped("no_decoder_config")]
        data = packet.data
        try:
            if packet.codec in ("h264", "hevc"):
                data = to_four_byte_lengths(data, self._length_size_bytes)
            elif not data:
                raise ProtocolError("an empty frame")
        except ProtocolError:
            return [InputDropped("bad_frame")]
        if kind == "video" and not self._keyframe_seen:
            if not packet.keyframe:
                return [InputDropped("before_keyframe")]
            self._keyframe_seen = True
        unit = self._unit(kind, packet, data, timestamp_ms, now)
        self.last_unit_s = now
        if self.started:
            return [unit]
        self._held.append(unit)
        self._held_bytes += len(unit.data)
        return self._announce() if self._complete(now) else []

    def _unit(self, kind: Literal["video", "audio"], packet: MediaPacket, data: bytes, timestamp_ms: int, now: float) -> AccessUnit:
        nano_ticks = packet.nano_offset_ns * _TICKS_PER_SECOND // _NANOSECONDS_PER_SECOND
        dts = self._timeline.place(kind, timestamp_ms) * TICKS_PER_MS
        offset_ms = packet.composition_offset_ms
        # Presentation before decoding cannot be shown by anybody; such offsets come from encoders that count from the wrong frame.
        offset_ms = offset_ms if 0 <= offset_ms <= _MAX_COMPOSITION_MS else 0
        return AccessUnit(kind, data, dts + offset_ms * TICKS_PER_MS + nano_ticks, dts, packet.keyframe, now)

    def _complete(self, now: float) -> bool:
        if self._video is not None and self._audio is not None:
            return True
        if self._single_track or self._held_bytes > _MAX_HELD_BYTES or len(self._held) > _MAX_HELD_UNITS:
            return True
        return self._first_config_s is not None and now - self._first_config_s >= self._gather_s

    def _announce(self) -> list[PublicationEvent]:
        info = StreamInfo(self.name, self._video, self._audio)
        held, self._held, self._held_bytes = self._held, [], 0
        if info == self._announced:
            return []
        self._announced = info
        return [info, *held]
