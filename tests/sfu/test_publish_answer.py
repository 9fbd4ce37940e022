"""Answers to publishers: golden answers to Chromium's real offers, and what must stay constant in every later one."""

from __future__ import annotations

from pathlib import Path

import pytest

from sfu.dtls import Fingerprint
from sfu.publish_answer import PublishAnswer, answer_publish_offer, order_rids
from sfu.sdp import SdpError, SessionDescription, parse_description
from sfu.sdp_lines import Candidate, LocalTransport

DATA = Path(__file__).parent / "data"
OFFER = (DATA / "chromium_publish_offer.sdp").read_text().replace("\n", "\r\n")
OFFER_H264 = (DATA / "chromium_publish_offer_h264.sdp").read_text().replace("\n", "\r\n")
LOCAL = LocalTransport(
    ufrag="ufragufr",
    password="passwordpasswordpassword",
    fingerprint=Fingerprint("sha-256", ":".join(["AB"] * 32)),
    candidates=(Candidate("udp", "192.0.2.1", 40_000), Candidate("tcp", "192.0.2.1", 40_000)),
    setup="passive",
)


def answer(offer: str | SessionDescription, paused: frozenset[tuple[str, str]] = frozenset()) -> PublishAnswer:
    parsed = parse_description(offer) if isinstance(offer, str) else offer
    return answer_publish_offer(parsed, LOCAL, session_id=7, version=1, paused=paused)


@pytest.mark.parametrize("name", ["chromium_publish_offer", "chromium_publish_offer_h264"])
def test_golden_answer(name: str) -> None:
    offer = (DATA / f"{name}.sdp").read_text()
    assert answer(offer).sdp.replace("\r\n", "\n") == (DATA / f"{name}_answer.sdp").read_text()


def test_what_the_producers_are() -> None:
    audio, video = answer(OFFER).producers
    assert (audio.kind, audio.codec.name, audio.codec.payload_type, audio.rids) == ("audio", "opus", 111, ())
    assert len(audio.ssrcs) == 1
    assert audio.extensions.audio_level == 1
    assert audio.extensions.rid == 0
    assert (video.codec.name, video.codec.payload_type, video.codec.rtx_payload_type) == ("VP8", 96, 97)
    assert video.rids == ("q", "h", "f")
    assert video.ssrcs == ()
    assert (video.extensions.mid, video.extensions.rid, video.extensions.repaired_rid) == (4, 10, 11)
    assert video.extensions.transport_cc == 3


def test_the_clients_order_decides_the_codec() -> None:
    _, video = answer(OFFER_H264).producers
    assert (video.codec.name, video.codec.payload_type) == ("H264", 102)


def test_the_answer_reads_back() -> None:
    parsed = parse_description(answer(OFFER).sdp)
    assert parsed.ice_lite
    assert parsed.bundle == ("0", "1")
    _, video, data = parsed.sections
    assert [layer.rid for layer in video.simulcast_recv] == ["q", "h", "f"]
    assert {rid.direction for rid in video.rids} == {"recv"}
    assert data.rejected
    assert video.direction == "recvonly"


def test_an_inactive_line_keeps_extensions_and_layers() -> None:
    """Chromium's next offer fails when an inactive simulcast m-line was answered without them."""
    inactive = OFFER.replace("a=sendonly", "a=inactive")
    before, after = parse_description(answer(OFFER).sdp), parse_description(answer(inactive).sdp)
    for one, other in zip(before.sections, after.sections, strict=True):
        assert one.extensions == other.extensions
        assert one.rids == other.rids
        assert one.simulcast_recv == other.simulcast_recv
        assert list(one.payload_formats) == list(other.payload_formats)
    assert {section.direction for section in after.sections} == {"inactive"}
    assert not any(producer.active for producer in answer(inactive).producers)


def test_paused_layers_are_marked() -> None:
    assert "a=simulcast:recv q;h;~f\r\n" in answer(OFFER, frozenset({("1", "f")})).sdp


def test_extension_ids_are_the_peers_own() -> None:
    moved = OFFER.replace("a=extmap:10 ", "a=extmap:17 ").replace("a=extmap:4 ", "a=extmap:21 ")
    _, video = answer(moved).producers
    assert (video.extensions.rid, video.extensions.mid) == (17, 21)


def test_simulcast_without_the_rid_extension_is_not_answered_as_simulcast() -> None:
    """Chromium refuses an answer that negotiates simulcast without the rid extension."""
    offer = "\r\n".join(line for line in OFFER.split("\r\n") if "rtp-stream-id" not in line or "repaired" in line)
    result = answer(offer)
    assert result.producers[1].rids == ()
    assert "a=simulcast" not in result.sdp


def test_many_m_lines_with_some_rejected() -> None:
    video = OFFER[OFFER.index("m=video") : OFFER.index("m=application")]
    head = OFFER[: OFFER.index("m=audio")].replace("BUNDLE 0 1 2", "BUNDLE " + " ".join(str(mid) for mid in range(40)))
    offer = head + "".join(video.replace("a=mid:1", f"a=mid:{mid}") for mid in range(40))
    offer = offer.replace("m=video 9", "m=video 0", 1)
    result = answer(offer)
    assert len(result.producers) == 39
    assert "a=group:BUNDLE 1 2 3" in result.sdp
    assert len(parse_description(result.sdp).sections) == 40


def test_signalled_ssrcs_without_simulcast() -> None:
    lines = [line for line in OFFER.split("\r\n") if not line.startswith(("a=rid", "a=simulcast"))]
    at = lines.index("a=mid:1") + 1
    lines[at:at] = ["a=ssrc-group:FID 1000 2000", "a=ssrc:1000 cname:x", "a=ssrc:2000 cname:x"]
    _, video = answer("\r\n".join(lines)).producers
    assert video.ssrcs == (1000,)
    assert video.rtx_ssrcs == ((2000, 1000),)


def test_h264_without_fragmentation_is_not_taken() -> None:
    offer = OFFER.replace("VP8/90000", "VP7/90000").replace("packetization-mode=1", "packetization-mode=0")
    result = answer(offer)
    assert [producer.kind for producer in result.producers] == ["audio"]


def test_nothing_to_accept() -> None:
    with pytest.raises(SdpError):
        answer(OFFER[: OFFER.index("m=audio")].replace("BUNDLE 0 1 2", "BUNDLE 2") + OFFER[OFFER.index("m=application") :])


@pytest.mark.parametrize(
    ("rids", "ordered"),
    [
        (("f", "h", "q"), ("q", "h", "f")),
        (("h", "m", "l"), ("l", "m", "h")),
        (("high", "low"), ("low", "high")),
        (("2", "0", "1"), ("0", "1", "2")),
        (("r10", "r9"), ("r9", "r10")),
        (("big", "tiny"), ("big", "tiny")),
        (("f",), ("f",)),
        ((), ()),
    ],
)
def test_rids_are_ordered_by_quality(rids: tuple[str, ...], ordered: tuple[str, ...]) -> None:
    assert order_rids(rids) == ordered
