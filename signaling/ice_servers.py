"""The ICE servers of clients in rooms: handed out when they enter, and again before the credentials among them expire."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from signaling.messages import IceServer, IceServersChanged
from signaling.seats import Seats
from signaling.session import IceHolding, Session, Sessions
from signaling.timers import TimerReason, Timers

__all__ = ["IceGrant", "IceServerDesk", "IceServerSource", "fixed_ice_servers"]


@dataclass(frozen=True, slots=True)
class IceGrant:
    """What one client gets: ``servers``, and for how long their credentials are good."""

    servers: tuple[IceServer, ...] = ()
    ttl_s: float | None = None
    """None: for good."""
    renew_after_s: float | None = None
    """When the client is to be given new ones, some time before ``ttl_s`` is over; None: never."""


IceServerSource = Callable[[str, float], IceGrant]
"""Called with an opaque id of the client, for the relay's quotas and logs, and the time in Unix seconds."""


def fixed_ice_servers(servers: Sequence[IceServer]) -> IceServerSource:
    """Return a source that gives everybody the same, for good."""
    grant = IceGrant(tuple(servers))
    return lambda client_id, wall: grant


class IceServerDesk:
    """Hands ICE servers to those who enter rooms and renews what expires. Without I/O; times are handed in.

    A client whose connection is lost when its renewal is due gets it once it resumes.
    """

    def __init__(self, source: IceServerSource, sessions: Sessions, seats: Seats, timers: Timers) -> None:
        self._source = source
        self._sessions = sessions
        self._seats = seats
        self._timers = timers

    def provide(self, session: Session, now: float, wall: float) -> None:
        """See to it that ``session`` has servers whose renewal is not due; its `Joined` tells them.

        ``now`` is monotonic, ``wall`` Unix seconds.
        """
        holding = session.ice
        # A client restarts ICE for new credentials, which coming back after a second is no reason for.
        if holding is None or now >= holding.renew_s:
            grant = self._source(session.session_id, wall)
            holding = IceHolding(
                list(grant.servers),
                renew_s=math.inf if grant.renew_after_s is None else now + grant.renew_after_s,
                expires_s=math.inf if grant.ttl_s is None else now + grant.ttl_s,
                ttl_s=0.0,
            )
        ttl_s = 0.0 if holding.expires_s == math.inf else round(holding.expires_s - now, 3)
        session.ice = replace(holding, ttl_s=ttl_s)
        if holding.renew_s < math.inf:
            self._timers.set(TimerReason.ICE_SERVERS, session.session_id, holding.renew_s)

    def renewal_due(self, session: Session, now: float, wall: float) -> None:
        """Tell ``session`` fresh servers, unless it is in no room or cannot be told now."""
        if session.connection_id is None or not self._seats.is_in_room(session):
            return
        self.provide(session, now, wall)
        self._tell(session)

    def session_resumed(self, session: Session, now: float, wall: float) -> None:
        """Another connection carries ``session``: tell it what it should have, for the last telling may have been lost."""
        if session.ice is None or session.ice.expires_s == math.inf or not self._seats.is_in_room(session):
            return
        self.provide(session, now, wall)
        self._tell(session)

    def _tell(self, session: Session) -> None:
        # Whoever is still entering is told by the answer.
        if session.ice is not None and self._seats.seated(session) is not None:
            self._sessions.send(session, IceServersChanged(ice_servers=session.ice.servers, ice_ttl_s=session.ice.ttl_s))
