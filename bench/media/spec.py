"""What a robot publishes: generated pictures and sound, or a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from salam import ConfigError

__all__ = ["SIMULCAST_RIDS", "FileMedia", "GeneratedMedia", "Media", "VideoCodecName"]

VideoCodecName = Literal["VP8", "H264"]

SIMULCAST_RIDS = ("q", "h", "f")
"""Names of the simulcast layers, lowest first: a quarter, half and the full size."""

# libvpx and libx264 take 4:2:0 pictures of even size; a quarter of 64 is the smallest that still shows something.
_MIN_SIDE, _MAX_SIDE = 64, 3840
_MAX_FPS = 60
# A loop is kept in memory for each distinct media: a minute of 720p is about 15 MB.
_MAX_LOOP_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedMedia:
    """A quiet moving picture and a voice-like sound, encoded once and then played in a loop.

    ``width`` and ``height`` are those of the best layer, in pixels; with ``simulcast`` there are a half and a quarter of it too.
    ``label`` gives each robot its initial, its own colours and pitch, and its turn to speak: about two seconds of every eight.
    ``loop_s`` is how long the loop is in seconds: every repetition starts with a keyframe. ``bitrate_bps`` is that of the best
    layer, 0 chooses by size. Raises ConfigError for a value that is out of range.
    """

    width: int = 1280
    height: int = 720
    fps: int = 20
    label: str = ""
    codec: VideoCodecName = "VP8"
    simulcast: bool = True
    video: bool = True
    audio: bool = True
    loop_s: float = 8.0
    bitrate_bps: int = 0

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMedia:
    """The beginning of a file that FFmpeg can read, re-encoded once and then played in a loop; otherwise as `GeneratedMedia`.

    ``loop_s`` is how much of the file is used at most. A file without video or audio is published without.
    """

    path: Path
    width: int = 1280
    height: int = 720
    fps: int = 20
    codec: VideoCodecName = "VP8"
    simulcast: bool = True
    video: bool = True
    audio: bool = True
    loop_s: float = 10.0
    bitrate_bps: int = 0

    def __post_init__(self) -> None:
        check(self)


Media = GeneratedMedia | FileMedia


def check(media: Media) -> None:
    """Raise ConfigError when a value of ``media`` is out of range."""
    for name in ("width", "height"):
        value = getattr(media, name)
        if not _MIN_SIDE <= value <= _MAX_SIDE:
            raise ConfigError(f"{name} is {value}; allowed: {_MIN_SIDE} to {_MAX_SIDE} pixels")
    if not 1 <= media.fps <= _MAX_FPS:
        raise ConfigError(f"fps is {media.fps}; allowed: 1 to {_MAX_FPS}")
    if not 1 / media.fps <= media.loop_s <= _MAX_LOOP_S:
        raise ConfigError(f"loop_s is {media.loop_s}; allowed: at least one picture and at most {_MAX_LOOP_S:.0f} s")
    if media.codec not in ("VP8", "H264"):
        raise ConfigError(f"codec is {media.codec!r}; allowed: VP8, H264")
    if media.bitrate_bps < 0:
        raise ConfigError(f"bitrate_bps is {media.bitrate_bps}; allowed: zero or more")
    if not (media.video or media.audio):
        raise ConfigError("video and audio are both off; allowed: at least one of them")
