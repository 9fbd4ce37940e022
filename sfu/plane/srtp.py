"""SRTP and SRTCP of one transport (RFC 3711, RFC 7714) through libsrtp."""

from __future__ import annotations

from pylibsrtp import Error, Policy, Session

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


def _session(keys: SrtpKeys, key: bytes, direction: int) -> Session:
    policy = Policy(key=key, ssrc_type=direction, srtp_profile=_PROFILES[keys.profile])
    policy.window_size = _REPLAY_WINDOW_PACKETS
    return Session(policy)


class SrtpContext:
    """Both directions of one transport.

    Every method raises MediaError for a packet that it cannot protect or authenticate: too long for libsrtp's buffer (1356 bytes to
    protect, 1500 to unprotect), too short, forged, or replayed.
    """

    def __init__(self, keys: SrtpKeys) -> None:
        self._inbound = _session(keys, keys.inbound, Policy.SSRC_ANY_INBOUND)
        self._outbound = _session(keys, keys.outbound, Policy.SSRC_ANY_OUTBOUND)

    def unprotect_rtp(self, data: bytes) -> bytes:
        """Return the plain RTP packet."""
        try:
            return self._inbound.unprotect(data)
        except (Error, ValueError) as failure:
            raise MediaError(f"SRTP packet refused: {failure}") from None

    def unprotect_rtcp(self, data: bytes) -> bytes:
        """Return the plain RTCP compound."""
        try:
            return self._inbound.unprotect_rtcp(data)
        except (Error, ValueError) as failure:
            raise MediaError(f"SRTCP packet refused: {failure}") from None

    def protect_rtp(self, data: bytes) -> bytes:
        """Return the SRTP packet; no two different packets may ever have the same SSRC and sequence number."""
        try:
            return self._outbound.protect(data)
        except (Error, ValueError) as failure:
            raise MediaError(f"RTP packet not protected: {failure}") from None

    def protect_rtcp(self, data: bytes) -> bytes:
        """Return the SRTCP packet."""
        try:
            return self._outbound.protect_rtcp(data)
        except (Error, ValueError) as failure:
            raise MediaError(f"RTCP packet not protected: {failure}") from None
