"""The Double Ratchet with header encryption (the profile's section 5; Double Ratchet revision 4, section 4).

Both directions work in locals and store the outcome at the end, so that an exception at any point leaves the ratchet as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cryptography.exceptions import InvalidTag

from e2ee.encoding import Reader, u8, u32
from e2ee.errors import (
    CounterExhausted,
    DecryptionFailed,
    DuplicateMessage,
    MalformedMessage,
    NoSession,
    TooManySkipped,
)
from e2ee.limits import DEFAULT_LIMITS, MAX_COUNTER, Limits
from e2ee.prekey_message import TYPE_MESSAGE, VERSION, check_suite, message_type
from e2ee.primitives import (
    AESGCM,
    KEY_BYTES,
    NONCE_BYTES,
    PREFIX,
    TAG_BYTES,
    KeyPair,
    NoPickle,
    Random,
    agree,
    agreement_pair,
    hkdf,
    hmac_pair,
)
from e2ee.skipped import HeaderKey, SkippedChanges, SkippedKey, SkippedKeys

__all__ = ["MESSAGE_OVERHEAD", "Ratchet"]

_ROOT = PREFIX + b"root"
_MESSAGE_STEP = b"\x01"
_CHAIN_STEP = b"\x02"
_PREFIX_BYTES = 4
_HEADER_BYTES = KEY_BYTES + 4 + 4
# Where the parts of a message end: prefix, header nonce, sealed header, body nonce.
_HEADER_NONCE_END = _PREFIX_BYTES + NONCE_BYTES
_HEADER_END = _HEADER_NONCE_END + _HEADER_BYTES + TAG_BYTES
_NONCE_END = _HEADER_END + NONCE_BYTES
MESSAGE_OVERHEAD = _NONCE_END + TAG_BYTES
# What of a stored ratchet is there; what is not, is zeros.
_HAS_SENDING, _HAS_RECEIVING, _HAS_REMOTE = 1, 2, 4


def _root_step(root: bytes, secret: bytes, remote: bytes) -> tuple[bytes, bytes, HeaderKey]:
    """The next root key, a chain key and the header key after the next; `InvalidKey` for a remote key of small order."""
    keys = hkdf(root, agree(secret, remote), _ROOT, 3 * KEY_BYTES)
    return keys[:KEY_BYTES], keys[KEY_BYTES : 2 * KEY_BYTES], HeaderKey(keys[2 * KEY_BYTES :])


def _skip(chain: bytes, start: int, end: int, now: float) -> tuple[bytes, list[tuple[int, SkippedKey]]]:
    """The chain key at ``end`` and the message keys on the way there."""
    keys: list[tuple[int, SkippedKey]] = []
    added = int(now)
    for number in range(start, end):
        message_key, chain = hmac_pair(chain, _MESSAGE_STEP, _CHAIN_STEP)
        keys.append((number, SkippedKey(message_key, added)))
    return chain, keys


class _Sending(NoPickle):
    """A sending chain: its key, the number of the next message, and the length of the chain before it (PN)."""

    __slots__ = ("chain", "header", "number", "previous")

    def __init__(self, chain: bytes, header: HeaderKey, number: int, previous: int) -> None:
        self.chain = chain
        self.header = header
        self.number = number
        self.previous = previous


class _Receiving(NoPickle):
    """A receiving chain: its key, and the number of the next message."""

    __slots__ = ("chain", "header", "number")

    def __init__(self, chain: bytes, header: HeaderKey, number: int) -> None:
        self.chain = chain
        self.header = header
        self.number = number


class Ratchet(NoPickle):
    """One session's keys. Made by `initiator`, `responder` or `from_record`; not for two threads at once."""

    __slots__ = (
        "_aad",
        "_limits",
        "_next_receive_header",
        "_next_send_header",
        "_own",
        "_prefix",
        "_previous",
        "_receiving",
        "_remote",
        "_root",
        "_sending",
        "_skipped",
        "_step",
        "_transcript",
    )

    def __init__(
        self,
        *,
        suite: int,
        transcript: bytes,
        root: bytes,
        own: KeyPair,
        remote: bytes | None,
        next_send_header: HeaderKey,
        next_receive_header: HeaderKey,
        limits: Limits,
        sending: _Sending | None = None,
        previous: int = 0,
        receiving: _Receiving | None = None,
        step: int = 0,
        skipped: SkippedKeys | None = None,
    ) -> None:
        self._prefix = bytes((VERSION, TYPE_MESSAGE, suite, 0))
        self._transcript = transcript
        self._aad = transcript + self._prefix
        self._limits = limits
        self._root = root
        self._own = own
        self._remote = remote  # None: the responder, which has read nothing yet.
        self._sending = sending  # None: a new pair is due at the next send.
        self._previous = previous  # The length of the last sending chain, where there is none now.
        self._receiving = receiving
        self._next_send_header = next_send_header
        self._next_receive_header = next_receive_header
        self._step = step  # How many receiving chains there have been.
        self._skipped = SkippedKeys() if skipped is None else skipped

    @classmethod
    def initiator(
        cls, suite: int, transcript: bytes, keys: bytes, remote: bytes, random: Random, limits: Limits = DEFAULT_LIMITS
    ) -> Ratchet:
        """The side that sends first. ``keys`` are RK, HK and NHK of the handshake; draws its first pair (32 bytes)."""
        own = agreement_pair(random(KEY_BYTES))
        root, chain, next_header = _root_step(keys[:KEY_BYTES], own.secret, remote)
        return cls(
            suite=suite,
            transcript=transcript,
            root=root,
            own=own,
            remote=remote,
            next_send_header=next_header,
            next_receive_header=HeaderKey(keys[2 * KEY_BYTES :]),
            limits=limits,
            sending=_Sending(chain, HeaderKey(keys[KEY_BYTES : 2 * KEY_BYTES]), 0, 0),
        )

    @classmethod
    def responder(cls, suite: int, transcript: bytes, keys: bytes, own: KeyPair, limits: Limits = DEFAULT_LIMITS) -> Ratchet:
        """The side that reads first, whose first pair is its signed prekey. ``keys`` are RK, HK and NHK of the handshake."""
        return cls(
            suite=suite,
            transcript=transcript,
            root=keys[:KEY_BYTES],
            own=own,
            remote=None,
            next_send_header=HeaderKey(keys[2 * KEY_BYTES :]),
            next_receive_header=HeaderKey(keys[KEY_BYTES : 2 * KEY_BYTES]),
            limits=limits,
        )

    @property
    def skipped_count(self) -> int:
        """How many skipped keys are stored."""
        return len(self._skipped)

    def drain_changes(self) -> SkippedChanges:
        """Which skipped keys a store must write and delete since the last call."""
        return self._skipped.drain_changes()

    def expire(self, now: float) -> None:
        """Drop the skipped keys that are too old; reading does so too."""
        self._skipped.purge(self._step, now, self._limits)

    def encrypt(self, padded: bytes, *, outer: bytes, random: Random) -> bytes:
        """One message of type 1, which is to stand behind ``outer``.

        Draws 32 bytes if a new pair is due, then two nonces of 12. Raises `CounterExhausted` at the end of a chain, and `NoSession`
        on the responder's side before it has read anything.
        """
        sending = self._sending
        if sending is None:
            own, root, sending, next_header = self._turn_to_send(random)
        else:
            own, root, next_header = self._own, self._root, self._next_send_header
        number = sending.number
        # One less than the limit, so that the length of the chain, which the next one tells as PN, stays below it too.
        if number >= MAX_COUNTER - 1:
            raise CounterExhausted("a sending chain has reached its last message")
        nonce = random(NONCE_BYTES)
        plain = own.public + sending.previous.to_bytes(4, "big") + number.to_bytes(4, "big")
        start = self._prefix + nonce + sending.header.cipher.encrypt(nonce, plain, self._aad)
        nonce = random(NONCE_BYTES)
        start += nonce
        message_key, chain = hmac_pair(sending.chain, _MESSAGE_STEP, _CHAIN_STEP)
        body = AESGCM(message_key).encrypt(nonce, padded, self._transcript + outer + start)
        sending.chain, sending.number = chain, number + 1
        self._own, self._root, self._sending, self._next_send_header = own, root, sending, next_header
        return start + body

    def _turn_to_send(self, random: Random) -> tuple[KeyPair, bytes, _Sending, HeaderKey]:
        if self._remote is None:
            raise NoSession("the first message of the other side has not been read yet")
        own = agreement_pair(random(KEY_BYTES))
        root, chain, next_header = _root_step(self._root, own.secret, self._remote)
        return own, root, _Sending(chain, self._next_send_header, 0, self._previous), next_header

    def decrypt(self, message: bytes, *, outer: bytes, now: float, accept: Callable[[bytes], bytes] = bytes) -> bytes:
        """What ``accept`` makes of the padded plaintext of a message of type 1 that stood behind ``outer``.

        ``accept`` is called after the tag was checked and before anything is stored; if it raises, nothing is. ``now`` is in Unix
        seconds. Raises `MalformedMessage`, `DecryptionFailed`, `DuplicateMessage`, `TooManySkipped`, `CounterExhausted` or
        `InvalidKey`.
        """
        self._check_layout(message)
        step, header = self._open_header(message[_PREFIX_BYTES:_HEADER_NONCE_END], message[_HEADER_NONCE_END:_HEADER_END])
        previous, number = int.from_bytes(header[32:36], "big"), int.from_bytes(header[36:], "big")
        if number >= MAX_COUNTER or previous >= MAX_COUNTER:
            raise CounterExhausted("a message has a number that no chain reaches")
        receiving = self._receiving
        if step > self._step:
            return self._decrypt_turning(message, outer, now, accept, header[:KEY_BYTES], previous, number)
        if receiving is None or step < self._step or number < receiving.number:
            return self._decrypt_skipped(message, outer, now, accept, step, number)
        chain, ahead = receiving.chain, number - receiving.number
        skipped: list[tuple[int, SkippedKey]] = []
        if ahead:
            self._check_room(ahead, 0, step, now)
            chain, skipped = _skip(chain, receiving.number, number, now)
        message_key, chain = hmac_pair(chain, _MESSAGE_STEP, _CHAIN_STEP)
        content = accept(self._open_body(message_key, message, outer))
        receiving.chain, receiving.number = chain, number + 1
        if skipped:
            self._skipped.add(step, receiving.header, skipped)
        if self._skipped:
            self._skipped.purge(step, now, self._limits)
        return content

    def _decrypt_skipped(
        self, message: bytes, outer: bytes, now: float, accept: Callable[[bytes], bytes], step: int, number: int
    ) -> bytes:
        key = self._skipped.get(step, number)
        if key is None or (step, number) in self._skipped.stale(self._step, now, self._limits):
            raise DuplicateMessage("a message was read before, or its key is gone")
        content = accept(self._open_body(key.message_key, message, outer))
        self._skipped.remove(step, number)
        self._skipped.purge(self._step, now, self._limits)
        return content

    def _decrypt_turning(
        self,
        message: bytes,
        outer: bytes,
        now: float,
        accept: Callable[[bytes], bytes],
        remote: bytes,
        previous: int,
        number: int,
    ) -> bytes:
        ended, step = self._receiving, self._step + 1
        left = 0 if ended is None else max(previous - ended.number, 0)
        if left or number:
            self._check_room(number, left, step, now)
        root, chain, next_header = _root_step(self._root, self._own.secret, remote)
        chain, skipped = _skip(chain, 0, number, now)
        message_key, chain = hmac_pair(chain, _MESSAGE_STEP, _CHAIN_STEP)
        content = accept(self._open_body(message_key, message, outer))
        if ended is not None and left:
            self._skipped.add(self._step, ended.header, _skip(ended.chain, ended.number, previous, now)[1])
        header, self._next_receive_header = self._next_receive_header, next_header
        if skipped:
            self._skipped.add(step, header, skipped)
        self._receiving = _Receiving(chain, header, number + 1)
        self._root, self._remote, self._step = root, remote, step
        if self._sending is not None:
            self._previous, self._sending = self._sending.number, None
        if self._skipped:
            self._skipped.purge(step, now, self._limits)
        return content

    def _check_layout(self, message: bytes) -> None:
        if len(message) >= MESSAGE_OVERHEAD and message[:_PREFIX_BYTES] == self._prefix:
            return
        if message_type(message) != TYPE_MESSAGE:
            raise MalformedMessage(f"a message has type {message[1]}, which no session reads")
        if len(message) < MESSAGE_OVERHEAD:
            raise MalformedMessage(f"a message has {len(message)} bytes; it has at least {MESSAGE_OVERHEAD}")
        check_suite(message[2])
        if message[3]:
            raise MalformedMessage("a message has flags that the profile does not know")
        raise DecryptionFailed("a message is of another suite than its session")

    def _open_header(self, nonce: bytes, sealed: bytes) -> tuple[int, bytes]:
        """The chain that a header belongs to, and the header: chains with skipped keys first, then the present and the next one."""
        aad, step = self._aad, self._step
        candidates = [(past, key) for past, key in self._skipped.chains() if past != step] if self._skipped else []
        following = (step + 1, self._next_receive_header)
        if self._receiving is None:
            candidates.append(following)
        elif self._sending is None:
            # The other side cannot have turned to a key that it was not sent.
            candidates += ((step, self._receiving.header), following)
        else:
            candidates += (following, (step, self._receiving.header))
        for found, header_key in candidates:
            try:
                return found, header_key.cipher.decrypt(nonce, sealed, aad)
            except InvalidTag:
                pass
        raise DecryptionFailed("no key of the session opens the message")

    def _open_body(self, message_key: bytes, message: bytes, outer: bytes) -> bytes:
        aad = self._transcript + outer + message[:_NONCE_END]
        try:
            return AESGCM(message_key).decrypt(message[_HEADER_END:_NONCE_END], message[_NONCE_END:], aad)
        except InvalidTag:
            raise DecryptionFailed("no key of the session opens the message") from None

    def _check_room(self, ahead: int, left: int, step: int, now: float) -> None:
        """`TooManySkipped` where one chain would jump too far, or more keys would be stored than may be."""
        limits = self._limits
        if max(ahead, left) > limits.max_skip:
            raise TooManySkipped(f"a message skips {max(ahead, left)} others; it may skip {limits.max_skip} (max_skip)")
        stored = len(self._skipped) - len(self._skipped.stale(step, now, limits)) + ahead + left
        if stored > limits.max_skipped_stored:
            raise TooManySkipped(f"{stored} skipped keys; {limits.max_skipped_stored} may be stored (max_skipped_stored)")

    def to_record(self) -> bytes:
        """All but the skipped keys themselves: 346 bytes, and 36 for each chain that has some."""
        sending, receiving = self._sending, self._receiving
        flags = (
            _HAS_SENDING * (sending is not None)
            | _HAS_RECEIVING * (receiving is not None)
            | _HAS_REMOTE * (self._remote is not None)
        )
        none = bytes(KEY_BYTES)
        parts = [u8(flags), self._root, self._own.secret, self._own.public, self._remote or none]
        parts += [self._next_send_header.key, self._next_receive_header.key, u32(self._previous)]
        if sending is None:
            parts += [none, none, u32(0), u32(0)]
        else:
            parts += [sending.chain, sending.header.key, u32(sending.number), u32(sending.previous)]
        if receiving is None:
            parts += [none, none, u32(0)]
        else:
            parts += [receiving.chain, receiving.header.key, u32(receiving.number)]
        chains = [u32(step) + header.key for step, header in self._skipped.chains()]
        return b"".join([*parts, u32(self._step), u32(len(self._skipped)), u8(len(chains)), *chains])

    @classmethod
    def read_record(
        cls, reader: Reader, suite: int, transcript: bytes, skipped: Iterable[tuple[bytes, bytes]], limits: Limits
    ) -> Ratchet:
        """Take back what `to_record` gave; ``skipped`` is only looked at where the record says that there are skipped keys.

        Raises `MalformedMessage` for a record, or a set of skipped keys, that is not what was written.
        """
        flags = reader.u8()
        root, own = reader.take(KEY_BYTES), KeyPair(reader.take(KEY_BYTES), reader.take(KEY_BYTES))
        remote, next_send, next_receive = (
            reader.take(KEY_BYTES),
            HeaderKey(reader.take(KEY_BYTES)),
            HeaderKey(reader.take(KEY_BYTES)),
        )
        previous = reader.u32()
        sending = _Sending(reader.take(KEY_BYTES), HeaderKey(reader.take(KEY_BYTES)), reader.u32(), reader.u32())
        receiving = _Receiving(reader.take(KEY_BYTES), HeaderKey(reader.take(KEY_BYTES)), reader.u32())
        step, count = reader.u32(), reader.u32()
        headers = {reader.u32(): HeaderKey(reader.take(KEY_BYTES)) for _ in range(reader.u8())}
        kept = SkippedKeys.load(headers, skipped if count else ())
        if len(kept) != count:
            raise MalformedMessage("the stored skipped keys are not those of the session")
        return cls(
            suite=suite,
            transcript=transcript,
            root=root,
            own=own,
            remote=remote if flags & _HAS_REMOTE else None,
            next_send_header=next_send,
            next_receive_header=next_receive,
            limits=limits,
            sending=sending if flags & _HAS_SENDING else None,
            previous=previous,
            receiving=receiving if flags & _HAS_RECEIVING else None,
            step=step,
            skipped=kept,
        )
