"""Two media sessions over an emulated network in simulated time: loss, repair, keyframes, reports, and hostile input."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.media import FrameDecoder, GeneratedMedia, LoopLibrary, ReceivedFrame
from bench.netem import PERFECT, PRESETS, BurstLoss, Link, LinkConfig
from bench.peer import PayloadType, ReceivePlan
from bench.peer.plan import SendPlan
from bench.peer.session import MediaSession
from sfu.plane.interface import ExtensionIds, SrtpKeys, SrtpProfile

# Longer than what most tests play: a loop begins with a keyframe, which would heal what was not repaired.
_MEDIA = GeneratedMedia(width=320, height=180, fps=15, loop_s=16, simulcast=False, bitrate_bps=1_000_000, audio=False)
_EXTENSIONS = ExtensionIds(mid=4, transport_cc=3, abs_send_time=2)
_VP8 = PayloadType(96, "VP8", 90_000, rtx=97)
_START_S = 1_000.0
# Beside the fixture of the same content: hypothesis wants none.
_LIBRARY = LoopLibrary()


def _session(name: str, seed: int, on_frame: object = None) -> MediaSession:
    return MediaSession(cname=name, rng=random.Random(seed), ntp_offset_s=3e9, on_frame=on_frame)  # type: ignore[arg-type]


@dataclass
class Call:
    """A publisher and a subscriber with a link in each direction."""

    library: LoopLibrary
    up: LinkConfig = PERFECT
    down: LinkConfig = PERFECT
    rtx: bool = True
    seed: int = 1
    frames: list[ReceivedFrame] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.now = _START_S
        self.publisher = _session("publisher", self.seed)
        self.subscriber = _session("subscriber", self.seed + 1, lambda mid, codec, frame: self.frames.append(frame))
        first, second = (random.Random(self.seed + number).randbytes(28) for number in (2, 3))
        profile = SrtpProfile.AEAD_AES_128_GCM
        self.publisher.set_keys(SrtpKeys(profile, inbound=first, outbound=second), self.now)
        self.subscriber.set_keys(SrtpKeys(profile, inbound=second, outbound=first), self.now)
        loop = self.library.get(_MEDIA).video
        assert loop is not None
        vp8 = _VP8 if self.rtx else PayloadType(96, "VP8", 90_000)
        self.publisher.add_sender(SendPlan("0", "video", vp8, _EXTENSIONS), loop, [(11, 12)], self.now)
        self.subscriber.set_receive_plans([ReceivePlan("0", "video", {96: vp8}, _EXTENSIONS, (11,), {12: 11} if self.rtx else {})])
        self.to_subscriber, self.to_publisher = Link(self.up, self.seed), Link(self.down, self.seed + 1)

    def run(self, duration_s: float) -> None:
        """Let that much time pass, from one deadline to the next."""
        end = self.now + duration_s
        while True:
            for session, link in ((self.publisher, self.to_subscriber), (self.subscriber, self.to_publisher)):
                session.handle_timer(self.now)
                for datagram in session.take_datagrams():
                    link.push(datagram, self.now)
            for datagram in self.to_subscriber.poll(self.now):
                self.subscriber.receive(datagram, self.now)
            for datagram in self.to_publisher.poll(self.now):
                self.publisher.receive(datagram, self.now)
            self._flush()
            deadline = min(
                self.publisher.next_deadline(),
                self.subscriber.next_deadline(),
                self.to_subscriber.next_deadline(),
                self.to_publisher.next_deadline(),
            )
            if deadline > end:
                self.now = end
                return
            # A deadline that does not move would stop time.
            self.now = max(deadline, math.nextafter(self.now, math.inf))

    def lose_all(self, duration_s: float) -> None:
        """Let that much time pass while nothing arrives at the subscriber."""
        self.to_subscriber.configure(LinkConfig(loss=1.0), self.now)
        self.run(duration_s)
        self.to_subscriber.configure(self.up, self.now)

    def _flush(self) -> None:
        for datagram in self.publisher.take_datagrams():
            self.to_subscriber.push(datagram, self.now)
        for datagram in self.subscriber.take_datagrams():
            self.to_publisher.push(datagram, self.now)


def test_everything_arrives_over_a_perfect_path(library: LoopLibrary) -> None:
    call = Call(library)
    call.run(10.0)
    assert len(call.frames) == 151
    (received,) = call.subscriber.stats().received
    (sent,) = call.publisher.stats().sent
    assert (received.frames, received.packets, received.packets_lost) == (151, sent.layers[0].packets, 0)
    assert (received.width, received.height) == (320, 180)
    assert received.nacks_sent == received.keyframe_requests_sent == 0
    assert sent.layers[0].rtt_s == pytest.approx(0, abs=0.001)
    assert call.publisher.stats().feedback_packets >= sent.layers[0].packets - 12
    assert call.publisher.stats().feedback_lost == 0


def test_round_trip_and_jitter_are_those_of_the_path(library: LoopLibrary) -> None:
    call = Call(library, up=LinkConfig(latency_s=0.04), down=LinkConfig(latency_s=0.06))
    call.run(10.0)
    (sent,) = call.publisher.stats().sent
    assert sent.layers[0].rtt_s == pytest.approx(0.1, abs=0.002)


@pytest.mark.parametrize("preset", ["wifi", "wifi_lossy", "cellular"])
def test_losses_of_common_networks_are_repaired(library: LoopLibrary, preset: str) -> None:
    call = Call(library, up=PRESETS[preset], down=PRESETS[preset])
    call.run(30.0)
    (received,) = call.subscriber.stats().received
    # What is still under way, or waits for a repair, at the end is not there yet.
    assert received.frames >= 451 - 8
    assert received.frames_given_up == 0


@given(st.integers(0, 2**31), st.floats(0.0, 0.08), st.floats(0.0, 0.1))
@settings(max_examples=12, deadline=None)
def test_any_moderate_loss_is_repaired(seed: int, loss: float, latency_s: float) -> None:
    link = LinkConfig(latency_s=latency_s, jitter_s=latency_s / 5, loss=loss, duplicate=0.02, reorder=0.02)
    call = Call(_LIBRARY, up=link, down=link, seed=seed)
    call.run(8.0)
    # The path gets well, so that what was lost last can be repaired too.
    call.to_subscriber.configure(PERFECT, call.now)
    call.to_publisher.configure(PERFECT, call.now)
    call.run(4.0)
    (received,) = call.subscriber.stats().received
    assert received.frames >= 175
    # Ten tries of which at most one in six fails.
    assert received.frames_given_up == 0
    assert call.subscriber.stats().dropped <= call.to_subscriber.stats().duplicated


def test_without_rtx_a_keyframe_heals(library: LoopLibrary) -> None:
    """Each hole in the path costs one request, which is answered by one keyframe, from which on everything decodes again."""
    call = Call(library, rtx=False)
    decoder = FrameDecoder("VP8")
    call.run(2.0)
    for holes in range(1, 6):
        shown = len(call.frames)
        call.lose_all(0.4)
        assert len(call.frames) == shown
        # Each answer begins the loop anew: the keyframe that it has by itself, each sixteen seconds, is never due here.
        call.run(3.0)
        (received,) = call.subscriber.stats().received
        (sent,) = call.publisher.stats().sent
        assert received.keyframe_requests_sent == sent.keyframe_requests == holes
        assert sent.layers[0].keyframes == received.keyframes == 1 + holes
        assert received.frames_given_up > 0
        assert received.packets_repaired == 0
        healed = call.frames[shown:]
        assert [frame.keyframe for frame in healed] == [True] + [False] * (len(healed) - 1)
        # The hole is waited for before it is given up, which leaves more than a second and a half of fifteen pictures a second.
        assert len(healed) > 24
        steps = {(after.timestamp - before.timestamp) & 0xFFFFFFFF for before, after in itertools.pairwise(healed)}
        assert steps == {90_000 // 15}
    pictures = [picture for frame in call.frames for picture in decoder.decode(frame.data)]
    assert (len(pictures), decoder.failures) == (len(call.frames), 0)


def test_without_rtx_nothing_heals_when_nobody_hears_the_request(library: LoopLibrary) -> None:
    call = Call(library, down=LinkConfig(loss=1.0), rtx=False)
    call.run(2.0)
    shown = len(call.frames)
    call.lose_all(0.4)
    call.run(10.0)
    (received,) = call.subscriber.stats().received
    (sent,) = call.publisher.stats().sent
    assert len(call.frames) == shown
    # It asks until it is answered.
    assert received.keyframe_requests_sent > 10
    assert (sent.keyframe_requests, sent.layers[0].keyframes) == (0, 1)
    # The loop begins again sixteen seconds after the start.
    call.run(5.0)
    assert call.frames[shown].keyframe


@pytest.mark.parametrize("seed", range(1, 6))
def test_without_rtx_many_losses_are_healed_by_as_many_keyframes(library: LoopLibrary, seed: int) -> None:
    calm = Call(library, rtx=False, seed=seed)
    calm.run(20.0)
    own = calm.publisher.stats().sent[0].layers[0].keyframes
    # The picture is quiet, a packet or two a frame: this is a burst of three packets every second or two.
    call = Call(library, up=LinkConfig(burst_loss=BurstLoss(0.05, 0.3)), rtx=False, seed=seed)
    call.run(20.0)
    (received,) = call.subscriber.stats().received
    (sent,) = call.publisher.stats().sent
    assert received.frames_given_up > 0
    assert received.packets_repaired == 0
    assert received.keyframe_requests_sent == sent.keyframe_requests > 3
    assert sent.layers[0].keyframes > own + 3
    # The one at the start, and one for each request: as each begins the loop anew, it never comes to its end by itself.
    assert sent.layers[0].keyframes == 1 + sent.keyframe_requests
    frames = len(call.frames)
    call.to_subscriber.configure(PERFECT, call.now)
    call.run(4.0)
    assert len(call.frames) >= frames + 40


def test_a_muted_track_sends_nothing(library: LoopLibrary) -> None:
    call = Call(library)
    call.run(1.0)
    call.publisher.senders[0].muted = True
    packets = call.publisher.stats().sent[0].layers[0].packets
    call.run(2.0)
    assert call.publisher.stats().sent[0].layers[0].packets == packets
    call.publisher.senders[0].muted = False
    call.publisher.senders[0].player.request_keyframe()
    frames = len(call.frames)
    call.run(1.0)
    assert len(call.frames) == frames + 15
    assert call.frames[frames].keyframe


def test_forged_and_broken_datagrams_are_counted_and_dropped(library: LoopLibrary) -> None:
    call = Call(library)
    call.run(1.0)
    rng = random.Random(5)
    for size in (0, 1, 2, 12, 60, 1400):
        for first in (0x80, 0x90, 0xBF):
            call.subscriber.receive(bytes((first,))[:size] + rng.randbytes(max(size - 1, 0)), call.now)
            call.publisher.receive(b"\x80\xc9" + rng.randbytes(size), call.now)
    assert call.subscriber.stats().dropped == 18
    assert call.publisher.stats().dropped == 18
    frames = len(call.frames)
    call.run(1.0)
    assert len(call.frames) == frames + 15


def test_nothing_flows_before_there_are_keys() -> None:
    session = _session("early", 1)
    session.receive(b"\x80" + bytes(40), 1.0)
    session.handle_timer(1.0)
    session.goodbye()
    assert session.next_deadline() == math.inf
    assert session.take_datagrams() == []
    assert session.stats().dropped == 1
