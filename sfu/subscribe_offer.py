"""The offers of a subscriber's connection: which m-line carries whose track, from the first offer to the last. Without I/O.

One m-line per track. An m-line whose track has gone is offered as inactive, and is used again only once the peer has agreed to
that: browsers announce a track (``ontrack``) when an m-line goes from inactive to sending, not when it changes its msid.

All offers list the same codecs, payload types and extension ids on every m-line of a kind, so that any m-line can carry any track.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Mapping
from dataclasses import dataclass

from salam.errors import ConflictError, LimitError
from sfu.plane.interface import Codec, ExtensionIds, Kind
from sfu.sdp import MediaSection, SdpError, SessionDescription
from sfu.sdp_lines import EXTENSION_URIS, LocalTransport, codec_lines, extension_ids, render, session_lines, transport_lines

__all__ = ["AcceptedTrack", "OfferedSubscription", "SubscribeNegotiator"]

# Ids of the one-byte form, the same on every m-line: within a bundle an id may not change its meaning.
_EXTENSION_IDS = ExtensionIds(
    mid=1, abs_send_time=2, transport_cc=3, audio_level=4, video_orientation=5, playout_delay=6, abs_capture_time=7
)
_AUDIO_EXTENSIONS = ("mid", "abs_send_time", "transport_cc", "audio_level", "abs_capture_time")
_VIDEO_EXTENSIONS = ("mid", "abs_send_time", "transport_cc", "video_orientation", "playout_delay", "abs_capture_time")
_VIDEO_FEEDBACK = ("goog-remb", "transport-cc", "ccm fir", "nack", "nack pli")
# Constrained Baseline 3.1 is what every WebRTC peer decodes (RFC 7742 section 6.2).
_H264_PARAMETERS = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"
# Camera and microphone of 80 others; an offer of that size is 200 kB, and signaling takes 256.
_MAX_SLOTS = 160


class _SlotState(enum.Enum):
    FREE = "free"
    """The peer knows the m-line as inactive, or does not know it yet: a track may take it."""
    IN_USE = "in_use"
    RELEASED = "released"
    """The track has gone but the peer still thinks that the m-line sends."""


@dataclass(slots=True)
class _Slot:
    mid: str
    kind: Kind
    state: _SlotState
    track_id: str = ""
    stream_id: str = ""
    cname: str = ""
    ssrc: int = 0
    rtx_ssrc: int = 0
    accepted: bool = False
    offered_as: str = ""
    """The track that the newest offer showed here; empty for none."""


@dataclass(frozen=True, slots=True)
class OfferedSubscription:
    """An offer to send to the peer."""

    revision: int
    sdp: str
    mids: Mapping[str, str]
    """Track id to mid."""


@dataclass(frozen=True, slots=True)
class AcceptedTrack:
    """A track that the peer agreed to receive with this answer, ready to be consumed."""

    track_id: str
    mid: str
    codecs: Mapping[str, Codec]
    """By codec name, with the payload types of the answer."""
    extensions: ExtensionIds
    ssrc: int
    rtx_ssrc: int
    cname: str


class SubscribeNegotiator:
    """All m-lines of one subscriber. ``rng`` gives SSRCs; ``session_id`` goes into ``o=`` and stays the same."""

    def __init__(self, *, session_id: int, rng: random.Random) -> None:
        self._session_id = session_id
        self._rng = rng
        self._slots: list[_Slot] = []
        self._by_track: dict[str, _Slot] = {}
        self._revision = 0
        self._offered_slots = 0
        self._dirty = False

    @property
    def revision(self) -> int:
        """The number of the newest offer; 0 before the first."""
        return self._revision

    @property
    def needs_offer(self) -> bool:
        """Whether something changed since the newest offer."""
        return self._dirty

    @property
    def track_ids(self) -> frozenset[str]:
        """The tracks that have an m-line."""
        return frozenset(self._by_track)

    def add(self, track_id: str, kind: Kind, *, stream_id: str, cname: str) -> None:
        """Give a track an m-line; tracks of one ``stream_id`` and ``cname`` are played in sync.

        Raises ConflictError when it has one, and LimitError when the connection has as many m-lines as it may.
        """
        if track_id in self._by_track:
            raise ConflictError("the track is in this subscription already")
        slot = next((slot for slot in self._slots if slot.kind == kind and slot.state is _SlotState.FREE), None)
        if slot is None:
            if len(self._slots) >= _MAX_SLOTS:
                raise LimitError(f"a subscription has at most {_MAX_SLOTS} m-lines")
            slot = _Slot(str(len(self._slots)), kind, _SlotState.FREE)
            self._slots.append(slot)
        slot.state = _SlotState.IN_USE
        slot.track_id, slot.stream_id, slot.cname = track_id, stream_id, cname
        slot.ssrc, slot.rtx_ssrc = self._new_ssrc(), self._new_ssrc() if kind == "video" else 0
        slot.accepted = False
        self._by_track[track_id] = slot
        self._dirty = True

    def remove(self, track_id: str) -> None:
        """Take a track away; unknown tracks are ignored."""
        slot = self._by_track.pop(track_id, None)
        if slot is None:
            return
        slot.track_id = ""
        # An m-line that was never shown as sending needs no negotiation to be free again.
        slot.state = _SlotState.RELEASED if slot.offered_as else _SlotState.FREE
        slot.accepted = False
        self._dirty = True

    def offer(self, local: LocalTransport) -> OfferedSubscription:
        """Write a new offer of everything; it supersedes the offers before it."""
        self._revision += 1
        self._dirty = False
        body: list[str] = []
        self._offered_slots = len(self._slots)
        for slot in self._slots:
            slot.offered_as = slot.track_id
            # With everything in one bundle, the candidates of the first m-line count for all.
            body += self._section(slot, local if slot is self._slots[0] else local.without_candidates())
        head = session_lines(
            session_id=self._session_id, version=self._revision, bundle=[slot.mid for slot in self._slots], allow_mixed=True
        )
        mids = {track_id: slot.mid for track_id, slot in self._by_track.items()}
        return OfferedSubscription(self._revision, render(head + body), mids)

    def accept(self, answer: SessionDescription) -> list[AcceptedTrack]:
        """Take the answer to the newest offer; returns the tracks that it newly accepts.

        Raises SdpError, and changes nothing, when the answer's m-lines are not those of the offer.
        """
        offered = self._slots[: self._offered_slots]
        if [section.mid for section in answer.sections] != [slot.mid for slot in offered]:
            raise SdpError("the answer does not have the m-lines of the offer")
        accepted: list[AcceptedTrack] = []
        for slot, section in zip(offered, answer.sections, strict=True):
            if slot.offered_as != slot.track_id:
                # It changed after the offer; the next one says so.
                continue
            if slot.state is _SlotState.RELEASED:
                slot.state = _SlotState.FREE
            elif not slot.accepted and not section.rejected and section.direction in ("recvonly", "sendrecv"):
                slot.accepted = True
                accepted.append(_accepted_track(slot, section))
        return accepted

    def _section(self, slot: _Slot, local: LocalTransport) -> list[str]:
        formats = "111" if slot.kind == "audio" else "96 97 98 99"
        names = _AUDIO_EXTENSIONS if slot.kind == "audio" else _VIDEO_EXTENSIONS
        lines = [
            f"m={slot.kind} 9 UDP/TLS/RTP/SAVPF {formats}",
            "c=IN IP4 0.0.0.0",
            f"a=mid:{slot.mid}",
            "a=sendonly" if slot.state is _SlotState.IN_USE else "a=inactive",
            "a=rtcp-mux",
            "a=rtcp-rsize",
            *transport_lines(local),
            *(f"a=extmap:{getattr(_EXTENSION_IDS, name)} {EXTENSION_URIS[name]}" for name in names),
        ]
        if slot.kind == "audio":
            lines += codec_lines(111, "opus/48000/2", feedback=["transport-cc"], parameters="minptime=10;useinbandfec=1")
        else:
            lines += codec_lines(96, "VP8/90000", feedback=_VIDEO_FEEDBACK, rtx_payload_type=97)
            lines += codec_lines(98, "H264/90000", feedback=_VIDEO_FEEDBACK, parameters=_H264_PARAMETERS, rtx_payload_type=99)
        if slot.state is _SlotState.IN_USE:
            lines += _source_lines(slot)
        return lines

    def _new_ssrc(self) -> int:
        taken = {slot.ssrc for slot in self._slots} | {slot.rtx_ssrc for slot in self._slots}
        while True:
            # Zero means "none" to some receivers, so it is never used.
            ssrc = self._rng.randrange(1, 2**32)
            if ssrc not in taken:
                return ssrc


def _source_lines(slot: _Slot) -> list[str]:
    ssrcs = [slot.ssrc] + ([slot.rtx_ssrc] if slot.rtx_ssrc else [])
    lines = [f"a=msid:{slot.stream_id} {slot.track_id}"]
    if slot.rtx_ssrc:
        lines.append(f"a=ssrc-group:FID {slot.ssrc} {slot.rtx_ssrc}")
    for ssrc in ssrcs:
        lines += [f"a=ssrc:{ssrc} cname:{slot.cname}", f"a=ssrc:{ssrc} msid:{slot.stream_id} {slot.track_id}"]
    return lines


def _accepted_track(slot: _Slot, section: MediaSection) -> AcceptedTrack:
    codecs: dict[str, Codec] = {}
    for payload in section.payload_formats.values():
        name = {"vp8": "VP8", "h264": "H264", "opus": "opus"}.get(payload.name.lower())
        if name is None or name in codecs:
            continue
        rtx = next(
            (
                other.payload_type
                for other in section.payload_formats.values()
                if other.name.lower() == "rtx" and other.parameters.get("apt") == str(payload.payload_type)
            ),
            None,
        )
        codecs[name] = Codec(payload.payload_type, name, payload.clock_rate_hz, rtx)  # type: ignore[arg-type]
    return AcceptedTrack(
        track_id=slot.track_id,
        mid=slot.mid,
        codecs=codecs,
        extensions=extension_ids(section.extensions, allow_rid=False),
        ssrc=slot.ssrc,
        rtx_ssrc=slot.rtx_ssrc,
        cname=slot.cname,
    )
