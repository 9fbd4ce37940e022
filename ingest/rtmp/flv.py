"""The bodies of RTMP audio and video messages: FLV tags, and their Enhanced RTMP extension.

Sources: Adobe FLV 10.1 annex E.4 (AVC and AAC) and Enhanced RTMP v2 (fourCC codecs, ModEx, multitrack). HEVC under codec id 12,
a common extension from before Enhanced RTMP, is taken as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from salam import ProtocolError

__all__ = [
    "AUDIO_FOURCCS",
    "VIDEO_FOURCCS",
    "MediaPacket",
    "PacketKind",
    "UnsupportedCodecError",
    "parse_audio_tag",
    "parse_video_tag",
]

AudioCodec = Literal["aac", "opus"]
VideoCodec = Literal["h264", "hevc", "av1"]

VIDEO_FOURCCS: dict[bytes, VideoCodec] = {b"avc1": "h264", b"hvc1": "hevc", b"av01": "av1"}
"""The video codecs of Enhanced RTMP that are taken."""

AUDIO_FOURCCS: dict[bytes, AudioCodec] = {b"mp4a": "aac", b"Opus": "opus"}
"""The audio codecs of Enhanced RTMP that are taken."""

# Codec ids of the first byte (FLV E.4.2.1 and E.4.3.1); 9 is Enhanced RTMP's "look at the fourCC".
_LEGACY_VIDEO: dict[int, VideoCodec] = {7: "h264", 12: "hevc"}
_LEGACY_AAC = 10
_ENHANCED_AUDIO = 9
_ENHANCED_VIDEO_BIT = 0x80

_KEYFRAME = 1
_COMMAND_FRAME = 5

# Packet types of Enhanced RTMP, the same number for audio and video where both have it.
_SEQUENCE_START = 0
_CODED_FRAMES = 1
_SEQUENCE_END = 2
_CODED_FRAMES_X = 3
_METADATA = 4
_VIDEO_MULTITRACK = 6
_AUDIO_MULTITRACK = 5
_MOD_EX = 7
_TIMESTAMP_OFFSET_NANO = 0

_ONE_TRACK = 0
_MANY_TRACKS = 1
_MANY_TRACKS_MANY_CODECS = 2

# A modifier chain is one or two long in practice; without a bound 8 MiB of them would be walked one by one.
_MAX_MODIFIERS = 16
# Track ids are one byte; an encoder that offers a whole ladder sends six or so.
_MAX_TRACKS = 32


class UnsupportedCodecError(ProtocolError):
    """A well-formed tag whose codec is not taken; ``codec`` names it."""

    default_code = "unsupported_codec"

    def __init__(self, kind: str, codec: str) -> None:
        super().__init__(f"{kind} codec {codec} is not taken")
        self.codec = codec


class PacketKind(Enum):
    """What a packet holds."""

    CONFIG = "config"
    """The decoder configuration record."""
    FRAME = "frame"
    """One picture or audio frame."""
    END = "end"
    """The publisher says that this track is over; holds no bytes."""


@dataclass(frozen=True, slots=True)
class MediaPacket:
    """What one tag says about one track."""

    kind: PacketKind
    codec: VideoCodec | AudioCodec
    data: bytes
    keyframe: bool = False
    composition_offset_ms: int = 0
    """Presentation minus decoding time; signed."""
    nano_offset_ns: int = 0
    """What the tag adds to its millisecond timestamp; less than a millisecond in honest streams, 16.7 ms at most."""
    track_id: int = 0


class _Cursor:
    """Reads a tag from front to back; every read past its end is a ProtocolError."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise ProtocolError("a media tag ends too early")
        self._at += count
        return self._data[self._at - count : self._at]

    def unsigned(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def signed_24(self) -> int:
        return int.from_bytes(self.take(3), "big", signed=True)

    def rest(self) -> bytes:
        return self.take(self.left)


def parse_video_tag(data: bytes) -> list[MediaPacket]:
    """Return the packets of the video message ``data``: one, several for multitrack, none for what carries no pictures.

    Raises UnsupportedCodecError for a codec that is not taken, otherwise ProtocolError when the tag is malformed.
    """
    cursor = _Cursor(data)
    first = cursor.unsigned(1)
    frame_type = (first >> 4) & 0x07
    if first & _ENHANCED_VIDEO_BIT:
        return _parse_enhanced_video(cursor, first & 0x0F, frame_type)
    codec_id = first & 0x0F
    codec = _LEGACY_VIDEO.get(codec_id)
    if codec is None:
        raise UnsupportedCodecError("video", f"id {codec_id}")
    if frame_type == _COMMAND_FRAME:
        return []
    packet_type, offset_ms = cursor.unsigned(1), cursor.signed_24()
    if packet_type == 0:
        return [MediaPacket(PacketKind.CONFIG, codec, cursor.rest())]
    if packet_type == 1:
        return [MediaPacket(PacketKind.FRAME, codec, cursor.rest(), frame_type == _KEYFRAME, offset_ms)]
    if packet_type == 2:
        return [MediaPacket(PacketKind.END, codec, b"")]
    raise ProtocolError(f"video packet type {packet_type} is unknown")


def parse_audio_tag(data: bytes) -> list[MediaPacket]:
    """Return the packets of the audio message ``data``: one, several for multitrack, none for what carries no sound.

    Raises UnsupportedCodecError for a codec that is not taken, otherwise ProtocolError when the tag is malformed.
    """
    cursor = _Cursor(data)
    first = cursor.unsigned(1)
    sound_format = first >> 4
    if sound_format == _ENHANCED_AUDIO:
        return _parse_enhanced_audio(cursor, first & 0x0F)
    if sound_format != _LEGACY_AAC:
        raise UnsupportedCodecError("audio", f"id {sound_format}")
    packet_type = cursor.unsigned(1)
    if packet_type == 0:
        return [MediaPacket(PacketKind.CONFIG, "aac", cursor.rest())]
    if packet_type == 1:
        return [MediaPacket(PacketKind.FRAME, "aac", cursor.rest(), keyframe=True)]
    raise ProtocolError(f"AAC packet type {packet_type} is unknown")


def _modifiers(cursor: _Cursor, packet_type: int) -> tuple[int, int]:
    """Walk the ModEx chain: returns the packet type behind it and the nanosecond offset; unknown modifiers are skipped."""
    nano_offset_ns = 0
    for _ in range(_MAX_MODIFIERS):
        if packet_type != _MOD_EX:
            return packet_type, nano_offset_ns
        size = cursor.unsigned(1) + 1
        if size == 256:
            size = cursor.unsigned(2) + 1
        body = cursor.take(size)
        kind_and_type = cursor.unsigned(1)
        if kind_and_type >> 4 == _TIMESTAMP_OFFSET_NANO and size >= 3:
            nano_offset_ns = int.from_bytes(body[:3], "big")
        packet_type = kind_and_type & 0x0F
    raise ProtocolError(f"more than {_MAX_MODIFIERS} modifiers on one tag")


def _tracks(cursor: _Cursor, layout: int | None) -> list[tuple[int, bytes, _Cursor]]:
    """Return (track id, fourCC, body) of each track; ``layout`` is None for a tag with a single, unnumbered track."""
    if layout is None:
        return [(0, cursor.take(4), cursor)]
    if layout not in (_ONE_TRACK, _MANY_TRACKS, _MANY_TRACKS_MANY_CODECS):
        raise ProtocolError(f"multitrack layout {layout} is unknown")
    fourcc = b"" if layout == _MANY_TRACKS_MANY_CODECS else cursor.take(4)
    tracks: list[tuple[int, bytes, _Cursor]] = []
    while cursor.left:
        if len(tracks) >= _MAX_TRACKS:
            raise ProtocolError(f"more than {_MAX_TRACKS} tracks in one tag")
        track_fourcc = fourcc or cursor.take(4)
        track_id = cursor.unsigned(1)
        size = cursor.left if layout == _ONE_TRACK else cursor.unsigned(3)
        tracks.append((track_id, track_fourcc, _Cursor(cursor.take(size))))
    return tracks


def _parse_enhanced_video(cursor: _Cursor, packet_type: int, frame_type: int) -> list[MediaPacket]:
    packet_type, nano_offset_ns = _modifiers(cursor, packet_type)
    if packet_type != _METADATA and frame_type == _COMMAND_FRAME:
        return []
    layout = None
    if packet_type == _VIDEO_MULTITRACK:
        both = cursor.unsigned(1)
        layout, packet_type = both >> 4, both & 0x0F
    packets: list[MediaPacket] = []
    for track_id, fourcc, body in _tracks(cursor, layout):
        codec = VIDEO_FOURCCS.get(fourcc)
        if codec is None:
            raise UnsupportedCodecError("video", _printable(fourcc))
        if packet_type == _SEQUENCE_START:
            packets.append(MediaPacket(PacketKind.CONFIG, codec, body.rest(), track_id=track_id))
        elif packet_type in (_CODED_FRAMES, _CODED_FRAMES_X):
            # CodedFramesX saves the three bytes of an offset that is zero; AV1 has none at all.
            offset_ms = body.signed_24() if packet_type == _CODED_FRAMES and codec != "av1" else 0
            keyframe = frame_type == _KEYFRAME
            packets.append(MediaPacket(PacketKind.FRAME, codec, body.rest(), keyframe, offset_ms, nano_offset_ns, track_id))
        elif packet_type == _SEQUENCE_END:
            packets.append(MediaPacket(PacketKind.END, codec, b"", track_id=track_id))
    # What is left (HDR metadata, sequence starts of MPEG-2 TS, later additions) has no pictures in it.
    return packets


def _parse_enhanced_audio(cursor: _Cursor, packet_type: int) -> list[MediaPacket]:
    packet_type, nano_offset_ns = _modifiers(cursor, packet_type)
    layout = None
    if packet_type == _AUDIO_MULTITRACK:
        both = cursor.unsigned(1)
        layout, packet_type = both >> 4, both & 0x0F
    packets: list[MediaPacket] = []
    for track_id, fourcc, body in _tracks(cursor, layout):
        codec = AUDIO_FOURCCS.get(fourcc)
        if codec is None:
            raise UnsupportedCodecError("audio", _printable(fourcc))
        if packet_type == _SEQUENCE_START:
            packets.append(MediaPacket(PacketKind.CONFIG, codec, body.rest(), track_id=track_id))
        elif packet_type == _CODED_FRAMES:
            packets.append(
                MediaPacket(PacketKind.FRAME, codec, body.rest(), keyframe=True, nano_offset_ns=nano_offset_ns, track_id=track_id)
            )
        elif packet_type == _SEQUENCE_END:
            packets.append(MediaPacket(PacketKind.END, codec, b"", track_id=track_id))
    # What is left (channel layouts, later additions) has no sound in it.
    return packets


def _printable(fourcc: bytes) -> str:
    # The name goes into messages and logs, so only harmless characters of the peer's four bytes may stay.
    return "".join(chr(byte) if 0x20 < byte < 0x7F else "?" for byte in fourcc)
