"""The lines that every description of ours has in common: session head, transport attributes, codec and extension lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sfu.dtls import Fingerprint
from sfu.plane.interface import ExtensionIds

__all__ = [
    "EXTENSION_URIS",
    "Candidate",
    "LocalTransport",
    "codec_lines",
    "extension_ids",
    "render",
    "session_lines",
    "transport_lines",
]

EXTENSION_URIS = {
    "mid": "urn:ietf:params:rtp-hdrext:sdes:mid",
    "rid": "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    "repaired_rid": "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    "abs_send_time": "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    "transport_cc": "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    "audio_level": "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    "video_orientation": "urn:3gpp:video-orientation",
    "abs_capture_time": "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
    "playout_delay": "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
}
"""Field of `ExtensionIds` to URI. Whatever is not here is not negotiated: what is not forwarded may as well not be sent."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One host candidate of the worker."""

    protocol: str
    """``udp`` or ``tcp``; TCP candidates are passive (RFC 6544)."""
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class LocalTransport:
    """What a description says about our side of a transport."""

    ufrag: str
    password: str = field(repr=False)
    fingerprint: Fingerprint
    candidates: tuple[Candidate, ...]
    setup: str
    """``passive`` or ``active`` in answers, ``actpass`` in offers."""

    def without_candidates(self) -> LocalTransport:
        """The same for an m-line that is bundled with an earlier one (RFC 8829 section 5.2.2)."""
        return dataclasses.replace(self, candidates=())


def extension_ids(extensions: dict[str, int], *, allow_rid: bool) -> ExtensionIds:
    """Pick the ids of the extensions that we know; ``allow_rid`` is for m-lines with simulcast."""
    known = {name: extensions.get(uri, 0) for name, uri in EXTENSION_URIS.items()}
    if not allow_rid:
        known["rid"] = known["repaired_rid"] = 0
    return ExtensionIds(**known)


def session_lines(*, session_id: int, version: int, bundle: Sequence[str], allow_mixed: bool) -> list[str]:
    """The session part; we are always an ICE-lite agent with everything in one bundle."""
    lines = ["v=0", f"o=- {session_id} {version} IN IP4 127.0.0.1", "s=-", "t=0 0", "a=ice-lite"]
    if bundle:
        lines.append(f"a=group:BUNDLE {' '.join(bundle)}")
    if allow_mixed:
        lines.append("a=extmap-allow-mixed")
    lines.append("a=msid-semantic: WMS *")
    return lines


def transport_lines(local: LocalTransport) -> list[str]:
    """ICE and DTLS attributes of one m-line."""
    lines = [
        f"a=ice-ufrag:{local.ufrag}",
        f"a=ice-pwd:{local.password}",
        f"a=fingerprint:{local.fingerprint.algorithm} {local.fingerprint.value}",
        f"a=setup:{local.setup}",
        *(_candidate_line(index, candidate) for index, candidate in enumerate(local.candidates, start=1)),
    ]
    if local.candidates:
        lines.append("a=end-of-candidates")
    return lines


def _candidate_line(index: int, candidate: Candidate) -> str:
    # RFC 8445 section 5.1.2.1: type preference 126 for host candidates, 90 for TCP so that UDP is tried first (RFC 6544 section
    # 4.2); the local preference counts down with the order of the addresses.
    type_preference = 126 if candidate.protocol == "udp" else 90
    priority = type_preference << 24 | (65_535 - index) << 8 | 255
    suffix = " tcptype passive" if candidate.protocol == "tcp" else ""
    return f"a=candidate:{index} 1 {candidate.protocol} {priority} {candidate.address} {candidate.port} typ host{suffix}"


def codec_lines(
    payload_type: int,
    encoding: str,
    *,
    feedback: Iterable[str],
    parameters: str = "",
    rtx_payload_type: int | None = None,
    clock_rate_hz: int = 90_000,
) -> list[str]:
    """``a=rtpmap`` and what belongs to it; ``encoding`` is for example ``VP8/90000``."""
    lines = [f"a=rtpmap:{payload_type} {encoding}"]
    lines += [f"a=rtcp-fb:{payload_type} {kind}" for kind in feedback]
    if parameters:
        lines.append(f"a=fmtp:{payload_type} {parameters}")
    if rtx_payload_type is not None:
        lines += [f"a=rtpmap:{rtx_payload_type} rtx/{clock_rate_hz}", f"a=fmtp:{rtx_payload_type} apt={payload_type}"]
    return lines


def render(lines: Iterable[str]) -> str:
    """Join lines as SDP wants them."""
    return "".join(f"{line}\r\n" for line in lines)
