"""Media keys of a call: who can open what as people come and go, replays, stale keys, bounds."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from e2ee.call_keys import MAX_GENERATION, STEPS, KeyFrameNeeded, KeyRing, MediaKey, SenderKeys, SendKey
from e2ee.errors import CounterExhausted, DecryptionFailed, E2EEError, FrameReplay, LimitReached, MalformedMessage, UnknownFrameKey
from e2ee.frames import Codec
from e2ee.limits import Limits
from e2ee.sframe import FrameKey, Header, ratchet

FRAME = b"\x10 an encoded picture"


def seeded(seed: int = 0) -> Callable[[int], bytes]:
    count = 0

    def draw(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{seed} {count}".encode()).digest(size)

    return draw


def deliver(events: list[SendKey[str] | KeyFrameNeeded], rings: dict[str, KeyRing[str]], sender: str = "amal") -> list[str]:
    """Hand the keys to their peers' rings; return who got one."""
    sent = [event for event in events if isinstance(event, SendKey)]
    for event in sent:
        rings[event.peer].add(sender, event.key)
    return [event.peer for event in sent]


def opens(ring: KeyRing[str], sealed: bytes, now: float = 0.0, sender: str = "amal") -> bytes:
    return ring.open(sender, Codec.VP8, "camera", sealed, now)


def shown(keys: SenderKeys[str]) -> bytes:
    return keys.seal(Codec.VP8, "camera", FRAME)


@pytest.fixture
def rings() -> dict[str, KeyRing[str]]:
    return {name: KeyRing() for name in ("badr", "dina", "eman")}


def test_everybody_present_opens_every_track(rings: dict[str, KeyRing[str]]) -> None:
    keys = SenderKeys(["badr", "dina"], random=seeded())
    assert deliver(keys.events_at_start(), rings) == ["badr", "dina"]
    assert keys.peers == ("badr", "dina")
    for codec, stream, frame in (
        (Codec.VP8, "camera", FRAME),
        (Codec.OPUS, "microphone", b"sound"),
        (Codec.H264, "screen", b"\x00\x00\x00\x01\x65\x88\x84" + bytes(9)),
        (Codec.DATA, "", b"text"),
    ):
        sealed = keys.seal(codec, stream, frame)
        for name in ("badr", "dina"):
            assert rings[name].open("amal", codec, stream, sealed, 0.0) == frame
            with pytest.raises(DecryptionFailed):
                rings[name].open("amal", codec, stream + "x", keys.seal(codec, stream, frame), 0.0)
        with pytest.raises(UnknownFrameKey):
            rings["eman"].open("amal", codec, stream, sealed, 0.0)


def test_counters_never_repeat_across_tracks() -> None:
    keys = SenderKeys[str](random=seeded())
    seen = set()
    for number in range(300):
        sealed = keys.seal(Codec.OPUS, ("microphone", "camera", "screen")[number % 3], b"x")
        seen.add(Header.parse(sealed)[0].counter)
    assert seen == set(range(300))


def test_a_frame_that_fails_costs_no_counter() -> None:
    keys = SenderKeys[str](random=seeded())
    with pytest.raises(MalformedMessage):
        keys.seal(Codec.VP8, "camera", b"")
    with pytest.raises(MalformedMessage):
        keys.seal(Codec.VP8, "x" * 300, FRAME)
    assert Header.parse(keys.seal(Codec.OPUS, "microphone", b""))[0] == Header(0, 0)


def test_the_last_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("e2ee.call_keys._MAX_SENT", 2)
    keys = SenderKeys[str](random=seeded())
    shown(keys)
    shown(keys)
    with pytest.raises(CounterExhausted):
        shown(keys)
    assert keys.renew(0.0) == [KeyFrameNeeded()]
    shown(keys)


def test_who_joins_opens_nothing_from_before(rings: dict[str, KeyRing[str]]) -> None:
    keys = SenderKeys(["badr"], random=seeded())
    deliver(keys.events_at_start(), rings)
    early = shown(keys)
    assert opens(rings["badr"], early) == FRAME
    assert deliver(keys.add("dina", 1.0), rings) == ["dina"]
    assert keys.add("dina", 1.0) == []
    late = shown(keys)
    # Nobody told badr: the KID names the step.
    assert opens(rings["badr"], late, 1.0) == FRAME
    assert opens(rings["dina"], late, 1.0) == FRAME
    with pytest.raises(UnknownFrameKey):
        opens(rings["dina"], early, 1.0)


