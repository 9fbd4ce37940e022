"""ICE-lite for one transport: answers connectivity checks and follows the peer's nominations (RFC 8445, RFC 7675), without I/O.

A lite agent never sends checks. The peer, always controlling, checks every path it knows and nominates one with USE-CANDIDATE; it
keeps checking that one for consent. Silence therefore means that the peer is gone.

A restart keeps the previous credentials valid until the peer nominates a path with the new ones, so that media flows on meanwhile.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field

from sfu.paths import NetworkPath, path_address
from turn_client import (
    Attribute,
    MessageClass,
    Method,
    StunMessage,
    build_message,
    encode_error_code,
    encode_xor_address,
)

__all__ = [
    "CredentialsRetired",
    "IceCredentials",
    "IceDrop",
    "IceEvent",
    "IceLiteAgent",
    "IceState",
    "IceStateChanged",
    "PathAdded",
    "PathRemoved",
    "PathSelected",
]

# Chromium checks the selected path every 2.5 s: after 7 s nearly three in a row are missing, which loss alone does not explain.
DISCONNECTED_AFTER_S = 7.0
# RFC 7675 section 5.1: consent expires after 30 s without a valid check.
EXPIRED_AFTER_S = 30.0
# A peer has a handful of interfaces, each with a UDP and a TCP path; during a restart it has them twice.
_MAX_PATHS = 16
# The previous generation and the current one: a peer that restarts twice before nominating has given up the oldest.
_MAX_GENERATIONS = 2


class IceState(enum.Enum):
    """What is known about the peer."""

    NEW = "new"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    EXPIRED = "expired"


class IceDrop(enum.Enum):
    """Why a STUN message was ignored."""

    NOT_A_REQUEST = "stun_not_a_request"
    NO_INTEGRITY = "stun_bad_integrity"
    WRONG_USERNAME = "stun_wrong_username"


@dataclass(frozen=True, slots=True)
class IceCredentials:
    """Username fragment and password of one side and generation."""

    ufrag: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PathAdded:
    """A check from ``path`` was authenticated: media may come from there."""

    path: NetworkPath


@dataclass(frozen=True, slots=True)
class PathSelected:
    """Send to ``path`` from now on."""

    path: NetworkPath


@dataclass(frozen=True, slots=True)
class PathRemoved:
    """Nothing was heard from ``path`` for so long that it does not count any more."""

    path: NetworkPath


@dataclass(frozen=True, slots=True)
class CredentialsRetired:
    """Checks with this username fragment are not accepted any more."""

    ufrag: str


@dataclass(frozen=True, slots=True)
class IceStateChanged:
    """The state is now ``state``."""

    state: IceState


IceEvent = PathAdded | PathSelected | PathRemoved | CredentialsRetired | IceStateChanged


@dataclass(slots=True)
class _PathState:
    heard_s: float


class IceLiteAgent:
    """The lite agent of one transport.

    ``credentials`` are the local ones of the first generation. Call `receive` with each message for one of `local_ufrags`, and
    `handle_timer` at `next_deadline`; then take datagrams and events.
    """

    def __init__(self, credentials: IceCredentials) -> None:
        self._generations = [credentials]
        self._remote_ufrag: str | None = None
        self._paths: dict[NetworkPath, _PathState] = {}
        self._selected: NetworkPath | None = None
        self._nominated_generation: IceCredentials | None = None
        self._state = IceState.NEW
        self._datagrams: list[tuple[bytes, NetworkPath]] = []
        self._events: list[IceEvent] = []

    @property
    def state(self) -> IceState:
        """What is known about the peer now."""
        return self._state

    @property
    def credentials(self) -> IceCredentials:
        """The local credentials of the newest generation: what goes into the next SDP."""
        return self._generations[-1]

    @property
    def local_ufrags(self) -> tuple[str, ...]:
        """The username fragments that are valid now, oldest first."""
        return tuple(generation.ufrag for generation in self._generations)

    @property
    def selected_path(self) -> NetworkPath | None:
        """Where to send; None before the first authenticated check."""
        return self._selected

    @property
    def remote_ufrag(self) -> str | None:
        """The peer's username fragment as its last description said it."""
        return self._remote_ufrag

    def set_remote_ufrag(self, ufrag: str) -> None:
        """Expect checks of the newest generation to carry ``ufrag``; before this call any is taken (the password authenticates)."""
        self._remote_ufrag = ufrag

    def restart(self, credentials: IceCredentials) -> None:
        """Begin a new generation (RFC 8445 section 9): both are accepted until a path is nominated in the new one."""
        self._generations.append(credentials)
        self._remote_ufrag = None
        while len(self._generations) > _MAX_GENERATIONS:
            self._events.append(CredentialsRetired(self._generations.pop(0).ufrag))

    def receive(self, message: StunMessage, path: NetworkPath, now: float) -> IceDrop | None:
        """Answer a connectivity check that came over ``path``; returns why it was ignored, None when it was answered."""
        if message.method != Method.BINDING or message.message_class is not MessageClass.REQUEST:
            return IceDrop.NOT_A_REQUEST
        generation = self._generation_of(message)
        if generation is None:
            return IceDrop.WRONG_USERNAME
        if not message.check_integrity(generation.password.encode()):
            return IceDrop.NO_INTEGRITY
        unknown = message.unknown_required()
        if unknown:
            self._answer_unknown(message, unknown, generation, path)
            return None
        self._answer(message, generation, path)
        self._heard(path, now)
        if message.use_candidate:
            self._nominate(generation, path)
        elif self._selected is None:
            # Media and DTLS may flow on any valid pair before the nomination (RFC 8445 section 12.1).
            self._select(path)
        if path == self._selected:
            self._set_state(IceState.CONNECTED)
        return None

    def path_closed(self, path: NetworkPath) -> None:
        """Forget ``path``, because its TCP connection ended; when it was the selected one, the next authenticated check selects."""
        if self._paths.pop(path, None) is None:
            return
        self._events.append(PathRemoved(path))
        if path == self._selected:
            self._selected = None
            self._set_state(IceState.DISCONNECTED)

    def handle_timer(self, now: float) -> None:
        """Notice what has been silent for too long."""
        # The same sum as in `next_deadline`: a difference could round the other way and leave the deadline standing.
        for path in [path for path, known in self._paths.items() if now >= known.heard_s + EXPIRED_AFTER_S]:
            del self._paths[path]
            self._events.append(PathRemoved(path))
            if path == self._selected:
                self._selected = None
                self._set_state(IceState.EXPIRED)
        selected = None if self._selected is None else self._paths[self._selected]
        if selected is not None and now >= selected.heard_s + DISCONNECTED_AFTER_S and self._state is IceState.CONNECTED:
            self._set_state(IceState.DISCONNECTED)

    def next_deadline(self) -> float:
        """When `handle_timer` has something to do; infinity when nothing waits."""
        deadline_s = min((known.heard_s + EXPIRED_AFTER_S for known in self._paths.values()), default=math.inf)
        if self._selected is not None and self._state is IceState.CONNECTED:
            deadline_s = min(deadline_s, self._paths[self._selected].heard_s + DISCONNECTED_AFTER_S)
        return deadline_s

    def take_datagrams(self) -> list[tuple[bytes, NetworkPath]]:
        """Return and clear the answers to send."""
        taken, self._datagrams = self._datagrams, []
        return taken

    def take_events(self) -> list[IceEvent]:
        """Return and clear the events."""
        taken, self._events = self._events, []
        return taken

    def _generation_of(self, message: StunMessage) -> IceCredentials | None:
        local, separator, remote = (message.username or "").partition(":")
        if not separator:
            return None
        generation = next((known for known in self._generations if known.ufrag == local), None)
        if generation is self._generations[-1] and self._remote_ufrag not in (None, remote):
            return None
        return generation

    def _heard(self, path: NetworkPath, now: float) -> None:
        known = self._paths.get(path)
        if known is not None:
            known.heard_s = now
            return
        if len(self._paths) >= _MAX_PATHS:
            stalest = min((other for other in self._paths if other != self._selected), key=lambda other: self._paths[other].heard_s)
            del self._paths[stalest]
            self._events.append(PathRemoved(stalest))
        self._paths[path] = _PathState(now)
        self._events.append(PathAdded(path))

    def _nominate(self, generation: IceCredentials, path: NetworkPath) -> None:
        newest = self._generations[-1]
        if generation is not newest and self._nominated_generation is newest:
            return
        self._nominated_generation = generation
        if path != self._selected:
            self._select(path)
        if generation is newest:
            while len(self._generations) > 1:
                self._events.append(CredentialsRetired(self._generations.pop(0).ufrag))

    def _select(self, path: NetworkPath) -> None:
        self._selected = path
        self._events.append(PathSelected(path))

    def _set_state(self, state: IceState) -> None:
        if state is not self._state:
            self._state = state
            self._events.append(IceStateChanged(state))

    def _answer(self, message: StunMessage, generation: IceCredentials, path: NetworkPath) -> None:
        mapped = encode_xor_address(*path_address(path), message.transaction_id)
        answer = build_message(
            Method.BINDING,
            MessageClass.SUCCESS,
            message.transaction_id,
            [(Attribute.XOR_MAPPED_ADDRESS, mapped)],
            integrity_key=generation.password.encode(),
            fingerprint=True,
        )
        self._datagrams.append((answer, path))

    def _answer_unknown(
        self, message: StunMessage, unknown: tuple[int, ...], generation: IceCredentials, path: NetworkPath
    ) -> None:
        answer = build_message(
            Method.BINDING,
            MessageClass.ERROR,
            message.transaction_id,
            [
                (Attribute.ERROR_CODE, encode_error_code(420, "Unknown Attribute")),
                (Attribute.UNKNOWN_ATTRIBUTES, b"".join(kind.to_bytes(2, "big") for kind in unknown)),
            ],
            integrity_key=generation.password.encode(),
            fingerprint=True,
        )
        self._datagrams.append((answer, path))
