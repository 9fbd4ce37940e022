"""A small, strict reader of the session descriptions that WebRTC peers send (RFC 8866, RFC 8829), without I/O.

It reads what an SFU needs and keeps nothing else; `parse_description` accepts or raises `SdpError`. The writers are beside the code
that decides what to say: `sfu.publish_answer` and `sfu.subscribe_offer`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from salam.errors import ProtocolError
from sfu.dtls import Fingerprint

__all__ = [
    "Direction",
    "MediaSection",
    "PayloadFormat",
    "Rid",
    "SdpError",
    "SessionDescription",
    "SimulcastRid",
    "parse_description",
]

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]

# Chromium's largest offers, with 30 m-lines, stay under 100 kB.
_MAX_CHARACTERS = 262_144
# A session of 32 participants with camera, screen and two audio tracks each needs 128; beyond that rooms want another design.
_MAX_SECTIONS = 256
_MAX_LINES = 16_384
# Per m-line: three times what Chromium offers.
_MAX_FORMATS = 128
_MAX_RIDS = 8
_MAX_SSRCS = 64
_MAX_NUMBER_DIGITS = 10
# Per payload type; browsers offer five. With "*" one line counts for every payload type of the m-line.
_MAX_FEEDBACK = 32

_MEDIA = re.compile(r"(audio|video|application|text|message|image) (\d{1,5})(?:/\d{1,5})? ([A-Za-z0-9/]{1,32}) (.{1,2048})")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,64}")
# RFC 8839 section 5.4: letters, digits, "+" and "/".
_ICE_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")
_ICE_PWD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_RID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_FINGERPRINT = re.compile(r"([A-Za-z0-9-]{3,16}) ([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){15,63})")
_EXTMAP = re.compile(r"(\d{1,3})(?:/(?:sendrecv|sendonly|recvonly|inactive))? (\S{1,256})(?: .*)?")
_RTPMAP = re.compile(r"(\d{1,3}) ([A-Za-z0-9.+_-]{1,64})/(\d{1,7})(?:/(\d{1,2}))?")
_SETUPS = frozenset({"active", "passive", "actpass", "holdconn"})


class SdpError(ProtocolError):
    """The text is not a session description that an SFU can work with; the message says which line is wrong."""

    default_code = "bad_sdp"


@dataclass(slots=True)
class PayloadFormat:
    """One payload type of an m-line."""

    payload_type: int
    name: str = ""
    clock_rate_hz: int = 0
    channels: int = 1
    parameters: dict[str, str] = field(default_factory=dict)
    """``a=fmtp`` with lower-case names; a parameter without "=" has an empty value."""
    feedback: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Rid:
    """One ``a=rid`` line (RFC 8851); restrictions are not read."""

    rid: str
    direction: Literal["send", "recv"]


@dataclass(frozen=True, slots=True)
class SimulcastRid:
    """One layer of ``a=simulcast`` (RFC 8853), the first one where alternatives are given."""

    rid: str
    paused: bool


@dataclass(slots=True)
class MediaSection:
    """One m-line with its attributes; session-level ICE and DTLS attributes are inherited."""

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    mid: str = ""
    direction: Direction = "sendrecv"
    bundle_only: bool = False
    rtcp_mux: bool = False
    ice_ufrag: str = ""
    ice_password: str = field(default="", repr=False)
    fingerprints: list[Fingerprint] = field(default_factory=list)
    setup: str = ""
    payload_formats: dict[int, PayloadFormat] = field(default_factory=dict)
    """By payload type, in the order of the m-line: the peer's preference."""
    extensions: dict[str, int] = field(default_factory=dict)
    """URI to id."""
    rids: list[Rid] = field(default_factory=list)
    simulcast_send: tuple[SimulcastRid, ...] = ()
    simulcast_recv: tuple[SimulcastRid, ...] = ()
    ssrcs: list[int] = field(default_factory=list)
    """Distinct, in the order of their first line."""
    fid_groups: list[tuple[int, int]] = field(default_factory=list)
    """(media SSRC, RTX SSRC) of ``a=ssrc-group:FID`` (RFC 5576)."""

    @property
    def rejected(self) -> bool:
        """Port zero means refused or stopped, except where it only says that the m-line is bundled (RFC 9143 section 6)."""
        return self.port == 0 and not self.bundle_only