def test_joins_past_the_last_step_begin_a_generation() -> None:
    names = [f"p{number}" for number in range(STEPS)]
    rings: dict[str, KeyRing[str]] = {name: KeyRing() for name in names}
    keys = SenderKeys[str](random=seeded())
    for name in names[:-1]:
        assert deliver(keys.add(name, 0.0), rings) == [name]
        sealed = shown(keys)
        for present in keys.peers:
            assert opens(rings[present], sealed) == FRAME
    assert keys.kid == STEPS - 1
    events = keys.add(names[-1], 5.0)
    assert sorted(deliver(events, rings)) == sorted(names)
    assert keys.deadline == 7.0
    assert [event for name in names for event in keys.acknowledged(name, 1)] == [KeyFrameNeeded()]
    assert keys.kid == 1 << 4
    for name in names:
        assert opens(rings[name], shown(keys), 5.0) == FRAME


def test_who_left_opens_nothing_after_the_switch(rings: dict[str, KeyRing[str]]) -> None:
    keys = SenderKeys(["badr", "dina", "eman"], random=seeded())
    deliver(keys.events_at_start(), rings)
    events = keys.remove("eman", 10.0)
    assert deliver(events, rings) == ["badr", "dina"]
    assert keys.remove("eman", 10.0) == []
    assert keys.deadline == 12.0
    assert opens(rings["badr"], shown(keys), 10.0) == FRAME
    assert keys.kid == 0
    assert keys.acknowledged("badr", 1) == []
    assert keys.acknowledged("badr", 7) == []
    assert keys.on_time(11.9) == []
    assert keys.acknowledged("dina", 1) == [KeyFrameNeeded()]
    assert keys.acknowledged("dina", 1) == []
    assert keys.deadline == math.inf
    sealed = shown(keys)
    assert opens(rings["badr"], sealed, 11.0) == FRAME
    with pytest.raises(UnknownFrameKey):
        opens(rings["eman"], sealed, 11.0)


def test_nobody_holds_up_the_switch_for_longer_than_two_seconds(rings: dict[str, KeyRing[str]]) -> None:
    keys = SenderKeys(["badr", "dina", "eman"], random=seeded())
    keys.remove("eman", 10.0)
    # Another one leaves meanwhile: the first must not hear longer for it, and the key that the second has is never used.
    keys.remove("dina", 11.5)
    assert keys.deadline == 12.0
    assert keys.acknowledged("badr", 1) == []
    assert keys.on_time(11.99) == []
    assert keys.on_time(12.0) == [KeyFrameNeeded()]
    assert keys.kid == 2 << 4
    assert keys.on_time(99.0) == []


def test_the_last_one_to_leave_needs_no_acknowledgement() -> None:
    keys = SenderKeys(["badr"], random=seeded())
    assert keys.remove("badr", 0.0) == [KeyFrameNeeded()]
    assert keys.kid == 1 << 4
    assert keys.peers == ()


def test_a_join_during_a_switch_gets_the_new_key_alone(rings: dict[str, KeyRing[str]]) -> None:
    keys = SenderKeys(["badr", "dina"], random=seeded())
    deliver(keys.events_at_start(), rings)
    deliver(keys.remove("dina", 0.0), rings)
    assert deliver(keys.add("eman", 1.0), rings) == ["eman"]
    with pytest.raises(UnknownFrameKey):
        opens(rings["eman"], shown(keys), 1.0)
    assert keys.acknowledged("badr", 1) == [KeyFrameNeeded()]
    assert opens(rings["eman"], shown(keys), 1.0) == FRAME


def test_a_device_that_lost_its_keys_gets_the_one_to_come(rings: dict[str, KeyRing[str]]) -> None:
    keys = SenderKeys(["badr", "dina"], random=seeded())
    assert deliver(keys.again("badr"), rings) == ["badr"]
    assert opens(rings["badr"], shown(keys)) == FRAME
    assert keys.again("eman") == []
    keys.remove("dina", 0.0)
    rings["badr"] = KeyRing()
    assert deliver(keys.again("badr"), rings) == ["badr"]
    keys.acknowledged("badr", 1)
    assert opens(rings["badr"], shown(keys)) == FRAME


def test_renewing_tells_everybody(rings: dict[str, KeyRing[str]]) -> None:
    keys = SenderKeys(["badr"], random=seeded())
    assert deliver(keys.renew(3.0), rings) == ["badr"]
    assert keys.deadline == 5.0
    assert keys.on_time(5.0) == [KeyFrameNeeded()]
    assert opens(rings["badr"], shown(keys)) == FRAME


