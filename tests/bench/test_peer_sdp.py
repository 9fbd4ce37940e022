"""The descriptions of robots: what they offer is what the server answers, and hostile answers raise one type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.media import GeneratedMedia, LoopLibrary
from bench.peer.sdp import OfferedTrack, answer_offer, read_answer, read_transport, write_offer
from sfu.dtls import Fingerprint
from sfu.publish_answer import answer_publish_offer
from sfu.sdp import SdpError, parse_description
from sfu.sdp_lines import Candidate, LocalTransport

_FINGERPRINT = Fingerprint("sha-256", ":".join(["AB"] * 32))
_ROBOT = LocalTransport("robotufrag", "r" * 24, _FINGERPRINT, (Candidate("udp", "127.0.0.1", 5000),), "actpass")
_SERVER = LocalTransport("serverufrag", "s" * 24, _FINGERPRINT, (Candidate("udp", "127.0.0.1", 6000),), "passive")


def _tracks(library: LoopLibrary, *, simulcast: bool) -> list[OfferedTrack]:
    loops = library.get(GeneratedMedia(width=320, height=180, fps=10, loop_s=1, simulcast=simulcast))
    present = [loop for loop in (loops.audio, loops.video) if loop is not None]
    return [
        OfferedTrack(str(mid), loop, tuple((10 * mid + layer + 1, 1000 * mid + layer + 1) for layer in range(len(loop.layers))))
        for mid, loop in enumerate(present)
    ]


def _offer(tracks: list[OfferedTrack]) -> str:
    return write_offer(tracks, _ROBOT, session_id=1, version=1, cname="robot")


def test_simulcast_is_offered_by_rid_and_accepted(library: LoopLibrary) -> None:
    tracks = _tracks(library, simulcast=True)
    offer = parse_description(_offer(tracks))
    audio, video = offer.sections
    assert (audio.kind, audio.direction, [p.name for p in audio.payload_formats.values()]) == ("audio", "sendonly", ["opus"])
    assert [layer.rid for layer in video.simulcast_send] == ["q", "h", "f"]
    assert video.ssrcs == []
    answer = answer_publish_offer(offer, _SERVER, session_id=2, version=1)
    plans = read_answer(answer.sdp, tracks)
    assert [plan.kind if plan else None for plan in plans] == ["audio", "video"]
    assert plans[1] is not None
    assert plans[1].rids == ("q", "h", "f")
    assert plans[1].payload_type.rtx == 97
    assert (plans[1].extensions.mid, plans[1].extensions.rid, plans[1].extensions.repaired_rid) == (9, 10, 11)
    remote, section = read_transport(answer.sdp)
    assert (remote.ufrag, remote.lite, section.setup) == ("serverufrag", True, "passive")
    assert len(remote.candidates) == 1


def test_one_layer_is_offered_by_ssrc(library: LoopLibrary) -> None:
    _, video = parse_description(_offer(_tracks(library, simulcast=False))).sections
    assert video.ssrcs == [11, 1001]
    assert video.fid_groups == [(11, 1001)]
    assert video.simulcast_send == ()


def test_paused_and_refused_layers_are_not_sent(library: LoopLibrary) -> None:
    tracks = _tracks(library, simulcast=True)
    offer = parse_description(_offer(tracks))
    answer = answer_publish_offer(offer, _SERVER, session_id=2, version=1, paused=frozenset({("1", "f")}))
    plan = read_answer(answer.sdp, tracks)[1]
    assert plan is not None
    assert plan.rids == ("q", "h")


def test_refused_tracks_have_no_plan(library: LoopLibrary) -> None:
    tracks = _tracks(library, simulcast=False)
    offer = parse_description(_offer(tracks))
    answer = answer_publish_offer(offer, _SERVER, session_id=2, version=1).sdp
    head, audio, video = answer.split("m=")
    refused = head + "m=" + audio + "m=" + video.replace("video 9", "video 0", 1)
    assert [plan is not None for plan in read_answer(refused, tracks)] == [True, False]


def test_an_offer_with_an_unknown_codec_is_answered_without_it() -> None:
    offer = (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n"
        + "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n"
        + f"a=fingerprint:sha-256 {_FINGERPRINT.value}\r\na=setup:actpass\r\n"
        + "m=video 9 UDP/TLS/RTP/SAVPF 45\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\na=rtpmap:45 AV1/90000\r\n"
        + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\na=sendonly\r\n"
        + "a=rtpmap:111 opus/48000/2\r\na=ssrc:7 cname:x\r\n"
    )
    answer, plans = answer_offer(offer, _ROBOT, session_id=1, version=1)
    assert [(plan.mid, plan.ssrcs) for plan in plans] == [("1", (7,))]
    video, audio = parse_description(answer).sections
    assert video.rejected
    assert (audio.direction, audio.setup) == ("recvonly", "actpass")


def test_an_answer_to_something_else_is_refused(library: LoopLibrary) -> None:
    tracks = _tracks(library, simulcast=False)
    with pytest.raises(SdpError, match="m-lines"):
        read_answer(_offer(tracks[:1]), tracks)


@given(
    st.text(alphabet="v=0\r\nm=audio9UDP/TLSRTPSAVPF:a=midssrc candidate1", max_size=300),
    st.integers(0, 2000),
    st.integers(0, 2000),
)
def test_broken_descriptions_raise_one_type(noise: str, start: int, length: int) -> None:
    text = "v=0\r\n" + noise
    for broken in (text, _BASE[:start] + noise + _BASE[start + length :]):
        try:
            read_transport(broken)
        except SdpError:
            pass
        try:
            answer_offer(broken, _ROBOT, session_id=1, version=1)
        except SdpError:
            pass


_BASE = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-lite\r\na=group:BUNDLE 0\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\na=ice-ufrag:abcd\r\n"
    "a=ice-pwd:abcdefghijklmnopqrstuvwx\r\n"
    f"a=fingerprint:sha-256 {_FINGERPRINT.value}\r\na=setup:actpass\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n"
    "a=rtpmap:111 opus/48000/2\r\n"
)
