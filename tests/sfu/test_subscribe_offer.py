"""Offers to subscribers: m-lines that come, go and are used again."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from salam import ConflictError, LimitError
from sfu.dtls import Fingerprint
from sfu.sdp import SdpError, SessionDescription, parse_description
from sfu.sdp_lines import Candidate, LocalTransport
from sfu.subscribe_offer import OfferedSubscription, SubscribeNegotiator

LOCAL = LocalTransport(
    ufrag="ufragufr",
    password="passwordpasswordpassword",
    fingerprint=Fingerprint("sha-256", ":".join(["AB"] * 32)),
    candidates=(Candidate("udp", "192.0.2.1", 40_000),),
    setup="actpass",
)


def negotiator() -> SubscribeNegotiator:
    return SubscribeNegotiator(session_id=1, rng=random.Random(1))


def answer_to(offer: OfferedSubscription, *changes: tuple[str, str]) -> SessionDescription:
    """What a browser answers: the same m-lines, receiving what is sent."""
    text = offer.sdp.replace("a=sendonly", "a=recvonly").replace("a=setup:actpass", "a=setup:active")
    for old, new in changes:
        text = text.replace(old, new)
    return parse_description(text)


def add(one: SubscribeNegotiator, track_id: str, kind: str = "video") -> None:
    one.add(track_id, "audio" if kind == "audio" else "video", stream_id="stream", cname="name")


def test_an_accepted_track_has_everything_a_consumer_needs() -> None:
    one = negotiator()
    add(one, "camera")
    add(one, "microphone", "audio")
    offer = one.offer(LOCAL)
    assert offer.mids == {"camera": "0", "microphone": "1"}
    camera, microphone = one.accept(answer_to(offer))
    assert (camera.track_id, camera.mid, camera.cname) == ("camera", "0", "name")
    assert (camera.codecs["VP8"].payload_type, camera.codecs["VP8"].rtx_payload_type) == (96, 97)
    assert (camera.codecs["H264"].payload_type, camera.codecs["H264"].rtx_payload_type) == (98, 99)
    assert camera.extensions.transport_cc == 3
    assert camera.extensions.rid == 0
    assert 0 < camera.ssrc != camera.rtx_ssrc > 0
    assert microphone.rtx_ssrc == 0
    assert f"a=ssrc-group:FID {camera.ssrc} {camera.rtx_ssrc}\r\n" in offer.sdp
    assert f"a=ssrc:{camera.ssrc} cname:name\r\n" in offer.sdp
    assert one.accept(answer_to(offer)) == []
    assert not one.needs_offer


def test_the_answers_payload_types_rule() -> None:
    one = negotiator()
    add(one, "camera")
    offer = one.offer(LOCAL)
    (camera,) = one.accept(
        answer_to(offer, ("SAVPF 96 97 98 99", "SAVPF 120 121 98 99"), (":96", ":120"), (":97", ":121"), ("apt=96", "apt=120"))
    )
    assert (camera.codecs["VP8"].payload_type, camera.codecs["VP8"].rtx_payload_type) == (120, 121)


def test_a_refused_line_is_not_consumed() -> None:
    one = negotiator()
    add(one, "camera")
    offer = one.offer(LOCAL)
    assert one.accept(answer_to(offer, ("m=video 9", "m=video 0"))) == []


def test_a_line_is_used_again_only_after_the_peer_saw_it_inactive() -> None:
    one = negotiator()
    add(one, "first")
    one.accept(answer_to(one.offer(LOCAL)))
    one.remove("first")
    add(one, "second")
    offer = one.offer(LOCAL)
    assert offer.mids == {"second": "1"}
    assert "a=inactive" in offer.sdp
    assert [track.track_id for track in one.accept(answer_to(offer))] == ["second"]
    add(one, "third")
    offer = one.offer(LOCAL)
    assert offer.mids == {"second": "1", "third": "0"}
    assert [track.track_id for track in one.accept(answer_to(offer))] == ["third"]


def test_a_track_that_leaves_while_its_offer_is_out() -> None:
    one = negotiator()
    add(one, "short")
    offer = one.offer(LOCAL)
    one.remove("short")
    assert one.accept(answer_to(offer)) == []
    assert one.needs_offer
    add(one, "next")
    assert one.offer(LOCAL).mids == {"next": "1"}


def test_a_track_that_was_never_offered_leaves_no_line_behind() -> None:
    one = negotiator()
    add(one, "ghost")
    one.remove("ghost")
    add(one, "real")
    assert one.offer(LOCAL).mids == {"real": "0"}


def test_new_ssrcs_when_a_line_is_used_again() -> None:
    one = negotiator()
    add(one, "first")
    (first,) = one.accept(answer_to(one.offer(LOCAL)))
    one.remove("first")
    one.accept(answer_to(one.offer(LOCAL)))
    add(one, "second")
    (second,) = one.accept(answer_to(one.offer(LOCAL)))
    assert first.mid == second.mid
    assert not {first.ssrc, first.rtx_ssrc} & {second.ssrc, second.rtx_ssrc}


def test_every_line_has_the_same_extensions_whatever_happens() -> None:
    one = negotiator()
    for index in range(6):
        add(one, f"t{index}", "audio" if index % 2 else "video")
    first = parse_description(one.offer(LOCAL).sdp)
    one.accept(answer_to(one.offer(LOCAL)))
    one.remove("t0")
    one.remove("t1")
    second = parse_description(one.offer(LOCAL).sdp)
    for before, after in zip(first.sections, second.sections, strict=True):
        assert before.extensions == after.extensions
        assert list(before.payload_formats) == list(after.payload_formats)


def test_bad_answers_change_nothing() -> None:
    one = negotiator()
    add(one, "camera")
    offer = one.offer(LOCAL)
    with pytest.raises(SdpError):
        one.accept(answer_to(offer, ("a=mid:0", "a=mid:9"), ("BUNDLE 0", "BUNDLE 9")))
    assert len(one.accept(answer_to(offer))) == 1


def test_limits() -> None:
    one = negotiator()
    for index in range(160):
        add(one, f"t{index}")
    with pytest.raises(LimitError):
        add(one, "one too many")
    with pytest.raises(ConflictError):
        add(one, "t0")
    assert len(parse_description(one.offer(LOCAL).sdp).sections) == 160


class Subscription(RuleBasedStateMachine):
    """Tracks come and go in any order while offers are answered late; a model of the browser checks every offer."""

    def __init__(self) -> None:
        super().__init__()
        self.one = negotiator()
        self.counter = 0
        self.wanted: set[str] = set()
        self.consumed: dict[str, str] = {}
        self.offer: OfferedSubscription | None = None
        self.seen: list[str] = []

    @rule(kind=st.sampled_from(["audio", "video"]))
    def join(self, kind: str) -> None:
        self.counter += 1
        track_id = f"{kind}{self.counter}"
        add(self.one, track_id, kind)
        self.wanted.add(track_id)

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        track_id = data.draw(st.sampled_from(sorted(self.wanted)))
        self.one.remove(track_id)
        self.wanted.discard(track_id)
        self.consumed.pop(track_id, None)

    @precondition(lambda self: self.offer is None)
    @rule()
    def make_offer(self) -> None:
        self.offer = self.one.offer(LOCAL)
        description = parse_description(self.offer.sdp)
        assert set(self.offer.mids) == self.wanted
        by_mid = {mid: track_id for track_id, mid in self.offer.mids.items()}
        for index, section in enumerate(description.sections):
            track_id = by_mid.get(section.mid, "")
            assert section.direction == ("sendonly" if track_id else "inactive")
            assert not track_id or track_id.startswith(section.kind)
            before = self.seen[index] if index < len(self.seen) else ""
            # A browser tells its page of a new track only when the m-line was inactive before.
            assert not (before and track_id) or before == track_id

    @precondition(lambda self: self.offer is not None)
    @rule()
    def answer(self) -> None:
        assert self.offer is not None
        description = parse_description(self.offer.sdp)
        by_mid = {mid: track_id for track_id, mid in self.offer.mids.items()}
        self.seen = [by_mid.get(section.mid, "") for section in description.sections]
        for track in self.one.accept(answer_to(self.offer)):
            assert self.offer.mids[track.track_id] == track.mid
            assert track.track_id not in self.consumed
            if track.track_id in self.wanted:
                self.consumed[track.track_id] = track.mid
        self.offer = None

    @invariant()
    def no_two_tracks_share_a_line(self) -> None:
        assert len(set(self.consumed.values())) == len(self.consumed)

    def teardown(self) -> None:
        """After everything is answered, everything wanted is consumed."""
        for _ in range(3):
            if self.offer is not None:
                self.answer()
            if self.one.needs_offer:
                self.make_offer()
        assert set(self.consumed) == self.wanted


Subscription.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestSubscription = Subscription.TestCase
