"""A session with one device of somebody: what a handshake made, padding, and the ratchet (the profile's sections 4 to 6)."""

from __future__ import annotations

from collections.abc import Iterable

from e2ee.encoding import Reader, lp, u8, u32, u64, user_bytes
from e2ee.errors import DecryptionFailed, LimitReached, MalformedMessage, UnsupportedVersion
from e2ee.limits import DEFAULT_LIMITS, Limits
from e2ee.padding import pad, unpad
from e2ee.prekey_message import TYPE_PREKEY, PreKeyMessage, check_suite, message_type
from e2ee.primitives import KEY_BYTES, NoPickle, Random, system_random
from e2ee.ratchet import Ratchet
from e2ee.skipped import SkippedChanges

__all__ = ["Session"]

_RECORD_VERSION = 1


class Session(NoPickle):
    """The state shared with one device. Made by `handshake.initiate`, `handshake.respond` or `from_record`.

    ``transcript`` is T of the handshake; of two sessions with the same device the one whose transcript is lower is used to send.
    ``base_key`` is the initiator's EK, by which a responder knows the first messages of this session. ``acknowledged`` is False
    on the initiator's side until it has read something. ``created`` and ``last_used`` (last read) are in whole Unix seconds.
    Not for two threads at once. Any exception leaves the session as it was.
    """

    __slots__ = (
        "_limits",
        "_outer",
        "_ratchet",
        "acknowledged",
        "base_key",
        "created",
        "initiator",
        "last_used",
        "peer_device",
        "peer_signing",
        "peer_user",
        "suite",
        "transcript",
    )

    def __init__(
        self,
        *,
        peer_user: str,
        peer_device: int,
        peer_signing: bytes,
        suite: int,
        transcript: bytes,
        base_key: bytes,
        initiator: bool,
        created: int,
        ratchet: Ratchet,
        outer: bytes = b"",
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.peer_user = peer_user
        self.peer_device = peer_device
        self.peer_signing = peer_signing
        self.suite = suite
        self.transcript = transcript
        self.base_key = base_key
        self.initiator = initiator
        self.acknowledged = not outer
        self.created = created
        self.last_used = created
        self._ratchet = ratchet
        self._outer = outer
        self._limits = limits

    def __repr__(self) -> str:
        return f"Session(peer_user={self.peer_user!r}, peer_device={self.peer_device}, suite={self.suite})"

    @property
    def skipped_count(self) -> int:
        """How many keys of skipped messages are stored."""
        return self._ratchet.skipped_count

    def encrypt(self, content: bytes, *, random: Random = system_random, now: float) -> bytes:
        """Pad and encrypt; a message of type 2 until the other side's first reply was read, then of type 1.

        The session has moved: store it before the message goes out. ``now`` is in Unix seconds. Raises `LimitReached` for content
        above max_content_bytes, `CounterExhausted` at the end of a chain, `NoSession` before a responder has read anything.
        """
        if len(content) > self._limits.max_content_bytes:
            raise LimitReached(
                f"content has {len(content)} bytes; {self._limits.max_content_bytes} are allowed (max_content_bytes)"
            )
        outer = self._outer
        message = self._ratchet.encrypt(pad(content), outer=outer, random=random)
        return outer + message if outer else message

    def decrypt(self, message: bytes, *, now: float) -> bytes:
        """The content of a message of type 1, or of type 2 with this session's base key.

        The session has moved: store it before the content is shown. ``now`` is in Unix seconds. Raises `MalformedMessage`,
        `DecryptionFailed`, `DuplicateMessage`, `TooManySkipped`, `CounterExhausted` or `InvalidKey`.
        """
        outer = b""
        if message_type(message) == TYPE_PREKEY:
            first = PreKeyMessage.parse(message)
            if first.base_key != self.base_key:
                raise DecryptionFailed("a first message belongs to another session")
            outer, message = first.outer, first.inner
        content = self._ratchet.decrypt(message, outer=outer, now=now, accept=self._accept)
        self.acknowledged = True
        self._outer = b""
        self.last_used = int(now)
        return content

    def _accept(self, padded: bytes) -> bytes:
        content = unpad(padded)
        if len(content) > self._limits.max_content_bytes:
            raise MalformedMessage(
                f"content has {len(content)} bytes; {self._limits.max_content_bytes} are allowed (max_content_bytes)"
            )
        return content

    def expire(self, now: float) -> None:
        """Drop keys of skipped messages that are too old, where nothing has been read for long."""
        self._ratchet.expire(now)

    def drain_changes(self) -> SkippedChanges:
        """Which skipped keys to write and delete beside the record, since the last call or since loading."""
        return self._ratchet.drain_changes()

    def to_record(self) -> bytes:
        """The session without its skipped keys: of fixed length but for the user id and, until acknowledged, the outer part."""
        head = u8(_RECORD_VERSION) + u8(self.initiator) + u8(self.suite) + lp(user_bytes(self.peer_user)) + u32(self.peer_device)
        keys = self.peer_signing + self.transcript + self.base_key
        return head + keys + u64(self.created) + u64(self.last_used) + lp(self._outer) + self._ratchet.to_record()

    @classmethod
    def from_record(cls, record: bytes, skipped: Iterable[tuple[bytes, bytes]] = (), limits: Limits = DEFAULT_LIMITS) -> Session:
        """Take back what `to_record` gave, with all skipped keys that `drain_changes` gave and has not removed.

        ``skipped`` is only iterated if the record says that there are any, so a lazy iterator costs nothing else. Raises
        `MalformedMessage` for what was not written by this class.
        """
        reader = Reader(record)
        version = reader.u8()
        if version != _RECORD_VERSION:
            raise UnsupportedVersion(f"a session record has version {version}; this release reads {_RECORD_VERSION}")
        initiator, suite = reader.u8(), check_suite(reader.u8())
        peer_user, peer_device, peer_signing = reader.user(), reader.device_id(), reader.take(KEY_BYTES)
        transcript, base_key = reader.take(KEY_BYTES), reader.take(KEY_BYTES)
        created, last_used, outer = reader.u64(), reader.u64(), reader.lp()
        ratchet = Ratchet.read_record(reader, suite, transcript, skipped, limits)
        reader.done()
        session = cls(
            peer_user=peer_user,
            peer_device=peer_device,
            peer_signing=peer_signing,
            suite=suite,
            transcript=transcript,
            base_key=base_key,
            initiator=bool(initiator),
            created=created,
            ratchet=ratchet,
            outer=outer,
            limits=limits,
        )
        session.last_used = last_used
        return session
