"""The one exception type that the plane's parsers raise."""

from __future__ import annotations

from salam.errors import ProtocolError

__all__ = ["MediaError"]


class MediaError(ProtocolError):
    """A peer sent a packet that RTP, RTCP, SRTP or the payload format does not allow."""

    default_code = "bad_media_packet"
