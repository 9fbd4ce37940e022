"""What of an encoded media frame stays clear, and how the encrypted rest is put in its place (the profile's section 11).

A forwarding unit must see where a picture starts and whether it is a keyframe, and a packetizer must find the units that it cuts;
nothing else may be read on the way. `Codec.split` and `Codec.join` are the sender's side, `Codec.split_sealed` the receiver's.
"""

from __future__ import annotations

import re
from enum import Enum, IntEnum
from typing import Final

from e2ee.encoding import lp, u8
from e2ee.errors import CodecNotSupported, MalformedMessage

__all__ = ["MAX_STREAM_NAME_BYTES", "Codec", "FrameKind", "metadata"]

# Names are words such as "screen_audio"; the bound is that of a user id.
MAX_STREAM_NAME_BYTES: Final = 255

_START_CODE: Final = b"\x00\x00\x01"
_LONG_START_CODE: Final = b"\x00\x00\x00\x01"
# Two zero bytes before one that would make them a start code or an emulation prevention sequence.
_EMULATION: Final = re.compile(rb"\x00\x00(?=[\x00-\x03])")
_NAL_KIND: Final = 0x1F
# SEI, the two parameter sets, the access unit delimiter (ITU-T H.264 table 7-1): what packetizers and forwarders read. Every other
# unit is treated as a slice, so that nothing unknown goes in the clear.
_CLEAR_NALS: Final = frozenset({6, 7, 8, 9})
# The header, and two bytes in which receivers look for the first macroblock, the slice type and the parameter set's number.
_SLICE_CLEAR_BYTES: Final = 3


class FrameKind(IntEnum):
    """As the metadata writes it."""

    AUDIO = 0
    VIDEO = 1
    DATA = 2


class Codec(Enum):
    """A codec whose frames can be encrypted end to end. ``DATA`` is a message on a data channel, all of it encrypted."""

    OPUS = "opus"
    VP8 = "vp8"
    VP9 = "vp9"
    H264 = "h264"
    DATA = "data"

    @property
    def kind(self) -> FrameKind:
        if self is Codec.OPUS:
            return FrameKind.AUDIO
        return FrameKind.DATA if self is Codec.DATA else FrameKind.VIDEO

    @staticmethod
    def named(name: str) -> Codec:
        """The codec of a name or MIME type, in any case (``video/VP8``, ``opus``).

        `CodecNotSupported` for every other: AV1's fragments are rewritten on the way and fail authentication at the receiver.
        """
        try:
            return Codec(name.rpartition("/")[2].lower())
        except ValueError:
            raise CodecNotSupported("frames of this codec cannot be encrypted end to end") from None

    def split(self, frame: bytes) -> tuple[bytes, bytes]:
        """An encoded frame as what stays clear and what is to be encrypted.

        `MalformedMessage` where the frame is too short to be one of this codec, or has no part that would be encrypted. H.264 is
        Annex B; its start codes come out four bytes long, for a receiver's depacketizer writes them so whatever they were.
        """
        return self._divide(frame)

    def join(self, clear: bytes, sealed: bytes) -> bytes:
        """The frame to send: ``clear`` as `split` gave it, then the SFrame object, written so that packetizers keep it whole."""
        return clear + (_escape(clear, sealed) if self is Codec.H264 else sealed)

    def split_sealed(self, frame: bytes) -> tuple[bytes, bytes]:
        """A received frame as its clear bytes and its SFrame object. `MalformedMessage` as in `split`.

        The decoder is given the clear bytes and the plaintext behind them.
        """
        clear, sealed = self._divide(frame)
        return clear, (_unescape(clear, sealed) if self is Codec.H264 else sealed)

    def _divide(self, frame: bytes) -> tuple[bytes, bytes]:
        if self is Codec.H264:
            return _divide_annex_b(frame)
        if self is not Codec.VP8:
            return b"", frame
        if not frame:
            raise MalformedMessage("a VP8 frame is empty")
        # The frame tag's first byte holds the inverse key frame flag (RFC 6386 9.1).
        return frame[:1], frame[1:]


def metadata(clear: bytes, kind: FrameKind, stream: str) -> bytes:
    """What is authenticated beside the SFrame header; ``stream`` is what signalling calls the track's source.

    `MalformedMessage` for a name that UTF-8 cannot carry, or of more than 255 bytes.
    """
    try:
        name = stream.encode()
    except UnicodeEncodeError:
        raise MalformedMessage("a stream name must be text that UTF-8 can carry") from None
    if len(name) > MAX_STREAM_NAME_BYTES:
        raise MalformedMessage(f"a stream name has {len(name)} bytes; it may have {MAX_STREAM_NAME_BYTES}")
    return clear + u8(kind) + lp(name)


def _divide_annex_b(frame: bytes) -> tuple[bytes, bytes]:
    at = frame.find(_START_CODE)
    if at < 0 or frame[:at].strip(b"\x00"):
        raise MalformedMessage("an H.264 frame does not begin with a start code")
    clear = []
    while True:
        start = at + len(_START_CODE)
        if start >= len(frame):
            raise MalformedMessage("an H.264 frame has no slice")
        clear.append(_LONG_START_CODE)
        if frame[start] & _NAL_KIND not in _CLEAR_NALS:
            break
        at = frame.find(_START_CODE, start)
        if at < 0:
            raise MalformedMessage("an H.264 frame has no slice")
        # A unit never ends with a zero byte: those before a start code belong to it.
        clear.append(frame[start:at].rstrip(b"\x00"))
    end = start + _SLICE_CLEAR_BYTES
    if end > len(frame):
        raise MalformedMessage("an H.264 slice is truncated")
    clear.append(frame[start:end])
    return b"".join(clear), frame[end:]


def _zeros_at_end(clear: bytes) -> bytes:
    """The zero bytes, at most two, with which ``clear`` ends: together with what follows they could read as a start code."""
    return b"\x00" * min(2, len(clear) - len(clear.rstrip(b"\x00")))


def _escape(clear: bytes, sealed: bytes) -> bytes:
    """Put emulation prevention bytes in (ITU-T H.264 7.4.1): after them no start code begins in ``sealed``."""
    zeros = _zeros_at_end(clear)
    escaped = _EMULATION.sub(b"\x00\x00\x03", zeros + sealed)
    return escaped[len(zeros) :]


def _unescape(clear: bytes, escaped: bytes) -> bytes:
    zeros = _zeros_at_end(clear)
    return (zeros + escaped).replace(b"\x00\x00\x03", b"\x00\x00")[len(zeros) :]