def test_generations_end() -> None:
    keys = SenderKeys(["badr", "dina"], generation=MAX_GENERATION, random=seeded())
    before = keys.peers
    with pytest.raises(CounterExhausted):
        keys.remove("badr", 0.0)
    with pytest.raises(CounterExhausted):
        keys.renew(0.0)
    assert keys.peers == before
    for number in range(STEPS - 1):
        keys.add(f"p{number}", 0.0)
    assert keys.kid == MAX_GENERATION << 4 | 15
    with pytest.raises(CounterExhausted):
        keys.add("one more", 0.0)
    assert "one more" not in keys.peers


def test_participants_are_bounded() -> None:
    limits = Limits(max_frame_senders=2)
    keys = SenderKeys(["badr"], random=seeded(), limits=limits)
    keys.add("dina", 0.0)
    with pytest.raises(LimitReached):
        keys.add("eman", 0.0)
    assert keys.kid == 1
    keys.renew(0.0)
    with pytest.raises(LimitReached):
        keys.add("eman", 0.0)
    with pytest.raises(LimitReached):
        SenderKeys(["a", "b", "c"], random=seeded(), limits=limits)
    ring = KeyRing[str](limits=limits)
    key = MediaKey(0, 0, bytes(32))
    ring.add("a", key)
    ring.add("b", key)
    ring.add("b", key)
    with pytest.raises(LimitReached):
        ring.add("c", key)
    ring.remove("a")
    ring.remove("a")
    ring.add("c", key)
    assert ring.senders == ("b", "c")


@pytest.mark.parametrize(
    ("generation", "step", "length"),
    [(-1, 0, 32), (2**32, 0, 32), (0, -1, 64), (0, 16, 64), (0, 0, 31), (0, 0, 64), (0, 1, 32), (0, 1, 65)],
)
def test_media_keys_have_one_shape(generation: int, step: int, length: int) -> None:
    with pytest.raises(MalformedMessage):
        MediaKey(generation, step, bytes(length))


def test_no_key_is_shown() -> None:
    key = MediaKey(1, 0, b"s" * 32)
    assert "ssss" not in repr(SendKey("badr", key))
    assert "7373" not in repr(SendKey("badr", key))


# ------------------------------------------------------------------------------------------------- replay


def sealer(kid: int = 0, base_key: bytes = bytes(32)) -> Callable[[int], bytes]:
    key = FrameKey(kid, base_key)
    return lambda counter: key.seal(counter, b"x", b"\x02\x00\x00")


def read(ring: KeyRing[str], sealed: bytes, now: float = 0.0) -> bytes:
    return ring.open("amal", Codec.DATA, "", sealed, now)


def test_the_replay_window_has_exactly_its_size() -> None:
    ring = KeyRing[str]()
    ring.add("amal", MediaKey(0, 0, bytes(32)))
    seal = sealer()
    read(ring, seal(5000))
    read(ring, seal(5000 - 1023))
    for counter in (5000, 5000 - 1023, 5000 - 1024, 0):
        with pytest.raises(FrameReplay):
            read(ring, seal(counter))
    read(ring, seal(5001))
    with pytest.raises(FrameReplay):
        read(ring, seal(5001 - 1024))
    # Jumps as wide as the window, wider, and as far as the wire goes.
    read(ring, seal(5001 + 1023))
    with pytest.raises(FrameReplay):
        read(ring, seal(5001))
    read(ring, seal(2**64 - 2))
    read(ring, seal(2**64 - 1))
    for counter in (2**64 - 2, 2**64 - 1, 2**64 - 1 - 1024):
        with pytest.raises(FrameReplay):
            read(ring, seal(counter))
    read(ring, seal(2**64 - 1 - 1023))


def test_a_forged_frame_moves_no_window() -> None:
    ring = KeyRing[str]()
    ring.add("amal", MediaKey(0, 0, bytes(32)))
    seal, forge = sealer(), sealer(base_key=b"f" * 32)
    for counter in (0, 1, 2**40):
        with pytest.raises(DecryptionFailed):
            read(ring, forge(counter))
    assert read(ring, seal(0)) == b"x"