@dataclass(frozen=True, slots=True)
class SessionDescription:
    """A parsed description."""

    origin: str
    """User name and session id of ``o=``: the same for all descriptions of one peer connection."""
    sections: tuple[MediaSection, ...]
    bundle: tuple[str, ...]
    ice_lite: bool
    extmap_allow_mixed: bool

    def transport_section(self) -> MediaSection:
        """The m-line whose ICE and DTLS attributes count for all: the first bundled one. Raises SdpError when there is none."""
        for section in self.sections:
            if not section.rejected and section.ice_ufrag and section.fingerprints:
                return section
        raise SdpError("no m-line has ICE credentials and a fingerprint")


@dataclass(slots=True)
class _Draft:
    """What has been read so far; ``session`` collects session-level attributes in the shape of an m-line."""

    session: MediaSection
    sections: list[MediaSection] = field(default_factory=list)
    origin: str = ""
    bundle: tuple[str, ...] = ()
    ice_lite: bool = False
    extmap_allow_mixed: bool = False


def parse_description(text: str) -> SessionDescription:
    """Read an offer or an answer.

    Unknown lines and attributes are skipped, as RFC 8866 asks; known ones must be well formed. Every m-line must have its own mid.

    Raises SdpError for anything else, and for descriptions beyond the bounds of this module.
    """
    if len(text) > _MAX_CHARACTERS:
        raise SdpError(f"a description has at most {_MAX_CHARACTERS} characters")
    lines = text.replace("\r\n", "\n").split("\n")
    if len(lines) > _MAX_LINES:
        raise SdpError(f"a description has at most {_MAX_LINES} lines")
    if lines[0] != "v=0":
        raise SdpError("a description begins with v=0")
    draft = _Draft(MediaSection("session", 9, "", ()))
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        if len(line) < 2 or line[1] != "=":
            raise SdpError(f"line {number} is not of the form x=value")
        try:
            _read_line(draft, line[0], line[2:])
        except SdpError as error:
            raise SdpError(f"line {number}: {error.message}") from None
    return _finish(draft)


def _read_line(draft: _Draft, kind: str, value: str) -> None:
    if kind == "m":
        if len(draft.sections) >= _MAX_SECTIONS:
            raise SdpError(f"more than {_MAX_SECTIONS} m-lines")
        draft.sections.append(_new_section(value, draft.session))
    elif kind == "o" and not draft.sections:
        parts = value.split(" ")
        if len(parts) != 6:
            raise SdpError("o= has six fields")
        draft.origin = " ".join(parts[:2])
    elif kind == "a":
        name, _, rest = value.partition(":")
        if draft.sections:
            _read_media_attribute(draft.sections[-1], name, rest)
        else:
            _read_session_attribute(draft, name, rest)


def _new_section(value: str, session: MediaSection) -> MediaSection:
    match = _MEDIA.fullmatch(value)
    if match is None:
        raise SdpError("malformed m-line")
    kind, port, protocol, rest = match.groups()
    formats = tuple(rest.split(" "))
    if int(port) > 0xFFFF or len(formats) > _MAX_FORMATS or len(set(formats)) != len(formats):
        raise SdpError("malformed m-line")
    section = MediaSection(
        kind,
        int(port),
        protocol,
        formats,
        direction=session.direction,
        ice_ufrag=session.ice_ufrag,
        ice_password=session.ice_password,
        fingerprints=list(session.fingerprints),
        setup=session.setup,
    )
    if "RTP" in protocol:
        for name in formats:
            payload_type = _number(name, 127)
            section.payload_formats[payload_type] = PayloadFormat(payload_type)
    return section


