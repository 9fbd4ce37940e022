"""Which of several sessions with a device is used to send (Sesame's rules, and the profile's section 4).

A line is the list of sessions with one device, the sending one first. Both sides come to the same choice without talking about it:

- What the other side sends with becomes the session to send with (Sesame, section 3.5), so a side that began anew is followed.
- If both began at once, the session with the lower transcript stays, and the other is retired: it is read and not sent with.
- A reset goes before whatever was there, except a reset of our own that is not answered yet: then again the lower one stays.
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
    others = tuple(replace(ref, retired=True) for ref in line.refs) if reset else line.refs
    refs = (SessionRef(session.base_key, initiated=True, reset=reset), *others)
    space.add(session)
    space.set_line(session.peer_user, session.peer_device, Line(refs, int(now) if reset else line.last_reset))


def settle(space: Workspace, session: Session, ref: SessionRef, *, reset: bool) -> None:
    """Put the line in order after ``session`` has read something; ``ref`` is its place there, which may be a new one.

    ``reset``: what it read was a reset.
    """
    line = space.line(session.peer_user, session.peer_device)
    refs = _order(space, line.refs, session, ref, reset=reset)
    if refs != line.refs:
        space.set_line(session.peer_user, session.peer_device, replace(line, refs=refs))


def _order(
    space: Workspace, refs: tuple[SessionRef, ...], session: Session, ref: SessionRef, *, reset: bool
) -> tuple[SessionRef, ...]:
    others = tuple(other for other in refs if other != ref)
    if not others or refs[0] == ref:
        return (ref, *(map(_retired, others) if reset else others))
    if ref.retired and not reset:
        return refs
    first = others[0]
    crossed = _crossed(space, first, session, ref, reset=reset)
    if crossed and space.session(session.peer_user, session.peer_device, first).transcript < session.transcript:
        return (first, _retired(ref), *others[1:])
    if reset:
        return (replace(ref, retired=False), *map(_retired, others))
    return (ref, _retired(first) if crossed else first, *others[1:])


def _crossed(space: Workspace, first: SessionRef, session: Session, ref: SessionRef, *, reset: bool) -> bool:
    """Whether both sides began at once: the other side does not know ours yet, and a reset of theirs does not go before it."""
    if not first.initiated or ref.initiated or (reset and not first.reset):
        return False
    return not space.session(session.peer_user, session.peer_device, first).acknowledged


def _retired(ref: SessionRef) -> SessionRef:
    return replace(ref, retired=True)
