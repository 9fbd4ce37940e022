"""The ratchet alone: order, loss, bounds, ages and counters."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest

from e2ee.encoding import Reader
from e2ee.errors import (
    CounterExhausted,
    DecryptionFailed,
    DuplicateMessage,
    E2EEError,
    InvalidKey,
    MalformedMessage,
    NoSession,
    TooManySkipped,
    UnsupportedSuite,
    UnsupportedVersion,
)
from e2ee.limits import DAY_S, MAX_COUNTER, Limits
from e2ee.padding import pad
from e2ee.primitives import AESGCM, Random, agree, agreement_pair, hkdf, hmac_sha256, system_random
from e2ee.ratchet import MESSAGE_OVERHEAD, Ratchet
from tests.support.e2ee import NOW

SMALL = Limits(max_skip=5, max_skipped_stored=8)
TRANSCRIPT = bytes(range(32))


class Pair:
    """An initiator ``a`` and a responder ``b``, and a short way to send and to read."""

    def __init__(self, limits: Limits = SMALL) -> None:
        keys, signed = system_random(96), agreement_pair(system_random(32))
        self.keys, self.signed = keys, signed
        self.a = Ratchet.initiator(2, TRANSCRIPT, keys, signed.public, system_random, limits)
        self.b = Ratchet.responder(2, TRANSCRIPT, keys, signed, limits)
        self.limits = limits

    def talk(self) -> Pair:
        """Both have sent and read."""
        read(self.b, send(self.a))
        read(self.a, send(self.b))
        read(self.b, send(self.a))
        return self


def send(ratchet: Ratchet, text: bytes = b"text", random: Random = system_random) -> bytes:
    return ratchet.encrypt(pad(text), outer=b"", random=random)


def read(ratchet: Ratchet, message: bytes, now: float = NOW) -> bytes:
    return ratchet.decrypt(message, outer=b"", now=now)


def refused(ratchet: Ratchet, message: bytes, error: type[E2EEError], now: float = NOW) -> None:
    """Reading gives ``error`` and changes nothing."""
    before, stored = ratchet.to_record(), ratchet.skipped_count
    with pytest.raises(error):
        read(ratchet, message, now)
    assert ratchet.to_record() == before
    assert ratchet.skipped_count == stored
    changes = ratchet.drain_changes()
    with pytest.raises(error):
        read(ratchet, message, now)
    nothing = ratchet.drain_changes()
    assert (nothing.added, nothing.removed) == ((), ())
    assert changes is not nothing


def test_messages_in_any_order() -> None:
    pair = Pair()
    messages = [send(pair.a, bytes([number])) for number in range(6)]
    for number in (5, 0, 3, 1, 4, 2):
        assert read(pair.b, messages[number]) == pad(bytes([number]))
        refused(pair.b, messages[number], DuplicateMessage)
    assert pair.b.skipped_count == 0


def test_the_shortest_message_has_no_text() -> None:
    pair = Pair()
    message = pair.a.encrypt(b"", outer=b"", random=system_random)
    assert len(message) == MESSAGE_OVERHEAD
    assert read(pair.b, message) == b""


def test_the_responder_reads_first() -> None:
    with pytest.raises(NoSession):
        send(Pair().b)


def test_one_message_may_skip_max_skip_and_no_more() -> None:
    for talked in (False, True):
        pair = Pair().talk() if talked else Pair()
        missed = [send(pair.a) for _ in range(SMALL.max_skip)]
        last, beyond = send(pair.a), send(pair.a)
        refused(pair.b, beyond, TooManySkipped)
        read(pair.b, last)
        assert pair.b.skipped_count == SMALL.max_skip
        read(pair.b, beyond)
        for message in missed:
            read(pair.b, message)
        assert pair.b.skipped_count == 0


@pytest.mark.parametrize("talked", [False, True])
def test_a_new_chain_may_fill_the_store(talked: bool) -> None:
    """A chain that was read to its end, and one that never was, take no room."""
    limits = Limits(max_skip=5, max_skipped_stored=5)
    pair = Pair(limits).talk() if talked else Pair(limits)
    if talked:
        read(pair.a, send(pair.b))
    for _ in range(limits.max_skip):
        send(pair.a)
    read(pair.b, send(pair.a))
    assert pair.b.skipped_count == limits.max_skipped_stored


def test_a_message_that_ends_a_chain_may_skip_max_skip_of_it() -> None:
    for count, error in ((SMALL.max_skip, None), (SMALL.max_skip + 1, TooManySkipped)):
        pair = Pair().talk()
        for _ in range(count):
            send(pair.a)
        read(pair.a, send(pair.b))
        message = send(pair.a)
        if error:
            refused(pair.b, message, error)
        else:
            read(pair.b, message)
            assert pair.b.skipped_count == count


def test_both_chains_may_have_gaps_within_what_is_stored() -> None:
    for count, error in (
        (SMALL.max_skipped_stored - SMALL.max_skip, None),
        (SMALL.max_skipped_stored - SMALL.max_skip + 1, TooManySkipped),
    ):
        pair = Pair().talk()
        for _ in range(SMALL.max_skip):
            send(pair.a)
        read(pair.a, send(pair.b))
        for _ in range(count):
            send(pair.a)
        message = send(pair.a)
        if error:
            refused(pair.b, message, error)
        else:
            read(pair.b, message)
            assert pair.b.skipped_count == SMALL.max_skipped_stored


def test_no_more_keys_are_stored_than_may_be() -> None:
    pair = Pair()
    for _ in range(4):
        send(pair.a), send(pair.a)
        read(pair.b, send(pair.a))
    assert pair.b.skipped_count == SMALL.max_skipped_stored
    missed, message = send(pair.a), send(pair.a)
    refused(pair.b, message, TooManySkipped)
    read(pair.b, missed)
    read(pair.b, message)
    # Room is made by age: the refused jump works once the old keys are due to be dropped.
    send(pair.a)
    late = send(pair.a)
    refused(pair.b, late, TooManySkipped, NOW + SMALL.skipped_lifetime_s - 1)
    read(pair.b, late, NOW + SMALL.skipped_lifetime_s)
    assert pair.b.skipped_count == 1


def test_keys_live_seven_days() -> None:
    pair = Pair()
    early, late, unread = send(pair.a), send(pair.a), send(pair.a)
    read(pair.b, send(pair.a))
    read(pair.b, early, NOW + 7 * DAY_S - 1)
    refused(pair.b, late, DuplicateMessage, NOW + 7 * DAY_S)
    assert pair.b.skipped_count == 2
    pair.b.drain_changes()
    pair.b.expire(NOW + 7 * DAY_S - 1)
    assert pair.b.skipped_count == 2
    pair.b.expire(NOW + 7 * DAY_S)
    assert pair.b.skipped_count == 0
    assert len(pair.b.drain_changes().removed) == 2
    refused(pair.b, unread, DuplicateMessage)


def test_reading_a_late_message_drops_the_ones_that_are_too_old() -> None:
    pair = Pair()
    send(pair.a)
    read(pair.b, send(pair.a), NOW)
    fresh = send(pair.a)
    read(pair.b, send(pair.a), NOW + DAY_S)
    assert pair.b.skipped_count == 2
    read(pair.b, fresh, NOW + 7 * DAY_S)
    assert pair.b.skipped_count == 0


def test_keys_live_five_chains() -> None:
    pair = Pair()
    four, five = send(pair.a), send(pair.a)
    read(pair.b, send(pair.a))
    for chain in range(1, 6):
        read(pair.a, send(pair.b))
        if chain == 5:
            assert read(pair.b, four) == pad(b"text")
        read(pair.b, send(pair.a))
        assert pair.b.skipped_count == {5: 0}.get(chain, 2)
    refused(pair.b, five, DecryptionFailed)


def test_no_more_chains_are_tried_than_may_be() -> None:
    pair = Pair(Limits(max_skipped_chains=3))
    for _ in range(10):
        send(pair.a)
        read(pair.b, send(pair.a))
        read(pair.a, send(pair.b))
        assert pair.b.to_record()[-1 - 36 * min(pair.b.skipped_count, 3)] == min(pair.b.skipped_count, 3)
        assert pair.b.skipped_count <= 3


def test_every_byte_counts_in_every_state() -> None:
    pair = Pair().talk()
    skipped, next_ = send(pair.a), send(pair.a)
    in_chain = send(pair.a)
    read(pair.a, send(pair.b))
    turning = send(pair.a)
    read(pair.b, next_)
    for message in (skipped, in_chain, turning):
        before = pair.b.to_record()
        for at in range(len(message)):
            altered = message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]
            with pytest.raises((MalformedMessage, DecryptionFailed)):
                read(pair.b, altered)
        assert pair.b.to_record() == before
        read(pair.b, message)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda message: b"", MalformedMessage),
        (lambda message: message[:1], MalformedMessage),
        (lambda message: message[: MESSAGE_OVERHEAD - 1], MalformedMessage),
        (lambda message: message[:MESSAGE_OVERHEAD], DecryptionFailed),
        (lambda message: b"\x01\x01\x01" + message[3:MESSAGE_OVERHEAD], DecryptionFailed),
        (lambda message: b"\x00" + message[1:], UnsupportedVersion),
        (lambda message: b"\x01\x02" + message[2:], MalformedMessage),
        (lambda message: b"\x01\x01\x03" + message[3:], UnsupportedSuite),
        (lambda message: b"\x01\x01\x01" + message[3:], DecryptionFailed),
        (lambda message: b"\x01\x01\x02\x01" + message[4:], MalformedMessage),
        (lambda message: message + b"\x00", DecryptionFailed),
    ],
    ids=range(11),
)
def test_messages_that_are_none(change: Callable[[bytes], bytes], error: type[E2EEError]) -> None:
    pair = Pair().talk()
    message = send(pair.a)
    refused(pair.b, change(message), error)
    read(pair.b, message)


def test_what_accept_refuses_is_not_read() -> None:
    pair = Pair().talk()
    late = send(pair.a)
    in_chain = send(pair.a)
    read(pair.a, send(pair.b))
    turning = send(pair.a)

    def accept(padded: bytes) -> bytes:
        raise MalformedMessage("no")

    for message in (in_chain, turning, late):
        before = pair.b.to_record()
        with pytest.raises(MalformedMessage):
            pair.b.decrypt(message, outer=b"", now=NOW, accept=accept)
        assert pair.b.to_record() == before
        read(pair.b, message)


def crafted(pair: Pair, number: int, previous: int, ratchet_key: bytes | None = None) -> bytes:
    """A first message of chain 0 that a malicious initiator makes with the keys that both have."""
    own = agreement_pair(system_random(32))
    public = ratchet_key or own.public
    shared = bytes(32) if ratchet_key else agree(own.secret, pair.signed.public)
    chain = hkdf(pair.keys[:32], shared, b"salam/e2ee/1/root", 96)[32:64]
    nonce, prefix = system_random(12), bytes([1, 1, 2, 0])
    plain = public + previous.to_bytes(4, "big") + number.to_bytes(4, "big")
    start = prefix + nonce + AESGCM(pair.keys[32:64]).encrypt(nonce, plain, TRANSCRIPT + prefix) + nonce
    return start + AESGCM(hmac_sha256(chain, b"\x01")).encrypt(nonce, pad(b"crafted"), TRANSCRIPT + start)


def test_numbers_stay_below_two_to_the_31() -> None:
    pair = Pair()
    assert read(pair.b, crafted(pair, 0, MAX_COUNTER - 1)) == pad(b"crafted")
    for number, previous, error in (
        (MAX_COUNTER, 0, CounterExhausted),
        (0, MAX_COUNTER, CounterExhausted),
        (2**32 - 1, 2**32 - 1, CounterExhausted),
        (MAX_COUNTER - 1, 0, TooManySkipped),
    ):
        fresh = Pair()
        refused(fresh.b, crafted(fresh, number, previous), error)


@pytest.mark.parametrize("key", [b"\x01" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"])
def test_a_ratchet_key_of_small_order_is_refused(key: bytes) -> None:
    pair = Pair()
    refused(pair.b, crafted(pair, 0, 0, key), InvalidKey)


def at_number(ratchet: Ratchet, number: int) -> Ratchet:
    """The same ratchet with its sending chain at ``number``, by way of its record."""
    record = ratchet.to_record()
    at = 1 + 6 * 32 + 4 + 64
    record = record[:at] + number.to_bytes(4, "big") + record[at + 4 :]
    return Ratchet.read_record(Reader(record), 2, TRANSCRIPT, (), SMALL)


def test_a_chain_ends_before_its_counter_does() -> None:
    pair = Pair().talk()
    last = at_number(pair.a, MAX_COUNTER - 2)
    send(last)
    before = last.to_record()
    with pytest.raises(CounterExhausted):
        send(last)
    assert last.to_record() == before
    # The other side's next chain frees it, and the length that it tells still fits.
    read(last, send(pair.b))
    send(last)


def test_a_send_that_fails_changes_nothing() -> None:
    pair = Pair().talk()
    read(pair.a, send(pair.b))

    def broken(after: int) -> Random:
        left = iter(range(after))

        def random(length: int) -> bytes:
            if next(left, None) is None:
                raise OSError("no randomness")
            return system_random(length)

        return random

    for after in range(3):
        before = pair.a.to_record()
        with pytest.raises(OSError, match="no randomness"):
            send(pair.a, random=broken(after))
        assert pair.a.to_record() == before
    read(pair.b, send(pair.a, random=broken(3)))


def test_a_record_stays_small_and_of_fixed_length() -> None:
    pair = Pair(Limits())
    lengths = {len(pair.a.to_record()), len(pair.b.to_record())}
    pair.talk()
    lengths |= {len(pair.a.to_record()), len(pair.b.to_record())}
    assert lengths == {346}
    for _ in range(1000):
        send(pair.a)
    read(pair.b, send(pair.a))
    assert pair.b.skipped_count == 1000
    assert len(pair.b.to_record()) == 346 + 36


def test_what_a_ratchet_does_not_have_is_zeros_in_its_record() -> None:
    pair = Pair()
    root, header, next_header = pair.keys[:32], pair.keys[32:64], pair.keys[64:]
    own = pair.signed.secret + pair.signed.public
    assert pair.b.to_record() == b"\x00" + root + own + bytes(32) + next_header + header + bytes(4 + 72 + 68 + 9)
    flags, received = pair.a.to_record()[:1], pair.a.to_record()[-68 - 9 :]
    assert (flags, received) == (b"\x05", bytes(68 + 9))


def test_a_record_comes_back_whole() -> None:
    pair = Pair()
    late = [send(pair.a)]
    read(pair.b, send(pair.a))
    read(pair.a, send(pair.b))
    late.append(send(pair.a))
    read(pair.b, send(pair.a))
    record, changes = pair.b.to_record(), pair.b.drain_changes()
    assert (len(changes.added), changes.removed) == (2, ())

    def load(stored: tuple[tuple[bytes, bytes], ...], data: bytes = record) -> Ratchet:
        return Ratchet.read_record(Reader(data), 2, TRANSCRIPT, stored, SMALL)

    again = load(changes.added)
    assert again.to_record() == record
    assert again.drain_changes().added == ()
    for message in late:
        assert read(again, message) == pad(b"text")
    assert again.drain_changes().removed == tuple(key for key, _ in changes.added)
    key, value = changes.added[0]
    for wrong in (
        (),
        changes.added[:1],
        ((key, b"\x02" + value[1:]), changes.added[1]),
        ((key, value[:-1]), changes.added[1]),
        ((key, value + b"\x00"), changes.added[1]),
        ((b"\x00\x00\x00\x09" + key[4:], value), changes.added[1]),
    ):
        with pytest.raises(MalformedMessage):
            load(wrong)
    for length in range(len(record)):
        with pytest.raises(MalformedMessage):
            load(changes.added, record[:length])


def test_a_responder_that_has_read_nothing_comes_back_so() -> None:
    pair = Pair()
    again = Ratchet.read_record(Reader(pair.b.to_record()), 2, TRANSCRIPT, (), SMALL)
    assert again.to_record() == pair.b.to_record()
    with pytest.raises(NoSession):
        send(again)
    assert read(again, send(pair.a)) == pad(b"text")


def test_a_key_that_comes_and_goes_is_never_written() -> None:
    pair = Pair()
    late = send(pair.a)
    read(pair.b, send(pair.a))
    read(pair.b, late)
    changes = pair.b.drain_changes()
    assert (changes.added, changes.removed) == ((), ())


def test_secrets_are_not_pickled() -> None:
    pair = Pair().talk()
    for holder in (pair.a, pair.a.drain_changes()):
        assert "key" not in repr(holder).lower()
        with pytest.raises(TypeError, match="neither pickled nor copied"):
            pickle.dumps(holder)
