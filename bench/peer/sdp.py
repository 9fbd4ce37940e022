"""The descriptions that a robot writes, as a browser would, and what it reads from the other side's."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.media import CodecName, Loop
from bench.peer.plan import PayloadType, ReceivePlan, RemoteTransport, SendPlan
from sfu.plane.interface import Kind
from sfu.sdp import MediaSection, PayloadFormat, SdpError, SessionDescription, parse_description
from sfu.sdp_lines import EXTENSION_URIS, LocalTransport, codec_lines, extension_ids, render, transport_lines

__all__ = [
    "OfferedTrack",
    "answer_offer",
    "match_tracks",
    "plan_sending",
    "read_answer",
    "read_answered_media",
    "read_transport",
    "write_offer",
]

# Chromium's numbers, which differ from those of our own server on purpose: nothing may depend on them being the same everywhere.
_EXTENSION_IDS = {"abs_send_time": 2, "transport_cc": 4, "mid": 9, "rid": 10, "repaired_rid": 11, "audio_level": 12}
_AUDIO_EXTENSIONS = ("audio_level", "abs_send_time", "transport_cc", "mid")
_VIDEO_EXTENSIONS = ("abs_send_time", "transport_cc", "mid")
_SIMULCAST_EXTENSIONS = ("rid", "repaired_rid")
_VIDEO_FEEDBACK = ("goog-remb", "transport-cc", "ccm fir", "nack", "nack pli")
_AUDIO_PAYLOAD_TYPE = 111
_VIDEO_PAYLOAD_TYPES = {"VP8": (96, 97), "H264": (106, 107)}
_H264_PARAMETERS = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
# Whether the other side sends, and whether we do.
_ANSWERED_DIRECTION = {
    (False, False): "a=inactive",
    (False, True): "a=sendonly",
    (True, False): "a=recvonly",
    (True, True): "a=sendrecv",
}
_CANDIDATE = re.compile(r"^a=candidate:(\S.{1,300}?)\r?$", re.MULTILINE)
# A peer on many networks has a dozen.
_MAX_CANDIDATES = 64


@dataclass(frozen=True, slots=True)
class OfferedTrack:
    """A track that a robot offers to send; ``ssrcs`` are (media, retransmission) pairs of its layers."""

    mid: str
    loop: Loop
    ssrcs: tuple[tuple[int, int], ...]

    @property
    def rids(self) -> tuple[str, ...]:
        """The simulcast rids; empty for one layer."""
        return tuple(layer.rid for layer in self.loop.layers if layer.rid)


def write_offer(
    tracks: Sequence[OfferedTrack],
    local: LocalTransport,
    *,
    session_id: int,
    version: int,
    cname: str,
    candidates: Sequence[str] = (),
    receive: bool = False,
) -> str:
    """Return the offer to send ``tracks``; layers of simulcast are known by their rid, other streams by their SSRC.

    ``candidates`` are values of ``a=candidate`` lines, beside those of ``local``. ``receive`` offers to receive as much as is sent.
    """
    lines = _head(session_id, version, [track.mid for track in tracks])
    transport = _transport_lines(local, candidates)
    for track in tracks:
        lines += _offered_section(track, transport, "a=sendrecv" if receive else "a=sendonly", cname)
    return render(lines)


def read_answer(text: str, tracks: Sequence[OfferedTrack]) -> list[SendPlan | None]:
    """Return how each of ``tracks`` may be sent, None for one that was refused.

    Raises SdpError for a description that does not answer the offer.
    """
    answer = parse_description(text)
    if [section.mid for section in answer.sections] != [track.mid for track in tracks]:
        raise SdpError("the answer does not have the m-lines of the offer")
    return [_send_plan(track, section) for track, section in zip(tracks, answer.sections, strict=True)]


def read_answered_media(text: str) -> list[ReceivePlan]:
    """Return what comes on each m-line on which the answerer sends too.

    Raises SdpError for a description that cannot be read.
    """
    sections = [section for section in parse_description(text).sections if _sends(section)]
    return [plan for plan in map(_receive_plan, sections) if plan is not None]


def match_tracks(text: str, loops: Sequence[Loop], new_ssrc: Callable[[], int]) -> list[OfferedTrack]:
    """Return each of ``loops`` with the first m-line of an offer that takes its kind; those that nothing takes are left out.

    Raises SdpError for a description that cannot be read.
    """
    tracks: list[OfferedTrack] = []
    sections = [section for section in parse_description(text).sections if _takes(section)]
    for loop in loops:
        section = next((known for known in sections if known.kind == loop.kind), None)
        if section is not None:
            sections.remove(section)
            tracks.append(OfferedTrack(section.mid, loop, tuple((new_ssrc(), new_ssrc()) for _ in loop.layers)))
    return tracks


def plan_sending(text: str, tracks: Sequence[OfferedTrack]) -> list[SendPlan | None]:
    """Return how each of ``tracks``, matched to the m-lines of this offer, may be sent; None for one whose codec is not taken.

    Raises SdpError for a description that cannot be read.
    """
    sections = {section.mid: section for section in parse_description(text).sections}
    return [_send_plan(track, sections[track.mid]) for track in tracks]


def answer_offer(
    text: str,
    local: LocalTransport,
    *,
    session_id: int,
    version: int,
    tracks: Sequence[OfferedTrack] = (),
    cname: str = "",
    candidates: Sequence[str] = (),
) -> tuple[str, list[ReceivePlan]]:
    """Return the answer that takes everything a robot can receive, with what comes on each m-line that sends.

    ``tracks`` are sent on the m-lines that `match_tracks` found for them. ``candidates`` as in `write_offer`.

    Raises SdpError for a description that cannot be read.
    """
    offer = parse_description(text)
    transport = _transport_lines(local, candidates)
    by_mid = {track.mid: track for track in tracks}
    sent = {mid: track for mid, track in by_mid.items() for section in offer.sections if section.mid == mid and _takes(section)}
    plans = [_receive_plan(section) for section in offer.sections]
    taken = [section.mid for section, plan in zip(offer.sections, plans, strict=True) if plan is not None]
    lines = _head(session_id, version, taken)
    for section, plan in zip(offer.sections, plans, strict=True):
        lines += _answered_section(section, plan, transport, sent.get(section.mid), cname)
    active = [plan for section, plan in zip(offer.sections, plans, strict=True) if plan is not None and _sends(section)]
    return render(lines), active


def read_transport(text: str) -> tuple[RemoteTransport, MediaSection]:
    """Return how to reach the other side, and the m-line whose DTLS attributes count.

    Raises SdpError when the description has none.
    """
    description: SessionDescription = parse_description(text)
    section = description.transport_section()
    candidates = tuple(dict.fromkeys(_CANDIDATE.findall(text)))[:_MAX_CANDIDATES]
    return RemoteTransport(section.ice_ufrag, section.ice_password, description.ice_lite, candidates), section


def _head(session_id: int, version: int, bundle: Sequence[str]) -> list[str]:
    lines = ["v=0", f"o=- {session_id} {version} IN IP4 127.0.0.1", "s=-", "t=0 0"]
    if bundle:
        lines.append(f"a=group:BUNDLE {' '.join(bundle)}")
    return [*lines, "a=msid-semantic: WMS *"]


def _transport_lines(local: LocalTransport, candidates: Sequence[str]) -> list[str]:
    lines = transport_lines(local)
    if candidates:
        lines += [*(f"a=candidate:{candidate}" for candidate in candidates), "a=end-of-candidates"]
    return lines


def _offered_section(track: OfferedTrack, transport: Sequence[str], direction: str, cname: str) -> list[str]:
    kind, codec, rids = track.loop.kind, track.loop.codec, track.rids
    names = _AUDIO_EXTENSIONS if kind == "audio" else _VIDEO_EXTENSIONS + (_SIMULCAST_EXTENSIONS if rids else ())
    media, rtx = (_AUDIO_PAYLOAD_TYPE, None) if kind == "audio" else _VIDEO_PAYLOAD_TYPES[codec]
    lines = [
        f"m={kind} 9 UDP/TLS/RTP/SAVPF {media}" + (f" {rtx}" if rtx else ""),
        "c=IN IP4 0.0.0.0",
        f"a=mid:{track.mid}",
        direction,
        "a=rtcp-mux",
        "a=rtcp-rsize",
        *transport,
        *(f"a=extmap:{_EXTENSION_IDS[name]} {EXTENSION_URIS[name]}" for name in names),
        f"a=msid:{cname} {kind}",
    ]
    if kind == "audio":
        lines += codec_lines(media, "opus/48000/2", feedback=["transport-cc"], parameters="minptime=10;useinbandfec=1")
    else:
        parameters = _H264_PARAMETERS if codec == "H264" else ""
        lines += codec_lines(media, f"{codec}/90000", feedback=_VIDEO_FEEDBACK, parameters=parameters, rtx_payload_type=rtx)
    if rids:
        return [*lines, *(f"a=rid:{rid} send" for rid in rids), f"a=simulcast:send {';'.join(rids)}"]
    return lines + _ssrc_lines(track, cname, rtx=rtx is not None)


def _ssrc_lines(track: OfferedTrack, cname: str, *, rtx: bool) -> list[str]:
    ssrc, rtx_ssrc = track.ssrcs[-1]
    group = [f"a=ssrc-group:FID {ssrc} {rtx_ssrc}"] if rtx else []
    return group + [f"a=ssrc:{number} cname:{cname}" for number in ((ssrc, rtx_ssrc) if rtx else (ssrc,))]


def _send_plan(track: OfferedTrack, section: MediaSection) -> SendPlan | None:
    kind: Kind = track.loop.kind
    types = _payload_types(section)
    chosen = next((known for known in types.values() if known.codec == track.loop.codec), None)
    if chosen is None or not _takes(section):
        return None
    declared = {rid.rid for rid in section.rids if rid.direction == "recv"}
    wanted = {layer.rid for layer in section.simulcast_recv if not layer.paused} & declared
    rids = tuple(rid for rid in track.rids if rid in wanted)
    return SendPlan(section.mid, kind, chosen, extension_ids(section.extensions, allow_rid=bool(rids)), rids)


def _receive_plan(section: MediaSection) -> ReceivePlan | None:
    types = _payload_types(section)
    if section.rejected or section.kind not in ("audio", "video") or not types:
        return None
    kind: Kind = "audio" if section.kind == "audio" else "video"
    rtx_ssrcs = {rtx: media for media, rtx in section.fid_groups}
    return ReceivePlan(
        mid=section.mid,
        kind=kind,
        payload_types=types,
        extensions=extension_ids(section.extensions, allow_rid=False),
        ssrcs=tuple(ssrc for ssrc in section.ssrcs if ssrc not in rtx_ssrcs),
        rtx_ssrcs=rtx_ssrcs,
    )


def _payload_types(section: MediaSection) -> dict[int, PayloadType]:
    rtx = {
        payload.parameters.get("apt"): number
        for number, payload in section.payload_formats.items()
        if payload.name.lower() == "rtx"
    }
    types: dict[int, PayloadType] = {}
    for number, payload in section.payload_formats.items():
        codec = _codec(payload)
        if codec is not None:
            types[number] = PayloadType(number, codec, payload.clock_rate_hz, rtx.get(str(number)))
    return types


def _codec(payload: PayloadFormat) -> CodecName | None:
    name = payload.name.lower()
    if (name, payload.clock_rate_hz) == ("opus", 48_000):
        return "opus"
    if payload.clock_rate_hz != 90_000:
        return None
    if name == "vp8":
        return "VP8"
    return "H264" if name == "h264" and payload.parameters.get("packetization-mode") == "1" else None


def _sends(section: MediaSection) -> bool:
    return section.direction in ("sendonly", "sendrecv")


def _takes(section: MediaSection) -> bool:
    return not section.rejected and section.direction in ("recvonly", "sendrecv")


def _answered_section(
    section: MediaSection, plan: ReceivePlan | None, transport: Sequence[str], track: OfferedTrack | None, cname: str
) -> list[str]:
    if plan is None:
        return [
            f"m={section.kind} 0 {section.protocol} {' '.join(section.formats)}",
            "c=IN IP4 0.0.0.0",
            f"a=mid:{section.mid}",
            "a=inactive",
        ]
    numbers = [number for known in plan.payload_types.values() for number in (known.number, known.rtx) if number is not None]
    names = _AUDIO_EXTENSIONS if plan.kind == "audio" else _VIDEO_EXTENSIONS
    lines = [
        f"m={section.kind} 9 {section.protocol} {' '.join(map(str, numbers))}",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{section.mid}",
        _ANSWERED_DIRECTION[_sends(section), track is not None],
        "a=rtcp-mux",
        "a=rtcp-rsize",
        *transport,
    ]
    for name in names:
        number = section.extensions.get(EXTENSION_URIS[name])
        if number:
            lines.append(f"a=extmap:{number} {EXTENSION_URIS[name]}")
    for known in plan.payload_types.values():
        offered = section.payload_formats[known.number]
        wanted = ("transport-cc",) if plan.kind == "audio" else _VIDEO_FEEDBACK
        parameters = ";".join(f"{name}={value}" for name, value in offered.parameters.items())
        encoding = "opus/48000/2" if known.codec == "opus" else f"{known.codec}/90000"
        feedback = [name for name in wanted if name in offered.feedback]
        lines += codec_lines(known.number, encoding, feedback=feedback, parameters=parameters, rtx_payload_type=known.rtx)
    if track is None:
        return lines
    rtx = any(known.codec == track.loop.codec and known.rtx for known in plan.payload_types.values())
    return [*lines, f"a=msid:{cname} {section.kind}", *_ssrc_lines(track, cname, rtx=rtx)]