def test_a_forged_step_moves_no_ratchet() -> None:
    ring = KeyRing[str]()
    ring.add("amal", MediaKey(0, 3, bytes(64)))
    with pytest.raises(DecryptionFailed):
        read(ring, sealer(15, b"f" * 64)(0))
    assert read(ring, sealer(3, bytes(64))(0)) == b"x"
    later = ratchet(ratchet(bytes(64)))
    assert read(ring, sealer(5, later)(0), 100.0) == b"x"
    # The step between was never used, and is not derived any more.
    with pytest.raises(UnknownFrameKey):
        read(ring, sealer(4, ratchet(bytes(64)))(0), 100.0)
    assert read(ring, sealer(3, bytes(64))(1), 109.9) == b"x"
    with pytest.raises(UnknownFrameKey):
        read(ring, sealer(3, bytes(64))(2), 110.0)
    with pytest.raises(UnknownFrameKey):
        read(ring, sealer(2, bytes(64))(0))


# ------------------------------------------------------------------------------------------------- keys that come late, twice, anew


def base(number: int) -> bytes:
    return bytes((number,)) * 32


def test_an_old_generation_is_kept_ten_seconds_from_the_first_frame_under_the_new_one() -> None:
    ring = KeyRing[str]()
    ring.add("amal", MediaKey(0, 0, base(0)))
    ring.add("amal", MediaKey(1, 0, base(1)))
    old, new = sealer(0, base(0)), sealer(16, base(1))
    read(ring, old(0), 1000.0)
    read(ring, new(0), 1000.0)
    read(ring, old(1), 1009.9)
    read(ring, new(1), 1009.9)
    for now in (1010.0, 5000.0):
        with pytest.raises(UnknownFrameKey):
            read(ring, old(2), now)
    # The step after it is gone with it.
    with pytest.raises(UnknownFrameKey):
        read(ring, sealer(1, ratchet(base(0)))(0), 1010.0)
    read(ring, new(2), 1010.0)


def test_a_key_that_comes_late_or_twice_changes_nothing() -> None:
    ring = KeyRing[str]()
    ring.add("amal", MediaKey(1, 0, base(1)))
    read(ring, sealer(16, base(1))(0))
    ring.add("amal", MediaKey(0, 0, base(0)))
    for again in (MediaKey(1, 0, base(1)), MediaKey(1, 2, ratchet(ratchet(base(1))))):
        ring.add("amal", again)
        with pytest.raises(FrameReplay):
            read(ring, sealer(16, base(1))(0))
    read(ring, sealer(18, ratchet(ratchet(base(1))))(0))
    ring.add("amal", MediaKey(1, 0, base(1)))
    with pytest.raises(FrameReplay):
        read(ring, sealer(18, ratchet(ratchet(base(1))))(0))
    read(ring, sealer(16, base(1))(1), 5.0)


def test_a_device_that_starts_anew_is_heard() -> None:
    ring = KeyRing[str]()
    ring.add("amal", MediaKey(9, 0, base(1)))
    read(ring, sealer(9 << 4, base(1))(0), 0.0)
    ring.add("amal", MediaKey(0, 0, base(2)))
    assert read(ring, sealer(0, base(2))(0), 1.0) == b"x"
    with pytest.raises(UnknownFrameKey):
        read(ring, sealer(9 << 4, base(1))(1), 11.0)
    # The same generation under another key.
    ring.add("amal", MediaKey(0, 0, base(3)))
    assert read(ring, sealer(0, base(3))(0), 11.0) == b"x"
    with pytest.raises(DecryptionFailed):
        read(ring, sealer(0, base(2))(1), 11.0)


def test_generations_of_one_sender_are_bounded_and_the_one_in_use_stays() -> None:
    ring = KeyRing[str]()
    for number in range(3):
        ring.add("amal", MediaKey(number, 0, base(number)))
    read(ring, sealer(2 << 4, base(2))(0))
    for number in range(3, 20):
        ring.add("amal", MediaKey(number, 0, base(number)))
    read(ring, sealer(2 << 4, base(2))(1))
    for number in (0, 3, 12):
        with pytest.raises(UnknownFrameKey):
            read(ring, sealer(number << 4, base(number))(0))
    for number in (13, 19):
        read(ring, sealer(number << 4, base(number))(0))


