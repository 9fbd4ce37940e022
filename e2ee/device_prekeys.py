"""The prekeys of this device: making, renewing, finding and dropping them (the profile's section 3).

The store keeps the private halves by id. Ids come from one counter and are never used again, so a key that was handed out never
stands for another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from e2ee.encoding import u32
from e2ee.errors import LimitReached, PreKeyReplay, UnknownPreKey
from e2ee.handshake import LocalDevice, PreKeyMessage, PreKeySecrets
from e2ee.limits import SUITE_PQ, Limits
from e2ee.prekeys import KemPreKey, OneTimePreKey, SignedPreKey, make_kem_prekey, make_one_time_prekey, make_signed_prekey
from e2ee.primitives import KeyPair, Random, agreement_pair, kem_pair
from e2ee.records import (
    COUNTERS,
    KEM_LAST_PREKEYS,
    KEM_ONCE_PREKEYS,
    ONE_TIME_PREKEYS,
    SIGNED_PREKEYS,
    PreKeySecret,
    counter_record,
    read_counter,
    seen_table,
)
from e2ee.store.interface import Transaction

__all__ = ["PreKeyUpload", "accept_first", "check_unseen", "find_secrets", "refill"]

_COUNTER = b"prekey"
# Keys that the server handed out and that never came back are kept up to this multiple of those on offer: a first message may be
# under way for days, but keys that somebody only fetches must not pile up.
_KEPT_TIMES = 10
# First messages that one signed prekey accepts in its 30 days. 100 bytes each; a device that meets more is being flooded.
_MAX_SEEN = 10_000
_SEEN = b"\x01"


@dataclass(frozen=True, slots=True)
class PreKeyUpload:
    """What to give to the server now. The signed and the last-resort KEM prekey take the place of the ones there, if not None."""

    signed: SignedPreKey | None = None
    kem_last: KemPreKey | None = None
    one_time: tuple[OneTimePreKey, ...] = ()
    kem_once: tuple[KemPreKey, ...] = field(default=(), repr=False)

    def __bool__(self) -> bool:
        return self.signed is not None or self.kem_last is not None or bool(self.one_time or self.kem_once)


class _Maker:
    """Makes and stores prekeys inside of one transaction."""

    def __init__(self, tx: Transaction, local: LocalDevice, limits: Limits, random: Random, now: float) -> None:
        self._tx = tx
        self._signing = local.signing
        self._limits = limits
        self._random = random
        self._now = int(now)

    def _ids(self, count: int) -> range:
        start = read_counter(self._tx.get(COUNTERS, _COUNTER), 1)
        if start + count >= 2**32:
            raise LimitReached("all prekey ids are used up")
        self._tx.put(COUNTERS, _COUNTER, counter_record(start + count))
        return range(start, start + count)

    def _keep(self, table: str, prekey_id: int, pair: KeyPair) -> None:
        self._tx.put(table, u32(prekey_id), PreKeySecret(self._now, pair.secret).encode())

    def newest(self, table: str) -> tuple[int, PreKeySecret] | None:
        """The newest prekey of a kind that is renewed, if it is not due; those that are dead are dropped."""
        newest = None
        for key, record in self._tx.scan(table):
            secret, prekey_id = PreKeySecret.parse(record), int.from_bytes(key, "big")
            if self._now >= secret.created + self._limits.signed_prekey_lifetime_s:
                self._tx.delete(table, key)
                if table == SIGNED_PREKEYS:
                    self._tx.clear(seen_table(prekey_id))
            elif self._now < secret.created + self._limits.signed_prekey_rotation_s:
                newest = (prekey_id, secret)
        return newest

    def signed(self, *, always: bool) -> SignedPreKey | None:
        newest = self.newest(SIGNED_PREKEYS)
        if newest is None:
            (prekey_id,) = self._ids(1)
            prekey, pair = make_signed_prekey(self._signing, prekey_id, self._now, self._random)
            self._keep(SIGNED_PREKEYS, prekey_id, pair)
            return prekey
        prekey_id, secret = newest
        return make_signed_prekey(self._signing, prekey_id, secret.created, _gives(secret.seed))[0] if always else None

    def kem_last(self, *, always: bool) -> KemPreKey | None:
        newest = self.newest(KEM_LAST_PREKEYS)
        if newest is None:
            (prekey_id,) = self._ids(1)
            prekey, pair = make_kem_prekey(self._signing, prekey_id, self._now, self._random, once=False)
            self._keep(KEM_LAST_PREKEYS, prekey_id, pair)
            return prekey
        prekey_id, secret = newest
        if not always:
            return None
        return make_kem_prekey(self._signing, prekey_id, secret.created, _gives(secret.seed), once=False)[0]

    def one_time(self, count: int) -> tuple[OneTimePreKey, ...]:
        made = []
        for prekey_id in self._ids(count):
            prekey, pair = make_one_time_prekey(prekey_id, self._random)
            self._keep(ONE_TIME_PREKEYS, prekey_id, pair)
            made.append(prekey)
        self._trim(ONE_TIME_PREKEYS, self._limits.one_time_prekeys)
        return tuple(made)

    def kem_once(self, count: int) -> tuple[KemPreKey, ...]:
        made = []
        for prekey_id in self._ids(count):
            prekey, pair = make_kem_prekey(self._signing, prekey_id, self._now, self._random, once=True)
            self._keep(KEM_ONCE_PREKEYS, prekey_id, pair)
            made.append(prekey)
        self._trim(KEM_ONCE_PREKEYS, self._limits.one_time_kem_prekeys)
        return tuple(made)

    def _trim(self, table: str, on_offer: int) -> None:
        surplus = self._tx.count(table) - on_offer * _KEPT_TIMES
        if surplus > 0:
            for key, _ in self._tx.scan(table)[:surplus]:
                self._tx.delete(table, key)


def _gives(seed: bytes) -> Random:
    """A source that gives back a stored seed, so that a prekey comes out as it was; signatures are deterministic."""
    return lambda length: seed


def refill(
    tx: Transaction,
    local: LocalDevice,
    limits: Limits,
    *,
    one_time_left: int | None,
    kem_once_left: int | None,
    random: Random,
    now: float,
) -> PreKeyUpload:
    """Renew what is due and fill up what runs low; None for a count means that the server has nothing of this device at all.

    Draws in this order, of what is made: signed 32, KEM last 64, one-time 32 each, one-time KEM 64 each.
    """
    maker = _Maker(tx, local, limits, random, now)
    kem = SUITE_PQ in local.certificate.suites
    return PreKeyUpload(
        signed=maker.signed(always=one_time_left is None),
        kem_last=maker.kem_last(always=kem_once_left is None) if kem else None,
        one_time=maker.one_time(_missing(one_time_left, limits.one_time_prekeys_refill, limits.one_time_prekeys)),
        kem_once=maker.kem_once(_missing(kem_once_left, limits.one_time_kem_prekeys_refill, limits.one_time_kem_prekeys))
        if kem
        else (),
    )


def _missing(left: int | None, refill_under: int, full: int) -> int:
    left = left or 0
    return full - left if left < min(refill_under, full) else 0


def check_unseen(tx: Transaction, message: PreKeyMessage) -> None:
    """`PreKeyReplay` for a first message that was accepted before, `LimitReached` when too many were."""
    table = seen_table(message.signed_id)
    if tx.get(table, message.fingerprint) is not None:
        raise PreKeyReplay("the first message was accepted before, and its session is gone")
    if tx.count(table) >= _MAX_SEEN:
        raise LimitReached(f"one signed prekey accepts at most {_MAX_SEEN} first messages")


def find_secrets(tx: Transaction, message: PreKeyMessage, limits: Limits, *, now: float) -> PreKeySecrets:
    """The pairs that a first message names; `UnknownPreKey` where the signed one is not there or dead, None for the others."""

    def find(table: str, prekey_id: int | None, pair: Callable[[bytes], KeyPair]) -> KeyPair | None:
        record = None if prekey_id is None else tx.get(table, u32(prekey_id))
        if record is None:
            return None
        secret = PreKeySecret.parse(record)
        alive = table in (ONE_TIME_PREKEYS, KEM_ONCE_PREKEYS) or now < secret.created + limits.signed_prekey_lifetime_s
        return pair(secret.seed) if alive else None

    signed = find(SIGNED_PREKEYS, message.signed_id, agreement_pair)
    if signed is None:
        raise UnknownPreKey(f"a first message names the signed prekey {message.signed_id}, which is not there")
    one_time = find(ONE_TIME_PREKEYS, message.one_time_id, agreement_pair)
    return PreKeySecrets(signed, one_time, find(_kem_table(message), message.kem_id, kem_pair))


def accept_first(tx: Transaction, message: PreKeyMessage) -> None:
    """The session of a first message is there: its one-time keys go, and the message is remembered."""
    if message.one_time_id is not None:
        tx.delete(ONE_TIME_PREKEYS, u32(message.one_time_id))
    if message.kem_id is not None and message.kem_once:
        tx.delete(KEM_ONCE_PREKEYS, u32(message.kem_id))
    tx.put(seen_table(message.signed_id), message.fingerprint, _SEEN)


def _kem_table(message: PreKeyMessage) -> str:
    return KEM_ONCE_PREKEYS if message.kem_once else KEM_LAST_PREKEYS
