"""What one transaction has read and changed of peers and sessions.

Each session is loaded once and written once, however many messages of a batch it carries; all is written before the commit. A
session may be kept in memory for the next transaction, which takes it only if the stored version is still the same: what another
process wrote is read again, and what a failed transaction had in its hands is never met.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from e2ee.certificates import DeviceCertificate
from e2ee.encoding import u32, user_bytes
from e2ee.limits import Limits
from e2ee.primitives import NoPickle
from e2ee.records import (
    LINES,
    PEERS,
    SESSIONS,
    Line,
    Peer,
    SessionRef,
    certificates_table,
    device_key,
    session_key,
    skipped_table,
)
from e2ee.session import Session
from e2ee.store.interface import ABSENT, StoreError, Transaction

__all__ = ["SessionCache", "Workspace"]

# A session takes 3 kB, with all skipped keys that it may have about 700 kB: 256 of them stay under 180 MB in the worst case.
_SESSIONS_CACHED = 256


class SessionCache(NoPickle):
    """Sessions as they are in the store, by their key; the ones used last."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[bytes, tuple[int, Session]] = OrderedDict()

    def take(self, key: bytes, version: int) -> Session | None:
        """The session of that version; it is the caller's own then, for a session changes with its use."""
        kept = self._sessions.pop(key, None)
        return kept[1] if kept is not None and kept[0] == version else None

    def keep(self, key: bytes, version: int, session: Session) -> None:
        """Keep what the store holds as ``version``."""
        self._sessions[key] = (version, session)
        if len(self._sessions) > _SESSIONS_CACHED:
            self._sessions.popitem(last=False)


@dataclass(slots=True)
class _Opened(NoPickle):
    session: Session
    version: int
    changed: bool


class Workspace(NoPickle):
    """See the module. Made once for each transaction and of no use after it."""

    def __init__(self, tx: Transaction, cache: SessionCache, limits: Limits) -> None:
        self.tx = tx
        self._cache = cache
        self._limits = limits
        self._peers: dict[str, Peer | None] = {}
        self._lines: dict[bytes, tuple[Line, int]] = {}
        self._changed_lines: dict[bytes, Line] = {}
        self._opened: dict[bytes, _Opened] = {}
        tx.before_commit(self._write)
        tx.after_commit(self._keep)

    def peer(self, user_id: str) -> Peer | None:
        """What is known of a user, or None."""
        if user_id not in self._peers:
            record = self.tx.get(PEERS, user_bytes(user_id))
            self._peers[user_id] = None if record is None else Peer.parse(record)
        return self._peers[user_id]

    def set_peer(self, user_id: str, peer: Peer) -> None:
        """Write what is known of a user."""
        self.tx.put(PEERS, user_bytes(user_id), peer.encode())
        self._peers[user_id] = peer

    def certificate(self, user_id: str, device_id: int) -> DeviceCertificate | None:
        """The verified certificate of a device that is, or was, on a list of the user, or None."""
        record = self.tx.get(certificates_table(user_id), u32(device_id))
        return None if record is None else DeviceCertificate.parse(record)

    def set_certificate(self, certificate: DeviceCertificate) -> None:
        """Keep a certificate that was verified and belongs to the user's trusted account key."""
        self.tx.put(certificates_table(certificate.user_id), u32(certificate.device_id), certificate.encoded)

    def line(self, user_id: str, device_id: int) -> Line:
        """The sessions with a device."""
        key = device_key(user_id, device_id)
        if key in self._changed_lines:
            return self._changed_lines[key]
        if key not in self._lines:
            row = self.tx.get_versioned(LINES, key)
            self._lines[key] = (Line(), ABSENT) if row is None else (Line.parse(row[0]), row[1])
        return self._lines[key][0]

    def set_line(self, user_id: str, device_id: int, line: Line) -> None:
        """Put the sessions with a device in another order; those beyond what is archived are dropped, the oldest first."""
        kept = line.refs[: 1 + self._limits.max_archived_sessions]
        for ref in line.refs[len(kept) :]:
            self._drop(user_id, device_id, ref)
        self.line(user_id, device_id)
        self._changed_lines[device_key(user_id, device_id)] = replace(line, refs=kept)

    def clear_line(self, user_id: str, device_id: int) -> None:
        """Drop all sessions with a device; when it was last sent a reset stays known."""
        line = self.line(user_id, device_id)
        for ref in line.refs:
            self._drop(user_id, device_id, ref)
        if line.refs:
            self.set_line(user_id, device_id, replace(line, refs=()))

    def session(self, user_id: str, device_id: int, ref: SessionRef) -> Session:
        """The session of a line; say `used` when it has read or written."""
        key = session_key(user_id, device_id, ref.base_key)
        opened = self._opened.get(key)
        if opened is None:
            opened = self._opened[key] = self._load(key, user_id, device_id, ref)
        return opened.session

    def used(self, session: Session) -> None:
        """The session has moved and is to be written."""
        self._opened[session_key(session.peer_user, session.peer_device, session.base_key)].changed = True

    def add(self, session: Session) -> None:
        """A session that is new; its line is the caller's to set."""
        key = session_key(session.peer_user, session.peer_device, session.base_key)
        self._opened[key] = _Opened(session, ABSENT, changed=True)

    def _load(self, key: bytes, user_id: str, device_id: int, ref: SessionRef) -> _Opened:
        row = self.tx.get_versioned(SESSIONS, key)
        if row is None:
            raise StoreError("a session that the store names is not there", code="store_corrupt")
        record, version = row
        session = self._cache.take(key, version)
        if session is None:
            stored = self.tx.scan(skipped_table(user_id, device_id, ref.base_key))
            session = Session.from_record(record, stored, self._limits)
        return _Opened(session, version, changed=False)

    def _drop(self, user_id: str, device_id: int, ref: SessionRef) -> None:
        key = session_key(user_id, device_id, ref.base_key)
        self._opened.pop(key, None)
        self.tx.delete(SESSIONS, key)
        self.tx.clear(skipped_table(user_id, device_id, ref.base_key))

    def _write(self) -> None:
        for key, line in self._changed_lines.items():
            self.tx.put_versioned(LINES, key, line.encode(), self._lines[key][1])
        for key, opened in self._opened.items():
            if not opened.changed:
                continue
            session = opened.session
            opened.version = self.tx.put_versioned(SESSIONS, key, session.to_record(), opened.version)
            changes = session.drain_changes()
            if changes.added or changes.removed:
                table = skipped_table(session.peer_user, session.peer_device, session.base_key)
                for skipped_key, record in changes.added:
                    self.tx.put(table, skipped_key, record)
                for skipped_key in changes.removed:
                    self.tx.delete(table, skipped_key)

    def _keep(self) -> None:
        for key, opened in self._opened.items():
            self._cache.keep(key, opened.version, opened.session)
