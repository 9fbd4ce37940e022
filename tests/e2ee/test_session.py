"""Sessions: two sides over a network that loses, doubles and reorders, with stores that crash; and their records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle as Drawn
from hypothesis.stateful import RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from e2ee.errors import (
    DecryptionFailed,
    DuplicateMessage,
    E2EEError,
    LimitReached,
    MalformedMessage,
    TooManySkipped,
    UnsupportedSuite,
    UnsupportedVersion,
)
from e2ee.limits import DAY_S, Limits
from e2ee.padding import bucket
from e2ee.prekey_message import TYPE_MESSAGE, TYPE_PREKEY
from e2ee.ratchet import MESSAGE_OVERHEAD
from e2ee.session import Session
from tests.support.e2ee import NOW, meet, talk


def test_messages_are_of_type_2_until_the_first_reply_was_read() -> None:
    met = meet()
    outer = 4 + 32 + 32 + 64 + 32 + 12 + 1088
    assert len(met.first) == outer + MESSAGE_OVERHEAD + 64
    second = met.alice.encrypt(b"second", now=NOW)
    assert (second[1], second[:outer]) == (TYPE_PREKEY, met.first[:outer])
    reply = met.bob.encrypt(b"reply", now=NOW)
    assert reply[1] == TYPE_MESSAGE
    assert met.alice.decrypt(reply, now=NOW + 5) == b"reply"
    assert met.alice.acknowledged
    assert (met.alice.created, met.alice.last_used) == (int(NOW), int(NOW) + 5)
    third = met.alice.encrypt(b"third", now=NOW)
    assert third[1] == TYPE_MESSAGE
    assert met.bob.decrypt(third, now=NOW) == b"third"
    # Late, and read all the same; after it the chain that it was of leaves no key.
    assert met.bob.decrypt(second, now=NOW) == b"second"
    with pytest.raises(DecryptionFailed):
        met.bob.decrypt(second, now=NOW)
    with pytest.raises(DuplicateMessage):
        met.bob.decrypt(third, now=NOW)


def test_the_inner_message_does_not_open_alone_nor_behind_another_outer_part() -> None:
    met, other = meet(), meet()
    message = met.alice.encrypt(b"x", now=NOW)
    split = len(message) - MESSAGE_OVERHEAD - 64
    for wrong in (message[split:], other.first[:split] + message[split:]):
        with pytest.raises(DecryptionFailed):
            met.bob.decrypt(wrong, now=NOW)
    assert met.bob.decrypt(message, now=NOW) == b"x"


@pytest.mark.parametrize("kem", [False, True])
def test_every_byte_of_an_established_sessions_messages_counts(kem: bool) -> None:
    met = talk(meet(kem=kem))
    message = met.alice.encrypt(b"x", now=NOW)
    before = met.bob.to_record()
    for at in range(len(message)):
        altered = message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]
        with pytest.raises((MalformedMessage, DecryptionFailed)):
            met.bob.decrypt(altered, now=NOW)
    for length in range(len(message)):
        with pytest.raises((MalformedMessage, DecryptionFailed)):
            met.bob.decrypt(message[:length], now=NOW)
    assert met.bob.to_record() == before
    assert met.bob.decrypt(message, now=NOW) == b"x"


@pytest.mark.parametrize("message", [b"", b"\x01", b"\x02\x01", b"\x01\x03", b"\x01\x02"], ids=bytes.hex)
def test_messages_that_are_none(message: bytes) -> None:
    with pytest.raises(MalformedMessage):
        meet().bob.decrypt(message, now=NOW)


def test_content_up_to_its_limit() -> None:
    limits = Limits(max_content_bytes=1000)
    met = meet(limits=limits)
    for length in (0, 1, 999, 1000):
        message = met.alice.encrypt(b"x" * length, now=NOW)
        assert len(message) - len(met.first) == bucket(length + 1) - 64
        assert met.bob.decrypt(message, now=NOW) == b"x" * length
    before = met.alice.to_record()
    with pytest.raises(LimitReached):
        met.alice.encrypt(b"x" * 1001, now=NOW)
    assert met.alice.to_record() == before
    # What another side with a larger setting sends is refused, and its key is kept as that of a skipped message.
    larger = Session.from_record(before)
    message, following = larger.encrypt(b"x" * 1001, now=NOW), larger.encrypt(b"short", now=NOW)
    record = met.bob.to_record()
    with pytest.raises(MalformedMessage):
        met.bob.decrypt(message, now=NOW)
    assert met.bob.to_record() == record
    assert met.bob.decrypt(following, now=NOW) == b"short"
    assert met.bob.skipped_count == 1


def test_lengths_are_hidden() -> None:
    met = talk(meet())
    lengths = {len(met.alice.encrypt(b"x" * length, now=NOW)) for length in range(64)}
    assert lengths == {MESSAGE_OVERHEAD + 64}


def test_a_record_comes_back() -> None:
    met = meet()
    unacknowledged = Session.from_record(met.alice.to_record())
    assert unacknowledged.to_record() == met.alice.to_record()
    assert (unacknowledged.initiator, unacknowledged.acknowledged) == (True, False)
    assert unacknowledged.encrypt(b"x", now=NOW)[1] == TYPE_PREKEY
    assert repr(met.alice) == "Session(peer_user='bob', peer_device=1, suite=2)"
    talk(met)
    late = met.alice.encrypt(b"late", now=NOW)
    assert met.bob.decrypt(met.alice.encrypt(b"x", now=NOW), now=NOW + 9) == b"x"
    record = met.bob.to_record()
    again = Session.from_record(record, iter(met.bob.drain_changes().added))
    for name in ("peer_user", "peer_device", "peer_signing", "suite", "transcript", "base_key", "initiator", "acknowledged"):
        assert getattr(again, name) == getattr(met.bob, name)
    assert (again.created, again.last_used) == (met.bob.created, int(NOW) + 9)
    assert again.decrypt(late, now=NOW) == b"late"
    again.expire(NOW + 8 * DAY_S)
    for length in range(len(record)):
        with pytest.raises(MalformedMessage):
            Session.from_record(record[:length])
    with pytest.raises(MalformedMessage):
        Session.from_record(record)
    with pytest.raises(MalformedMessage):
        Session.from_record(met.alice.to_record() + b"\x00")
    with pytest.raises(UnsupportedVersion):
        Session.from_record(b"\x02" + record[1:])
    with pytest.raises(UnsupportedSuite):
        Session.from_record(record[:2] + b"\x03" + record[3:])


def test_skipped_keys_are_not_asked_for_where_there_are_none() -> None:
    def scan() -> Iterator[tuple[bytes, bytes]]:
        scans.append(1)
        yield from ()

    scans: list[int] = []
    met = talk(meet())
    assert Session.from_record(met.bob.to_record(), scan()).skipped_count == 0
    assert scans == []


@dataclass
class Side:
    """A session behind a store: what is in ``record`` and ``skipped`` is what survives a crash."""

    session: Session
    record: bytes = b""
    skipped: dict[bytes, bytes] = field(default_factory=dict)

    def commit(self) -> None:
        changes = self.session.drain_changes()
        for key in changes.removed:
            del self.skipped[key]
        self.skipped |= dict(changes.added)
        self.record = self.session.to_record()

    def reload(self) -> None:
        self.session = Session.from_record(self.record, self.skipped.items(), LIMITS)


def attempt(session: Session, data: bytes, now: float) -> bytes | E2EEError:
    """The content, or why there is none."""
    try:
        return session.decrypt(data, now=now)
    except E2EEError as error:
        return error


LIMITS = Limits(max_skip=10, max_skipped_stored=15, max_skipped_chains=3)


class Conversation(RuleBasedStateMachine):
    """Two sides send as they like; the network delivers any message, at any time, any number of times, or never."""

    def __init__(self) -> None:
        super().__init__()
        self.sides: list[Side] = []
        self.read: set[bytes] = set()
        self.sent = 0

    under_way = Drawn("under_way")

    @initialize(kem=st.booleans())
    def begin(self, kem: bool) -> None:
        met = meet(kem=kem, limits=LIMITS)
        self.sides = [Side(met.alice), Side(met.bob)]
        for side in self.sides:
            side.commit()

    @rule(target=under_way, side=st.integers(0, 1), count=st.integers(1, 4), length=st.integers(0, 300))
    def send(self, side: int, count: int, length: int) -> object:
        messages = []
        for _ in range(count):
            self.sent += 1
            content = self.sent.to_bytes(4, "big") + bytes(length)
            messages.append((1 - side, content, self.sides[side].session.encrypt(content, now=NOW)))
        self.sides[side].commit()
        return multiple(*messages)

    @rule(side=st.integers(0, 1), length=st.integers(0, 300))
    def crash_before_a_send_is_stored(self, side: int, length: int) -> None:
        self.sides[side].session.encrypt(bytes(length), now=NOW)
        self.sides[side].reload()

    @rule(message=under_way)
    def deliver_and_keep_for_later(self, message: tuple[int, bytes, bytes]) -> None:
        self.deliver(message)

    @rule(message=consumes(under_way))
    def deliver_once(self, message: tuple[int, bytes, bytes]) -> None:
        self.deliver(message)

    def deliver(self, message: tuple[int, bytes, bytes]) -> None:
        to, content, data = message
        side = self.sides[to]
        before, stored = side.session.to_record(), side.session.skipped_count
        outcome = attempt(side.session, data, NOW)
        if isinstance(outcome, E2EEError):
            assert (side.session.to_record(), side.session.skipped_count) == (before, stored)
            # A first delivery may only fail for what the bounds are for.
            assert data in self.read or outcome.code in {"duplicate_message", "decryption_failed", "too_many_skipped"}
        else:
            assert outcome == content
            assert data not in self.read, "a message was read twice"
            self.read.add(data)
            side.commit()

    @rule(message=consumes(under_way))
    def lose(self, message: tuple[int, bytes, bytes]) -> None:
        pass

    @rule(message=under_way)
    def crash_before_what_was_read_is_stored(self, message: tuple[int, bytes, bytes]) -> None:
        to, content, data = message
        outcome = attempt(self.sides[to].session, data, NOW)
        assert isinstance(outcome, E2EEError) or outcome == content
        self.sides[to].reload()

    @rule(message=under_way, at=st.integers(0, 10_000), flip=st.integers(1, 255))
    def tamper(self, message: tuple[int, bytes, bytes], at: int, flip: int) -> None:
        to, _, data = message
        at %= len(data)
        before = self.sides[to].session.to_record()
        with pytest.raises(E2EEError):
            self.sides[to].session.decrypt(data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :], now=NOW)
        assert self.sides[to].session.to_record() == before

    @rule(message=under_way)
    def reflect(self, message: tuple[int, bytes, bytes]) -> None:
        to, _, data = message
        with pytest.raises(E2EEError):
            self.sides[1 - to].session.decrypt(data, now=NOW)

    @rule(side=st.integers(0, 1))
    def restart(self, side: int) -> None:
        self.sides[side].reload()

    @rule()
    def both_still_understand_each_other(self) -> None:
        """However much was lost, a message that skips little is read, and so is its answer."""
        for sender, receiver in ((0, 1), (1, 0)):
            data = self.sides[sender].session.encrypt(b"still there", now=NOW + 30 * DAY_S)
            self.sides[sender].commit()
            outcome = attempt(self.sides[receiver].session, data, NOW + 30 * DAY_S)
            assert outcome == b"still there" or isinstance(outcome, TooManySkipped)
            self.sides[receiver].commit()

    @invariant()
    def bounds_hold(self) -> None:
        for side in self.sides:
            assert side.session.skipped_count <= LIMITS.max_skipped_stored
            assert len(side.skipped) == side.session.skipped_count
            assert side.record == side.session.to_record()
            assert len({key[:4] for key in side.skipped}) <= LIMITS.max_skipped_chains


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)


def test_a_conversation_in_order_reads_everything() -> None:
    met = meet()
    for turn in range(20):
        sender, receiver = (met.alice, met.bob) if turn % 2 else (met.bob, met.alice)
        for number in range(turn % 4 + 1):
            content = bytes([turn, number])
            assert receiver.decrypt(sender.encrypt(content, now=NOW), now=NOW) == content
        assert receiver.skipped_count == 0