def test_a_sender_is_known_by_its_key_alone() -> None:
    ring = KeyRing[str]()
    ring.add("amal", MediaKey(0, 0, base(1)))
    ring.add("badr", MediaKey(0, 0, base(2)))
    sealed = sealer(0, base(1))(0)
    with pytest.raises(DecryptionFailed):
        ring.open("badr", Codec.DATA, "", sealed, 0.0)
    assert ring.open("amal", Codec.DATA, "", sealed, 0.0) == b"x"
    ring.remove("amal")
    with pytest.raises(UnknownFrameKey):
        ring.open("amal", Codec.DATA, "", sealed, 0.0)


def test_every_changed_byte_of_a_frame_is_refused() -> None:
    ring = KeyRing[str]()
    keys = SenderKeys(["badr"], random=seeded())
    deliver(keys.events_at_start(), {"badr": ring})
    for codec, frame in ((Codec.VP8, FRAME), (Codec.H264, b"\x00\x00\x00\x01\x67\x42\x00\x00\x00\x01\x65\x88\x84rest")):
        sealed = keys.seal(codec, "camera", frame)
        for index in range(len(sealed)):
            changed = bytearray(sealed)
            changed[index] ^= 0x41
            with pytest.raises(E2EEError):
                ring.open("amal", codec, "camera", bytes(changed), 0.0)
        assert ring.open("amal", codec, "camera", sealed, 0.0) == frame


# ------------------------------------------------------------------------------------------------- a whole call


class CallMachine(RuleBasedStateMachine):
    """Three senders' worth of comings and goings seen from one sender: who holds the key opens, nobody else does."""

    names = ("a", "b", "c", "d", "e", "f")

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.keys = SenderKeys[str](random=seeded(7))
        self.rings: dict[str, KeyRing[str]] = {name: KeyRing() for name in self.names}
        self.waiting: list[SendKey[str]] = []
        self.nonces: set[tuple[int, int]] = set()
        self.left_at: dict[str, float] = {}
        self.sealed: list[tuple[frozenset[str], bytes]] = []

    def take(self, events: list[SendKey[str] | KeyFrameNeeded]) -> None:
        self.waiting += [event for event in events if isinstance(event, SendKey)]

    @rule(name=st.sampled_from(names))
    def join(self, name: str) -> None:
        if name not in self.keys.peers:
            self.left_at.pop(name, None)
        self.take(self.keys.add(name, self.now))

    @rule(name=st.sampled_from(names))
    def leave(self, name: str) -> None:
        if name in self.keys.peers:
            self.left_at[name] = self.now
        self.take(self.keys.remove(name, self.now))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), acknowledge=st.booleans())
    def arrive(self, data: st.DataObject, acknowledge: bool) -> None:
        event = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        self.rings[event.peer].add("me", event.key)
        if acknowledge:
            self.keys.acknowledged(event.peer, event.key.generation)

    @rule(seconds=st.sampled_from([0.125, 1.0, 2.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self.keys.deadline:
            assert self.keys.on_time(self.now) == [KeyFrameNeeded()]

    @rule()
    def send(self) -> None:
        sealed = self.keys.seal(Codec.OPUS, "microphone", b"sound")
        header, _ = Header.parse(sealed)
        place = (header.kid, header.counter)
        assert place not in self.nonces
        self.nonces.add(place)
        holders = frozenset(self.keys.peers)
        for name, ring in self.rings.items():
            try:
                ring.open("me", Codec.OPUS, "microphone", sealed, self.now)
            except UnknownFrameKey:
                continue
            # Whoever opened it is present, or left so lately that the others are still being given the new key.
            assert name in holders or self.now - self.left_at[name] <= 2.0
            with pytest.raises(FrameReplay):
                ring.open("me", Codec.OPUS, "microphone", sealed, self.now)

    @rule()
    def everybody_is_up_to_date(self) -> None:
        for event in self.waiting:
            self.rings[event.peer].add("me", event.key)
        self.waiting.clear()
        self.now += 2.0
        self.keys.on_time(self.now)
        sealed = self.keys.seal(Codec.OPUS, "microphone", b"sound")
        header, _ = Header.parse(sealed)
        self.nonces.add((header.kid, header.counter))
        for name, ring in self.rings.items():
            if name in self.keys.peers:
                assert ring.open("me", Codec.OPUS, "microphone", sealed, self.now) == b"sound"
            else:
                with pytest.raises(UnknownFrameKey):
                    ring.open("me", Codec.OPUS, "microphone", sealed, self.now)

    @invariant()
    def the_switch_is_never_far(self) -> None:
        assert self.keys.deadline == math.inf or self.keys.deadline - self.now <= 2.0


CallMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCall = CallMachine.TestCase