def _read_session_attribute(draft: _Draft, name: str, value: str) -> None:
    if name == "group" and value.startswith("BUNDLE"):
        draft.bundle = tuple(_token(mid) for mid in value.split(" ")[1:])
    elif name == "ice-lite":
        draft.ice_lite = True
    elif name == "extmap-allow-mixed":
        draft.extmap_allow_mixed = True
    elif name in _TRANSPORT_READERS:
        _TRANSPORT_READERS[name](draft.session, value)
    elif name in _DIRECTIONS:
        draft.session.direction = _DIRECTIONS[name]


def _read_media_attribute(section: MediaSection, name: str, value: str) -> None:
    reader = _TRANSPORT_READERS.get(name) or _MEDIA_READERS.get(name)
    if reader is not None:
        reader(section, value)
    elif name in _DIRECTIONS:
        section.direction = _DIRECTIONS[name]
    elif name == "bundle-only":
        section.bundle_only = True
    elif name == "rtcp-mux":
        section.rtcp_mux = True


def _finish(draft: _Draft) -> SessionDescription:
    mids = [section.mid for section in draft.sections]
    if not draft.origin:
        raise SdpError("o= is missing")
    if "" in mids or len(set(mids)) != len(mids):
        raise SdpError("every m-line needs a mid of its own")
    if not set(draft.bundle) <= set(mids):
        raise SdpError("a=group:BUNDLE names an unknown mid")
    return SessionDescription(draft.origin, tuple(draft.sections), draft.bundle, draft.ice_lite, draft.extmap_allow_mixed)


# ------------------------------------------------------------------------------------------------- attributes


