"""SRTP and SRTCP of one transport (RFC 3711, RFC 7714) through libsrtp."""

from __future__ import annotations

from typing import Any

from pylibsrtp import Policy, Session
from pylibsrtp._binding import ffi, lib

from sfu.plane.errors import MediaError
from sfu.plane.interface import SrtpKeys, SrtpProfile

__all__ = ["SrtpContext"]

_PROFILES = {
    SrtpProfile.AEAD_AES_128_GCM: Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    SrtpProfile.AEAD_AES_256_GCM: Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
    SrtpProfile.AES128_CM_SHA1_80: Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
}
# The default of 128 packets is one burst of a keyframe at 10 Mbps: packets that a retransmission repairs would fall behind it.
# libwebrtc chose 1024 for the same reason.
_REPLAY_WINDOW_PACKETS = 1024
# Room for any packet of an Ethernet path and what protection adds to it, with reserve for the bytes that rewriting adds.
_BUFFER_BYTES = 2048
# libsrtp's own maximum: tag, key index and SRTCP index.
_MAX_TRAILER_BYTES = 16 + 128 + 4


class _WideSession(Session):
    """A session with a buffer of its own.

    The one that it replaces ends at 1356 bytes of plain packet, below what many encoders send, and makes a new length cell per
    packet.
    """

    def __init__(self, keys: SrtpKeys, key: bytes, direction: int) -> None:
        policy = Policy(key=key, ssrc_type=direction, srtp_profile=_PROFILES[keys.profile])
        policy.window_size = _REPLAY_WINDOW_PACKETS
        super().__init__(policy)
        self._cells = ffi.new("char[]", _BUFFER_BYTES)
        self._bytes = ffi.buffer(self._cells)
        self._size = ffi.new("int *")

    def apply(self, function: Any, data: bytes) -> bytes:
        """Run one of libsrtp's four functions on ``data``; MediaError when it refuses or ``data`` is too long."""
        size = len(data)
        if size > _BUFFER_BYTES - _MAX_TRAILER_BYTES:
            raise MediaError(f"packet of {size} bytes is too long for SRTP")
        self._bytes[0:size] = data
        cell = self._size
        cell[0] = size
        status = function(self._srtp[0], self._cells, cell)
        if status:
            raise MediaError(f"SRTP refused a packet with status {status}")
        return self._bytes[0 : cell[0]]  # type: ignore[no-any-return]


class SrtpContext:
    """Both directions of one transport.

    Every method raises MediaError for a packet that it cannot protect or authenticate: longer than 1900 bytes, too short, forged,
    or replayed.
    """

    def __init__(self, keys: SrtpKeys) -> None:
        self._inbound = _WideSession(keys, keys.inbound, Policy.SSRC_ANY_INBOUND)
        self._outbound = _WideSession(keys, keys.outbound, Policy.SSRC_ANY_OUTBOUND)

    def unprotect_rtp(self, data: bytes) -> bytes:
        """Return the plain RTP packet."""
        return self._inbound.apply(lib.srtp_unprotect, data)

    def unprotect_rtcp(self, data: bytes) -> bytes:
        """Return the plain RTCP compound."""
        return self._inbound.apply(lib.srtp_unprotect_rtcp, data)

    def protect_rtp(self, data: bytes) -> bytes:
        """Return the SRTP packet; no two different packets may ever have the same SSRC and sequence number."""
        return self._outbound.apply(lib.srtp_protect, data)

    def protect_rtcp(self, data: bytes) -> bytes:
        """Return the SRTCP packet."""
        return self._outbound.apply(lib.srtp_protect_rtcp, data)
