"""The SDP reader on real offers, on variations, and on garbage."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfu.sdp import SdpError, SimulcastRid, parse_description

DATA = Path(__file__).parent / "data"
OFFER = (DATA / "chromium_publish_offer.sdp").read_text().replace("\n", "\r\n")
ANSWER = (DATA / "chromium_subscribe_answer.sdp").read_text()
HEAD = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
VIDEO = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:0\r\n"


def test_chromium_offer() -> None:
    offer = parse_description(OFFER)
    audio, video, data = offer.sections
    assert offer.bundle == ("0", "1", "2")
    assert offer.extmap_allow_mixed
    assert not offer.ice_lite
    assert [section.kind for section in offer.sections] == ["audio", "video", "application"]
    assert audio.payload_formats[111].name == "opus"
    assert (audio.payload_formats[111].clock_rate_hz, audio.payload_formats[111].channels) == (48_000, 2)
    assert len(audio.ssrcs) == 1
    assert video.payload_formats[97].parameters == {"apt": "96"}
    assert video.payload_formats[102].parameters["profile-level-id"] == "42001f"
    assert video.payload_formats[96].feedback == ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"]
    assert video.extensions["urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"] == 10
    assert [rid.rid for rid in video.rids] == ["q", "h", "f"]
    assert video.simulcast_send == (SimulcastRid("q", False), SimulcastRid("h", False), SimulcastRid("f", False))
    assert (video.direction, video.setup, video.rtcp_mux) == ("sendonly", "actpass", True)
    assert data.payload_formats == {}
    assert offer.transport_section() is audio
    assert audio.ice_password not in repr(audio)


def test_chromium_answer() -> None:
    answer = parse_description(ANSWER)
    assert {section.direction for section in answer.sections} == {"recvonly"}
    assert answer.transport_section().setup == "active"


def test_lines_may_end_with_a_bare_newline() -> None:
    assert parse_description(OFFER.replace("\r\n", "\n")) == parse_description(OFFER)


def test_session_level_attributes_are_inherited() -> None:
    fingerprint = ":".join(["ab"] * 32)
    head = f"{HEAD}a=ice-ufrag:abcd\r\na=ice-pwd:{'p' * 22}\r\na=fingerprint:SHA-256 {fingerprint}\r\na=setup:active\r\n"
    section = parse_description(head + VIDEO).transport_section()
    assert (section.ice_ufrag, section.setup) == ("abcd", "active")
    assert section.fingerprints[0].algorithm == "sha-256"
    assert section.fingerprints[0].value == ":".join(["AB"] * 32)


def test_bundle_only_port_zero_is_not_a_rejection() -> None:
    stopped = VIDEO.replace("video 9", "video 0")
    sections = parse_description(HEAD + stopped + "a=bundle-only\r\n" + stopped.replace("mid:0", "mid:1")).sections
    assert [section.rejected for section in sections] == [False, True]


@pytest.mark.parametrize(
    ("line", "layers"),
    [
        ("a=simulcast:send q;~h;f", [("q", False), ("h", True), ("f", False)]),
        ("a=simulcast:send q,x;h recv f", [("q", False), ("h", False)]),
    ],
)
def test_simulcast(line: str, layers: list[tuple[str, bool]]) -> None:
    (section,) = parse_description(HEAD + VIDEO + line + "\r\n").sections
    assert [(layer.rid, layer.paused) for layer in section.simulcast_send] == layers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=1\r\n",
        "v=0\r\n",
        HEAD + "nonsense\r\n",
        HEAD + "m=video x UDP/TLS/RTP/SAVPF 96\r\n",
        HEAD + "m=video 99999 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n",
        HEAD + "m=video 9 UDP/TLS/RTP/SAVPF 200\r\na=mid:0\r\n",
        HEAD + "m=video 9 UDP/TLS/RTP/SAVPF 96 96\r\na=mid:0\r\n",
        HEAD + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n",
        HEAD + VIDEO + VIDEO,
        HEAD + "a=group:BUNDLE 0 7\r\n" + VIDEO,
        HEAD + VIDEO + "a=ice-ufrag:ab\r\n",
        HEAD + VIDEO + "a=ice-pwd:short\r\n",
        HEAD + VIDEO + "a=fingerprint:sha-256 zz\r\n",
        HEAD + VIDEO + "a=setup:never\r\n",
        HEAD + VIDEO + "a=rtpmap:95 VP8/90000\r\n",
        HEAD + VIDEO + "a=rtpmap:96 VP8\r\n",
        HEAD + VIDEO + "a=fmtp:96\r\n",
        HEAD + VIDEO + "a=rtcp-fb:1 nack\r\n",
        HEAD + VIDEO + "a=extmap:0 urn:x\r\n",
        HEAD + VIDEO + "a=extmap:1 urn:x\r\na=extmap:1 urn:y\r\n",
        HEAD + VIDEO + "a=rid:q sideways\r\n",
        HEAD + VIDEO + "a=rid:q send\r\na=rid:q send\r\n",
        HEAD + VIDEO + "a=simulcast:send q;q\r\n",
        HEAD + VIDEO + "a=simulcast:recv\r\n",
        HEAD + VIDEO + "a=simulcast: recv rid=q;h;f\r\n",
        HEAD + VIDEO + "a=ssrc:99999999999 cname:x\r\n",
        HEAD + VIDEO + "a=ssrc-group:FID 1\r\n",
        HEAD + VIDEO + "".join(f"a=ssrc:{number} cname:x\r\n" for number in range(65)),
        HEAD + "".join(f"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:{number}\r\n" for number in range(257)),
        "v=0\r\n" * 20_000,
        "v=0\r\n" + "a" * 300_000,
    ],
)
def test_malformed_is_refused(text: str) -> None:
    with pytest.raises(SdpError):
        parse_description(text)


def test_feedback_is_bounded_per_payload_type() -> None:
    # One line counts for every payload type; without a bound the work would grow with the square of the lines.
    start = OFFER.index("a=rtcp-fb:")
    lines = "".join(f"a=rtcp-fb:* x{number}\r\n" for number in range(40))
    with pytest.raises(SdpError, match="more than 32 kinds of feedback"):
        parse_description(OFFER[:start] + lines + OFFER[start:])


def test_without_credentials_there_is_no_transport() -> None:
    with pytest.raises(SdpError):
        parse_description(HEAD + VIDEO).transport_section()


@settings(deadline=None)
@given(st.text(max_size=300))
def test_garbage_raises_only_our_type(text: str) -> None:
    for candidate in (text, HEAD + text, HEAD + VIDEO + text, HEAD + VIDEO + "a=" + text):
        try:
            parse_description(candidate)
        except SdpError:
            continue


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**32))
def test_mutated_offers_raise_only_our_type(seed: int) -> None:
    rng = random.Random(seed)
    lines = OFFER.split("\r\n")
    for _ in range(rng.randrange(1, 6)):
        index = rng.randrange(len(lines))
        line = lines[index]
        at = rng.randrange(len(line) + 1)
        lines[index] = rng.choice(
            [line[:at], line[at:], line + line, line[:at] + rng.choice(": ;/=~,٣0\x00é") + line[at:], rng.choice(lines), ""]
        )
    try:
        parse_description("\r\n".join(lines))
    except SdpError:
        return
