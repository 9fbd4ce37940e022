"""The bounds of the live origin, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass

from salam.errors import ConfigError

__all__ = ["LiveLimits"]


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """How much one origin takes on. Every value has to be positive; ConfigError names the one that is not."""

    streams: int = 4
    """Streams at once; a full 1080p30 ladder costs about one core."""
    window_segments: int = 10
    """Segments in a playlist: 20 s at 2 s each, more than the three target durations that players stay behind the live edge."""
    return_within_s: float = 10.0
    """How long a dropped publisher may take to come back: longer than a restart of OBS, shorter than a viewer's patience."""
    keep_ended_s: float = 60.0
    """How long the last window of an ended stream stays, so that viewers who are behind the edge see its end."""
    gather_s: float = 1.5
    """Media time to wait for a second track before going on without it; MediaMTX waits 2 s."""
    backlog_units: int = 4096
    """Access units that wait for the decoder; 30 s of 60 fps video and its audio, which a stall of the machine may take."""
    backlog_bytes: int = 32 * 2**20
    """Bytes of them: 10 s of 25 Mbit/s, so that memory stays bounded when units are large."""
    shed_after_s: float = 1.0
    """Media time behind the publisher at which every second frame is given up; at twice this three of four, at three times all but
    the first of each segment."""
    rung_queue_frames: int = 8
    """Decoded frames that wait for one rung: 25 MB at 1080p, enough to even out the cost of single frames."""
    segment_bytes: int = 64 * 2**20
    """The largest segment that is assembled: 200 Mbit/s for 2.5 s, above any level that browsers play."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; allowed: more than 0")
        if self.window_segments < 3:
            raise ConfigError(f"window_segments is {self.window_segments}; allowed: 3 or more (RFC 8216 section 6.2.2)")
