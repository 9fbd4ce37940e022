"""Which of several sessions with a device is used to send (Sesame's rules, and the profile's section 4).

A line is the list of sessions with one device, the sending one first. Both sides come to the same choice without talking about it:

- What the other side sends with becomes the session to send with (Sesame, section 3.5), so a side that began anew is followed.
- If both began at once, the session with the lower transcript stays.
- A reset goes before whatever was there, except a fresh reset of our own that is not answered: then again the lower one stays.
- What lost against another session is retired for a while (reset_interval_s): messages under way are read and change nothing.
  After that it is a session like any other, so that two sides that once chose differently agree with the next message.
"""

from __future__ import annotations

from dataclasses import replace

from e2ee.limits import Limits
from e2ee.records import Line, SessionRef
from e2ee.session import Session
from e2ee.workspace import Workspace

__all__ = ["begin", "sending_session", "settle"]


def sending_session(space: Workspace, user_id: str, device_id: int, limits: Limits, *, now: float) -> Session | None:
    """The session to send with, or None where there is none: also one that was never answered dies."""
    line = space.line(user_id, device_id)
    if not line.refs:
        return None
    session = space.session(user_id, device_id, line.refs[0])
    if not session.acknowledged and now >= session.created + limits.unacknowledged_lifetime_s:
        return None
    return session


def begin(space: Workspace, session: Session, *, reset: bool, now: float) -> None:
    """Send with ``session``, which this device has begun; a reset retires all others."""
    line = space.line(session.peer_user, session.peer_device)
    others = _retired(line.refs, now) if reset else line.refs
    refs = (SessionRef(session.base_key, initiated=True, reset=reset), *others)
    space.add(session)
    space.set_line(session.peer_user, session.peer_device, Line(refs, int(now) if reset else line.last_reset))


def settle(space: Workspace, session: Session, ref: SessionRef, limits: Limits, *, reset: bool, now: float) -> None:
    """Put the line in order after ``session`` has read something; ``ref`` is its place there, which may be a new one.

    ``reset``: what it read was a reset.
    """
    line = space.line(session.peer_user, session.peer_device)
    others = tuple(other for other in line.refs if other != ref)
    if not others or line.refs[0] == ref:
        refs = (ref, *(_retired(others, now) if reset else others))
    elif ref.retired and now < ref.retired + limits.reset_interval_s and not reset:
        return
    else:
        first = space.session(session.peer_user, session.peer_device, others[0])
        crossed = _crossed(others[0], first, ref, limits, reset=reset, now=now)
        if crossed and first.transcript < session.transcript:
            refs = (others[0], *_retired((ref,), now), *others[1:])
        elif reset:
            refs = (replace(ref, retired=0), *_retired(others, now))
        else:
            refs = (replace(ref, retired=0), *(_retired(others[:1], now) if crossed else others[:1]), *others[1:])
    if refs != line.refs:
        space.set_line(session.peer_user, session.peer_device, replace(line, refs=refs))


def _crossed(place: SessionRef, first: Session, ref: SessionRef, limits: Limits, *, reset: bool, now: float) -> bool:
    """Whether ``first``, at ``place``, and the session at ``ref`` were begun at once, neither side knowing the other's.

    A reset of the other side crosses nothing but a reset of our own, and that only while it is fresh: one that stays without an
    answer may be one that the other side cannot read.
    """
    if first.acknowledged or ref.initiated:
        return False
    return not reset or (place.reset and now < first.created + limits.reset_interval_s)


def _retired(refs: tuple[SessionRef, ...], now: float) -> tuple[SessionRef, ...]:
    return tuple(replace(ref, retired=int(now)) for ref in refs)
