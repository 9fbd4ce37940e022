"""What the worker threads tell the event loop, in order, about one publication."""

from __future__ import annotations

from dataclasses import dataclass

from transcode.ladder import Rung

__all__ = ["AUDIO", "EpochEnded", "EpochStarted", "PipelineEnded", "PipelineEvent", "SegmentStored", "TrackReady"]

AUDIO = "audio"
"""The name of the audio rendition; the video renditions have their rungs' names."""


@dataclass(frozen=True, slots=True)
class EpochStarted:
    """A run of the stream with one set of encoders begins."""

    epoch: int
    folder: str
    """Of its files, relative to the stream's."""
    rungs: tuple[Rung, ...]
    """Largest first; empty for audio alone."""
    audio: bool
    start_pts: int
    wall_s: float
    """Unix time of the first picture's arrival."""
    frame_rate: float
    """Announced by the source; 0 when unknown."""


@dataclass(frozen=True, slots=True)
class TrackReady:
    """A rendition's header is stored."""

    epoch: int
    rendition: str
    codecs: str
    """For the CODECS attribute."""


@dataclass(frozen=True, slots=True)
class SegmentStored:
    """A segment of one rendition is on disk."""

    epoch: int
    rendition: str
    index: int
    start_pts: int
    duration_s: float
    samples: int
    size_bytes: int
    target_s: int
    """The target duration that the schedule keeps to."""


@dataclass(frozen=True, slots=True)
class EpochEnded:
    """No more segments come of this epoch."""

    epoch: int


@dataclass(frozen=True, slots=True)
class PipelineEnded:
    """The publication is worked off; its threads are about to end."""

    next_pts: int
    """Where the next publication of the stream continues the timeline."""
    next_epoch: int
    size: tuple[int, int] | None
    """Of the source's last picture."""
    shed_frames: int
    """Pictures that were given up because the machine was too slow."""
    error: str | None = None
    """Why it ended before its publisher did."""


PipelineEvent = EpochStarted | TrackReady | SegmentStored | EpochEnded | PipelineEnded