def _number(text: str, largest: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _MAX_NUMBER_DIGITS or int(text) > largest:
        raise SdpError(f"not a number up to {largest}")
    return int(text)


def _token(text: str) -> str:
    if _TOKEN.fullmatch(text) is None:
        raise SdpError("not a token")
    return text


def _read_ufrag(section: MediaSection, value: str) -> None:
    if _ICE_UFRAG.fullmatch(value) is None:
        raise SdpError("malformed ice-ufrag")
    section.ice_ufrag = value


def _read_password(section: MediaSection, value: str) -> None:
    if _ICE_PWD.fullmatch(value) is None:
        raise SdpError("malformed ice-pwd")
    section.ice_password = value


def _read_fingerprint(section: MediaSection, value: str) -> None:
    match = _FINGERPRINT.fullmatch(value)
    # More than one per hash function has no use (RFC 8122 section 5).
    if match is None or len(section.fingerprints) >= 8:
        raise SdpError("malformed fingerprint")
    section.fingerprints.append(Fingerprint(match[1].lower(), match[2].upper()))


def _read_setup(section: MediaSection, value: str) -> None:
    if value not in _SETUPS:
        raise SdpError("unknown setup role")
    section.setup = value


def _read_mid(section: MediaSection, value: str) -> None:
    section.mid = _token(value)


def _read_rtpmap(section: MediaSection, value: str) -> None:
    match = _RTPMAP.fullmatch(value)
    if match is None:
        raise SdpError("malformed rtpmap")
    payload = section.payload_formats.get(_number(match[1], 127))
    if payload is None:
        raise SdpError("rtpmap of a payload type that the m-line does not list")
    payload.name, payload.clock_rate_hz, payload.channels = match[2], int(match[3]), int(match[4] or 1)


def _read_fmtp(section: MediaSection, value: str) -> None:
    number, separator, rest = value.partition(" ")
    payload = section.payload_formats.get(_number(number, 127))
    if not separator or payload is None:
        raise SdpError("fmtp of a payload type that the m-line does not list")
    for part in rest.split(";"):
        name, _, parameter = part.strip().partition("=")
        if name:
            payload.parameters[name.lower()] = parameter


def _read_feedback(section: MediaSection, value: str) -> None:
    number, _, rest = value.partition(" ")
    if not rest or len(rest) > 64:
        raise SdpError("malformed rtcp-fb")
    wanted = list(section.payload_formats.values())
    if number != "*":
        payload = section.payload_formats.get(_number(number, 127))
        if payload is None:
            raise SdpError("rtcp-fb of a payload type that the m-line does not list")
        wanted = [payload]
    for payload in wanted:
        if rest not in payload.feedback:
            if len(payload.feedback) >= _MAX_FEEDBACK:
                raise SdpError(f"more than {_MAX_FEEDBACK} kinds of feedback for a payload type")
            payload.feedback.append(rest)


def _read_extmap(section: MediaSection, value: str) -> None:
    match = _EXTMAP.fullmatch(value)
    if match is None:
        raise SdpError("malformed extmap")
    number = _number(match[1], 255)
    # Id 15 is reserved in the one-byte form, and ids from 4096 up, which RFC 8285 allows in offers, nobody sends.
    if number == 0 or number in section.extensions.values():
        raise SdpError("an extension id is zero or used twice")
    section.extensions[match[2]] = number


def _read_rid(section: MediaSection, value: str) -> None:
    parts = value.split(" ")
    if len(parts) < 2 or _RID.fullmatch(parts[0]) is None or parts[1] not in ("send", "recv"):
        raise SdpError("malformed rid")
    if len(section.rids) >= _MAX_RIDS or any(known.rid == parts[0] for known in section.rids):
        raise SdpError("too many rids, or one twice")
    section.rids.append(Rid(parts[0], "send" if parts[1] == "send" else "recv"))


def _read_simulcast(section: MediaSection, value: str) -> None:
    parts = value.split(" ")
    if len(parts) not in (2, 4) or section.simulcast_send or section.simulcast_recv:
        raise SdpError("malformed simulcast")
    for direction, streams in zip(parts[::2], parts[1::2], strict=True):
        layers = tuple(_simulcast_layer(stream) for stream in streams.split(";"))
        if len(layers) > _MAX_RIDS or len({layer.rid for layer in layers}) != len(layers):
            raise SdpError("too many simulcast layers, or one twice")
        if direction == "send":
            section.simulcast_send = layers
        elif direction == "recv":
            section.simulcast_recv = layers
        else:
            raise SdpError("malformed simulcast")


def _simulcast_layer(stream: str) -> SimulcastRid:
    first = stream.split(",")[0]
    rid = first.removeprefix("~")
    if _RID.fullmatch(rid) is None:
        raise SdpError("malformed simulcast")
    return SimulcastRid(rid, paused=first.startswith("~"))


def _read_ssrc(section: MediaSection, value: str) -> None:
    ssrc = _number(value.split(" ")[0], 0xFFFFFFFF)
    if ssrc in section.ssrcs:
        return
    if len(section.ssrcs) >= _MAX_SSRCS:
        raise SdpError(f"more than {_MAX_SSRCS} SSRCs in an m-line")
    section.ssrcs.append(ssrc)


def _read_ssrc_group(section: MediaSection, value: str) -> None:
    semantics, *members = value.split(" ")
    if semantics != "FID":
        return
    if len(members) != 2 or len(section.fid_groups) >= _MAX_SSRCS:
        raise SdpError("malformed ssrc-group")
    section.fid_groups.append((_number(members[0], 0xFFFFFFFF), _number(members[1], 0xFFFFFFFF)))


_DIRECTIONS: Mapping[str, Direction] = {
    "sendrecv": "sendrecv",
    "sendonly": "sendonly",
    "recvonly": "recvonly",
    "inactive": "inactive",
}
_Reader = Callable[[MediaSection, str], None]
_TRANSPORT_READERS: Mapping[str, _Reader] = {
    "ice-ufrag": _read_ufrag,
    "ice-pwd": _read_password,
    "fingerprint": _read_fingerprint,
    "setup": _read_setup,
}
_MEDIA_READERS: Mapping[str, _Reader] = {
    "mid": _read_mid,
    "rtpmap": _read_rtpmap,
    "fmtp": _read_fmtp,
    "rtcp-fb": _read_feedback,
    "extmap": _read_extmap,
    "rid": _read_rid,
    "simulcast": _read_simulcast,
    "ssrc": _read_ssrc,
    "ssrc-group": _read_ssrc_group,
}
