"""A received media packet as all its forwarders share it: parsed once, never changed."""

from __future__ import annotations

from typing import Literal

from sfu.plane.errors import MediaError
from sfu.plane.h264 import is_h264_keyframe_start, sps_height
from sfu.plane.interface import ExtensionIds
from sfu.plane.rtp import RtpPacket
from sfu.plane.vp8 import Vp8Descriptor, parse_vp8

__all__ = ["FORWARDED_EXTENSIONS", "CodecName", "MediaPacket", "PayloadInfo", "forwarded_ids", "inspect_payload"]

CodecName = Literal["VP8", "H264", "VP9", "opus"]

FORWARDED_EXTENSIONS = ("audio_level", "video_orientation", "abs_capture_time", "playout_delay")
"""Header extensions that are passed on as they came. All others are made anew, or are of no use to a subscriber."""


def forwarded_ids(extensions: ExtensionIds) -> tuple[int, ...]:
    """Return the negotiated ids of `FORWARDED_EXTENSIONS`, in that order, 0 where there is none."""
    return tuple(getattr(extensions, name) for name in FORWARDED_EXTENSIONS)


class PayloadInfo:
    """What a payload says about its place in the stream."""

    __slots__ = ("height", "keyframe", "vp8")

    def __init__(self, *, keyframe: bool = False, height: int = 0, vp8: Vp8Descriptor | None = None) -> None:
        self.keyframe = keyframe
        """First packet of a keyframe."""
        self.height = height
        """Of the picture in pixels, where a keyframe tells it."""
        self.vp8 = vp8


# Audio packets say nothing: one object serves them all.
_NOTHING = PayloadInfo()


def inspect_payload(codec: CodecName, payload: bytes) -> PayloadInfo:
    """Look into a payload as far as forwarding needs it. Raises MediaError when its format is broken."""
    if codec == "VP8":
        descriptor = parse_vp8(payload)
        return PayloadInfo(keyframe=descriptor.keyframe, height=descriptor.height, vp8=descriptor)
    if codec == "H264":
        sps = is_h264_keyframe_start(payload)
        if sps is None:
            return _NOTHING
        return PayloadInfo(keyframe=True, height=_height(sps))
    if codec == "VP9":
        return PayloadInfo(keyframe=_is_vp9_keyframe_start(payload))
    return _NOTHING


def _height(sps: bytes) -> int:
    try:
        return sps_height(sps)
    except MediaError:
        # Only for information: a fragmented or odd parameter set is the decoder's business.
        return 0


def _is_vp9_keyframe_start(payload: bytes) -> bool:
    """Tell whether a VP9 payload starts a picture (B) that depends on no earlier one (not P), RFC 9628 4.2."""
    if not payload:
        raise MediaError("VP9 payload is empty")
    return payload[0] & 0x48 == 0x08


class MediaPacket:
    """One packet of one layer, with straight numbers."""

    __slots__ = ("arrived_s", "body", "codec", "extras", "keyframe", "marker", "payload", "picture", "sequence", "timestamp", "vp8")

    def __init__(
        self,
        packet: RtpPacket,
        sequence: int,
        codec: CodecName,
        info: PayloadInfo,
        picture: int,
        extras: tuple[tuple[int, bytes], ...],
        now: float,
    ) -> None:
        self.sequence = sequence
        self.timestamp = packet.timestamp
        self.marker = packet.marker
        self.codec = codec
        self.payload = packet.payload
        self.keyframe = info.keyframe
        self.vp8 = info.vp8
        self.body = packet.payload if info.vp8 is None else packet.payload[info.vp8.size_bytes :]
        """The payload after the descriptor that forwarders rewrite."""
        self.picture = picture
        """Straight picture number: equal for the packets of one picture, one more for the next."""
        self.extras = extras
        """Pairs of index into `FORWARDED_EXTENSIONS` and value."""
        self.arrived_s = now
