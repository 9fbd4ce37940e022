"""One sender key: order, bounds, tampering, and what a failure leaves behind."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ee.errors import (
    BadSignature,
    CounterExhausted,
    DecryptionFailed,
    DuplicateMessage,
    E2EEError,
    MalformedMessage,
    TooManySkipped,
    UnsupportedVersion,
)
from e2ee.limits import DAY_S, DEFAULT_LIMITS, MAX_COUNTER, Limits
from e2ee.padding import pad
from e2ee.primitives import sign, signing_pair
from e2ee.sender_keys import GroupMessage, ReceivingKey, SendingKey, read_skipped, skipped_record
from e2ee.skipped import SkippedKey
from tests.support.group_parties import counted_random

GROUP_ID, BINDING, NOW = bytes(16), b"what both sides know", 1_700_000_000.5


class Pair:
    """A sender and one receiver."""

    def __init__(self, *, iteration: int = 0) -> None:
        self.random = counted_random("pair")
        pair = signing_pair(self.random(32))
        chain_key = self.random(32)
        self.sending = SendingKey(bytes(8), chain_key, pair, iteration=iteration, created=int(NOW))
        self.receiving = ReceivingKey(bytes(8), chain_key, pair.public, iteration=iteration, epoch=0, account=None, serial=1)

    def send(self, content: bytes, *, padded: bytes | None = None, binding: bytes = BINDING) -> bytes:
        plain = pad(content) if padded is None else padded
        return self.sending.encrypt(plain, group_id=GROUP_ID, epoch=3, binding=binding, random=self.random)

    def read(self, message: bytes, *, now: float = NOW, limits: Limits = DEFAULT_LIMITS) -> bytes:
        return self.receiving.open(GroupMessage.parse(message), binding=BINDING, now=now, limits=limits).content

    def state(self) -> tuple[bytes, list[tuple[int, bytes]]]:
        return self.receiving.to_record(), [(number, skipped_record(key)) for number, key in self.receiving.skipped.items()]


@given(st.permutations(range(8)))
@settings(max_examples=40, deadline=None)
def test_every_order_is_read_once(order: list[int]) -> None:
    pair = Pair()
    messages = [pair.send(bytes([number])) for number in range(8)]
    for number in order:
        assert pair.read(messages[number]) == bytes([number])
    assert not pair.receiving.skipped
    for message in messages:
        with pytest.raises(DuplicateMessage):
            pair.read(message)


def test_a_thousand_may_be_missing_and_no_more() -> None:
    pair = Pair()
    messages = [pair.send(b"") for _ in range(1_002)]
    before = pair.state()
    with pytest.raises(TooManySkipped):
        pair.read(messages[1_001])
    assert pair.state() == before
    pair.read(messages[1_000])
    assert len(pair.receiving.skipped) == 1_000


def test_two_thousand_keys_are_stored_and_no_more() -> None:
    pair = Pair()
    messages = [pair.send(b"") for _ in range(2_005)]
    pair.read(messages[1_000])
    pair.read(messages[2_001])
    assert len(pair.receiving.skipped) == 2_000
    pair.read(messages[2_002])
    with pytest.raises(TooManySkipped):
        pair.read(messages[2_004])
    pair.read(messages[5])
    pair.read(messages[2_004])
    assert len(pair.receiving.skipped) == 2_000


def test_skipped_keys_age() -> None:
    pair = Pair()
    messages = [pair.send(b"") for _ in range(6)]
    pair.read(messages[2], now=NOW)
    pair.read(messages[4], now=NOW + DAY_S)
    pair.read(messages[0], now=int(NOW) + 7 * DAY_S - 1)
    with pytest.raises(DuplicateMessage):
        pair.read(messages[1], now=int(NOW) + 7 * DAY_S)
    assert list(pair.receiving.skipped) == [1, 3]
    pair.read(messages[5], now=int(NOW) + 7 * DAY_S)
    assert list(pair.receiving.skipped) == [3]
    pair.read(messages[3], now=int(NOW) + 7 * DAY_S)


def test_old_keys_make_room() -> None:
    limits = Limits(max_skip=3, max_skipped_stored=3)
    pair = Pair()
    messages = [pair.send(b"") for _ in range(8)]
    pair.read(messages[3], limits=limits)
    with pytest.raises(TooManySkipped):
        pair.read(messages[5], limits=limits)
    pair.read(messages[5], now=NOW + 8 * DAY_S, limits=limits)
    assert list(pair.receiving.skipped) == [4]


def test_every_flipped_bit_is_refused_and_changes_nothing() -> None:
    pair = Pair()
    early, message = pair.send(b"early"), pair.send(b"whole")
    before = pair.state()
    for position in range(len(message)):
        for bit in (0x01, 0x80):
            flipped = bytearray(message)
            flipped[position] ^= bit
            with pytest.raises(E2EEError) as raised:
                pair.read(bytes(flipped))
            assert isinstance(raised.value, MalformedMessage if position < 4 else BadSignature)
            assert pair.state() == before
    assert pair.read(message) == b"whole"
    assert pair.read(early) == b"early"


def test_every_flipped_bit_of_a_late_message_is_refused() -> None:
    pair = Pair()
    late = pair.send(b"late")
    pair.read(pair.send(b"first"))
    before = pair.state()
    for position in range(4, len(late)):
        flipped = bytearray(late)
        flipped[position] ^= 0x10
        with pytest.raises(BadSignature):
            pair.read(bytes(flipped))
        assert pair.state() == before
    assert pair.read(late) == b"late"


def test_a_truncated_message_is_malformed() -> None:
    pair = Pair()
    message = pair.send(b"x")
    for end in range(48 + 16 + 64):
        with pytest.raises(MalformedMessage):
            GroupMessage.parse(message[:end])
    with pytest.raises(BadSignature):
        pair.read(message[:-1])
    shortest = GroupMessage.parse(message[:48] + bytes(16 + 64))
    assert (shortest.sealed, shortest.signature) == (bytes(16), bytes(64))


def test_a_signed_message_that_does_not_open_moves_nothing() -> None:
    """Only the owner of the signing key can make one, yet it must not shift the chain."""
    pair = Pair()
    other = Pair()
    other.sending = SendingKey(bytes(8), bytes(32), signing_pair(counted_random("pair")(32)), iteration=0, created=0)
    messages = [other.send(b"") for _ in range(3)]
    before = pair.state()
    for message in messages:
        with pytest.raises(DecryptionFailed):
            pair.read(message)
        assert pair.state() == before
    pair.send(b"")
    pair.read(pair.send(b""))
    with pytest.raises(DecryptionFailed):
        pair.read(messages[0])
    assert list(pair.receiving.skipped) == [0]


def test_another_padding_is_found_after_the_tag() -> None:
    pair = Pair()
    for padded in (b"", bytes(64), b"x" + b"\x80" + bytes(126)):
        before = pair.state()
        message = pair.send(b"", padded=padded)
        with pytest.raises(MalformedMessage, match="padding"):
            pair.read(message)
        assert pair.state() == before


def test_a_message_is_bound_to_what_both_know() -> None:
    pair = Pair()
    with pytest.raises(BadSignature):
        pair.read(pair.send(b"", binding=b"something else"))


def test_a_chain_ends() -> None:
    pair = Pair(iteration=MAX_COUNTER - 1)
    assert pair.read(pair.send(b"the last")) == b"the last"
    with pytest.raises(CounterExhausted):
        pair.send(b"one more")
    past = Pair(iteration=0)
    past.sending = SendingKey(bytes(8), bytes(32), signing_pair(counted_random("pair")(32)), iteration=0, created=0)
    message = bytearray(past.send(b""))
    body = bytes(message[:32]) + MAX_COUNTER.to_bytes(4, "big") + bytes(message[36:-64])
    forged = body + sign(signing_pair(counted_random("pair")(32)), "group-msg", body + BINDING)
    with pytest.raises(CounterExhausted):
        past.read(forged)


def test_a_key_wears_out() -> None:
    sending = SendingKey.make(random=counted_random("worn"), now=NOW)
    limits = Limits(sender_key_max_messages=2)
    for _ in range(2):
        assert not sending.worn(now=NOW, limits=limits)
        sending.encrypt(pad(b""), group_id=GROUP_ID, epoch=0, binding=b"", random=counted_random("nonce"))
    assert sending.worn(now=NOW, limits=limits)
    assert not sending.worn(now=int(NOW) + 7 * DAY_S - 1, limits=DEFAULT_LIMITS)
    assert sending.worn(now=int(NOW) + 7 * DAY_S, limits=DEFAULT_LIMITS)
    assert (DEFAULT_LIMITS.sender_key_max_messages, DEFAULT_LIMITS.sender_key_lifetime_s) == (1_000, 7 * DAY_S)


def test_records_bring_both_sides_back() -> None:
    pair = Pair()
    messages = [pair.send(bytes([number])) for number in range(5)]
    pair.read(messages[3], now=NOW + 5)
    pair.read(messages[1], now=NOW)
    record, skipped = pair.state()
    again = ReceivingKey.from_record(record)
    again.restore_skipped({number: read_skipped(stored) for number, stored in reversed(skipped)})
    assert list(again.skipped) == [0, 2]
    pair.receiving = again
    assert pair.state() == (record, skipped)
    pair.sending = SendingKey.from_record(pair.sending.to_record())
    assert pair.read(pair.send(b"later")) == b"later"
    assert pair.read(messages[0]) == b"\x00"
    owned = ReceivingKey(bytes(8), bytes(32), bytes(32), iteration=1, epoch=2, account=bytes(32), serial=3)
    assert ReceivingKey.from_record(owned.to_record()).to_record() == owned.to_record()


def test_restored_keys_are_in_the_order_of_their_age() -> None:
    """A clock that was set back gives a later key an earlier time."""
    pair = Pair()
    pair.receiving.restore_skipped({0: SkippedKey(bytes(32), 20), 2: SkippedKey(bytes(32), 20), 1: SkippedKey(bytes(32), 10)})
    assert list(pair.receiving.skipped) == [1, 0, 2]


def test_records_have_a_fixed_layout() -> None:
    """Stores of this version must be read by every later one."""
    key_id, chain_key, pair = b"kkkkkkkk", b"c" * 32, signing_pair(b"s" * 32)
    sending = SendingKey(key_id, chain_key, pair, iteration=0x01020304, created=0x0102030405060708)
    assert sending.to_record() == b"\x01" + key_id + bytes([1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8]) + chain_key + b"s" * 32
    numbers = bytes([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3])
    for account, end in ((None, b"\x00"), (b"a" * 32, b"\x01" + b"a" * 32)):
        key = ReceivingKey(key_id, chain_key, pair.public, iteration=1, epoch=2, account=account, serial=3)
        assert key.to_record() == b"\x01" + key_id + numbers + chain_key + pair.public + end
    assert skipped_record(SkippedKey(b"m" * 32, 5)) == b"\x01" + bytes(7) + b"\x05" + b"m" * 32


def test_a_damaged_record_is_malformed() -> None:
    pair = Pair()
    pair.send(b"")
    pair.read(pair.send(b""))
    skipped = skipped_record(pair.receiving.skipped[0])
    for record, parse in (
        (pair.sending.to_record(), SendingKey.from_record),
        (pair.receiving.to_record(), ReceivingKey.from_record),
        (skipped, read_skipped),
    ):
        for damaged in [*(record[:end] for end in range(len(record))), record + b"\x00"]:
            with pytest.raises(MalformedMessage):
                parse(damaged)
        with pytest.raises(UnsupportedVersion):
            parse(b"\x02" + record[1:])


def test_no_secret_is_shown_or_pickled() -> None:
    pair = Pair()
    message = pair.send(b"a very secret text")
    pair.send(b"")
    opened = pair.receiving.open(GroupMessage.parse(pair.send(b"")), binding=BINDING, now=NOW, limits=DEFAULT_LIMITS)
    first = pair.receiving.open(GroupMessage.parse(message), binding=BINDING, now=NOW, limits=DEFAULT_LIMITS)
    assert "secret" not in repr(first)
    assert (repr(opened), list(opened.kept)) == ("Opened(dropped=())", [0, 1])
    for secret in (pair.sending, pair.receiving, pair.receiving.skipped[1]):
        assert "\\x" not in repr(secret)
        with pytest.raises(TypeError):
            pickle.dumps(secret)


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_the_parser_raises_one_type(data: bytes) -> None:
    for candidate in (data, b"\x01\x03\x01\x00" + data):
        try:
            parsed = GroupMessage.parse(candidate)
        except MalformedMessage:
            continue
        assert parsed.head + parsed.sealed + parsed.signature == candidate
