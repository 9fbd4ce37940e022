"""The answer to a publisher's offer, and the producers that come out of it. Pure: an offer in, an answer and specifications out.

What Chromium needs, and forgets nothing about: every m-line is answered every time with the same extensions and the same rids, also
while it is inactive. An answer that once leaves simulcast out switches the upper layers off for the life of the peer connection,
and one that leaves the rid extension out of an inactive m-line makes the browser's next offer fail.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from sfu.plane.interface import Codec, ExtensionIds, Kind
from sfu.sdp import MediaSection, PayloadFormat, SdpError, SessionDescription
from sfu.sdp_lines import EXTENSION_URIS, LocalTransport, codec_lines, extension_ids, render, session_lines, transport_lines

__all__ = ["ProducerSpec", "PublishAnswer", "answer_publish_offer", "order_rids"]

# Extensions per kind, beside the ones for simulcast.
_AUDIO_EXTENSIONS = ("mid", "abs_send_time", "transport_cc", "audio_level", "abs_capture_time")
_VIDEO_EXTENSIONS = ("mid", "abs_send_time", "transport_cc", "video_orientation", "abs_capture_time", "playout_delay")
_SIMULCAST_EXTENSIONS = ("rid", "repaired_rid")
_VIDEO_FEEDBACK = ("goog-remb", "transport-cc", "ccm fir", "nack", "nack pli")
_AUDIO_FEEDBACK = ("transport-cc", "nack")
# What Chromium begins with, in kbit/s. Its own 300 leave out the top layer of a 720p camera until probing has found the 1250 that
# it takes with the two lower ones, and a first probe that a busy machine delays is not repeated for many seconds. Delay and loss
# tell of a weaker uplink soon enough.
_START_KBPS = 1500
# Lowest first, as clients name their encodings. Peers differ in the order in which they list them, not in what they mean.
_RID_SCALES = (("q", "h", "f"), ("l", "m", "h"), ("lo", "mi", "hi"), ("low", "mid", "high"), ("low", "medium", "high"))
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_NUMBERED_RID = re.compile(r"[a-z]*[0-9]{1,9}")
_RTP_PROTOCOLS = frozenset({"UDP/TLS/RTP/SAVPF", "TCP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF"})


@dataclass(frozen=True, slots=True)
class ProducerSpec:
    """What one accepted m-line sends."""

    mid: str
    kind: Kind
    codec: Codec
    extensions: ExtensionIds
    active: bool
    """False while the publisher does not send on it; the m-line stays negotiated."""
    rids: tuple[str, ...] = ()
    """Lowest quality first; empty without simulcast."""
    ssrcs: tuple[int, ...] = ()
    rtx_ssrcs: tuple[tuple[int, int], ...] = ()
    """(RTX SSRC, media SSRC)."""


@dataclass(frozen=True, slots=True)
class PublishAnswer:
    """The answer as text, with one specification per accepted m-line."""

    sdp: str
    producers: tuple[ProducerSpec, ...]


def answer_publish_offer(
    offer: SessionDescription,
    local: LocalTransport,
    *,
    session_id: int,
    version: int,
    paused: frozenset[tuple[str, str]] = frozenset(),
) -> PublishAnswer:
    """Answer ``offer`` as a receiver of everything that it sends.

    ``paused`` holds (mid, rid) of layers that the publisher shall not send for now; the peer resumes them when a later answer
    does not name them. The publisher's own order decides between VP8 and H.264.

    Raises SdpError when nothing in the offer can be accepted.
    """
    producers: list[ProducerSpec] = []
    body: list[str] = []
    accepted: list[str] = []
    for section in offer.sections:
        spec = _plan(section)
        if spec is None:
            body += _reject(section)
            continue
        # With everything in one bundle, the candidates of the first m-line count for all.
        side = local.without_candidates() if accepted else local
        accepted.append(section.mid)
        producers.append(spec)
        body += _answer_section(section, spec, side, frozenset(rid for mid, rid in paused if mid == section.mid))
    if not accepted:
        raise SdpError("the offer has no audio or video that this server understands")
    head = session_lines(session_id=session_id, version=version, bundle=accepted, allow_mixed=offer.extmap_allow_mixed)
    return PublishAnswer(render(head + body), tuple(producers))


def _plan(section: MediaSection) -> ProducerSpec | None:
    if section.rejected or section.kind not in ("audio", "video") or section.protocol not in _RTP_PROTOCOLS:
        return None
    codec = _choose_codec(section)
    if codec is None:
        return None
    layers = _simulcast_layers(section)
    kind: Kind = "video" if section.kind == "video" else "audio"
    return ProducerSpec(
        mid=section.mid,
        kind=kind,
        codec=codec,
        extensions=_extensions(section, kind, simulcast=bool(layers)),
        active=section.direction in ("sendonly", "sendrecv"),
        rids=order_rids(layers),
        # With simulcast the signalled SSRCs are not in the order of the rids: Firefox lists them in its own.
        ssrcs=() if layers else tuple(_media_ssrcs(section)),
        rtx_ssrcs=() if layers else tuple((rtx, media) for media, rtx in section.fid_groups),
    )


def _media_ssrcs(section: MediaSection) -> list[int]:
    repairs = {rtx for _, rtx in section.fid_groups}
    return [ssrc for ssrc in section.ssrcs if ssrc not in repairs]


def _choose_codec(section: MediaSection) -> Codec | None:
    for payload in section.payload_formats.values():
        name = _codec_name(section.kind, payload)
        if name is not None:
            rtx = _rtx_of(section, payload.payload_type) if section.kind == "video" else None
            return Codec(payload.payload_type, name, payload.clock_rate_hz, rtx)
    return None


def _codec_name(kind: str, payload: PayloadFormat) -> Literal["VP8", "H264", "opus"] | None:
    name = payload.name.lower()
    if kind == "audio":
        return "opus" if (name, payload.clock_rate_hz, payload.channels) == ("opus", 48_000, 2) else None
    if payload.clock_rate_hz != 90_000:
        return None
    if name == "vp8":
        return "VP8"
    # Mode 0 forbids fragmentation units: a keyframe of any size would not fit its packets.
    if name == "h264" and payload.parameters.get("packetization-mode") == "1":
        return "H264"
    return None


def _rtx_of(section: MediaSection, payload_type: int) -> int | None:
    for payload in section.payload_formats.values():
        if payload.name.lower() == "rtx" and payload.parameters.get("apt") == str(payload_type):
            return payload.payload_type
    return None


def _simulcast_layers(section: MediaSection) -> tuple[str, ...]:
    """The layers of the offer, in its order; none when the offer could not be answered without making the browser refuse."""
    if (
        section.kind != "video"
        or EXTENSION_URIS["rid"] not in section.extensions
        or EXTENSION_URIS["mid"] not in section.extensions
    ):
        return ()
    declared = {rid.rid for rid in section.rids if rid.direction == "send"}
    return tuple(layer.rid for layer in section.simulcast_send if layer.rid in declared)


def order_rids(rids: tuple[str, ...]) -> tuple[str, ...]:
    """Sort rids from the lowest quality to the highest where their names say it, else leave them as listed."""
    for scale in _RID_SCALES:
        if len(rids) > 1 and set(rids) <= set(scale):
            return tuple(sorted(rids, key=scale.index))
    numbers = [_NUMBERED_RID.fullmatch(rid) for rid in rids]
    if all(numbers):
        return tuple(sorted(rids, key=lambda rid: int(rid.lstrip(_LETTERS))))
    return rids


def _extensions(section: MediaSection, kind: Kind, *, simulcast: bool) -> ExtensionIds:
    names = _AUDIO_EXTENSIONS if kind == "audio" else _VIDEO_EXTENSIONS
    wanted = {EXTENSION_URIS[name] for name in (*names, *_SIMULCAST_EXTENSIONS)}
    return extension_ids({uri: number for uri, number in section.extensions.items() if uri in wanted}, allow_rid=simulcast)


def _reject(section: MediaSection) -> list[str]:
    return [
        f"m={section.kind} 0 {section.protocol} {' '.join(section.formats)}",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{section.mid}",
        "a=inactive",
    ]


def _answer_section(section: MediaSection, spec: ProducerSpec, local: LocalTransport, paused: frozenset[str]) -> list[str]:
    codec = spec.codec
    formats = [codec.payload_type] + ([codec.rtx_payload_type] if codec.rtx_payload_type is not None else [])
    lines = [
        f"m={section.kind} 9 {section.protocol} {' '.join(str(number) for number in formats)}",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{section.mid}",
        "a=recvonly" if spec.active else "a=inactive",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        *transport_lines(local),
    ]
    for name, uri in EXTENSION_URIS.items():
        number = getattr(spec.extensions, name)
        if number:
            lines.append(f"a=extmap:{number} {uri}")
    lines += _codec_section(section, spec)
    layers = _simulcast_layers(section)
    if layers:
        lines += [f"a=rid:{rid} recv" for rid in layers]
        lines.append("a=simulcast:recv " + ";".join(f"~{rid}" if rid in paused else rid for rid in layers))
    return lines


def _codec_section(section: MediaSection, spec: ProducerSpec) -> list[str]:
    codec = spec.codec
    offered = section.payload_formats[codec.payload_type]
    feedback = [kind for kind in (_VIDEO_FEEDBACK if spec.kind == "video" else _AUDIO_FEEDBACK) if kind in offered.feedback]
    parameters = f"x-google-start-bitrate={_START_KBPS}"
    if codec.name == "opus":
        parameters = "minptime=10;useinbandfec=1"
    elif codec.name == "H264":
        profile = offered.parameters.get("profile-level-id", "42e01f")
        parameters = f"level-asymmetry-allowed=1;packetization-mode=1;profile-level-id={profile};{parameters}"
    encoding = "opus/48000/2" if codec.name == "opus" else f"{codec.name}/90000"
    return codec_lines(
        codec.payload_type, encoding, feedback=feedback, parameters=parameters, rtx_payload_type=codec.rtx_payload_type
    )
