"""The states of one stream and what moves it between them; no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from transcode.ladder import Rung

__all__ = ["LiveState", "LiveStream"]


class LiveState(StrEnum):
    """Where a stream is in its life."""

    OFFLINE = "offline"
    """Nobody publishes it and nothing of it is left."""
    STARTING = "starting"
    """Published, but there is no segment yet."""
    LIVE = "live"
    INTERRUPTED = "interrupted"
    """The publisher's connection broke; it may come back and go on."""
    ENDED = "ended"
    """Over; its last window is still there."""


@dataclass(frozen=True, slots=True)
class LiveStream:
    """A snapshot of one stream for operators."""

    name: str
    state: LiveState
    started_at: float
    """Unix time in seconds at which its first publication began."""
    rungs: tuple[Rung, ...]
    """Video renditions, largest first; empty before the first segment and for audio alone."""
    has_audio: bool
    segments: int
    """Segments listed so far, over all publications."""
    backlog_s: float
    """Media time that waits for the decoder; more than a second means that the machine is too slow."""
    shed_frames: int
    """Pictures given up because of that, in finished publications."""
    error: str | None
    """Why the last publication was cut short by this side."""
