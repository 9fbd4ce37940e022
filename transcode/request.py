"""What a request for a stream asks for: the path and the query, checked to the letter before anything touches the disk."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from salam.errors import ProtocolError

__all__ = ["LiveRequest", "LiveResource", "check_stream_name", "parse_live_request"]

# What `ingest` takes from publishers; no leading dot, so no relative path can be spelled.
_STREAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_RENDITION = r"(?:audio|[0-9]{1,5}p)"
_MEDIA_PLAYLIST = re.compile(rf"({_RENDITION})\.m3u8")
_FILE = re.compile(rf"([a-z0-9]{{1,24}}-[0-9]{{1,9}})/({_RENDITION}(?:-[0-9]{{1,9}}\.m4s|\.mp4))")
# Longer than any path of ours: 64 for the stream, 34 for the epoch, 24 for the file, and separators.
_MAX_PATH = 256


class LiveResource(Enum):
    """The kinds of thing a stream serves."""

    MULTIVARIANT = "multivariant"
    MEDIA_PLAYLIST = "media_playlist"
    INIT = "init"
    SEGMENT = "segment"


@dataclass(frozen=True, slots=True)
class LiveRequest:
    """A request that names something a stream could have."""

    stream: str
    resource: LiveResource
    rendition: str = ""
    """For a media playlist."""
    folder: str = ""
    name: str = ""
    """For a file."""


def check_stream_name(name: str) -> str:
    """Return ``name`` when it can name a stream; raises ProtocolError."""
    if _STREAM.fullmatch(name) is None:
        raise ProtocolError(
            "a stream's name is 1 to 64 letters, digits, '_', '-' and '.', and begins with a letter or a digit",
            code="bad_stream_name",
        )
    return name


def parse_live_request(stream: str, path: str) -> LiveRequest:
    """Read the path below ``/live/STREAM/``, percent-decoded.

    ``index.m3u8``, ``RENDITION.m3u8``, ``EPOCH/RENDITION.mp4`` and ``EPOCH/RENDITION-INDEX.m4s`` exist; anything else raises
    ProtocolError.
    """
    check_stream_name(stream)
    if path == "index.m3u8":
        return LiveRequest(stream, LiveResource.MULTIVARIANT)
    if len(path) <= _MAX_PATH:
        if (match := _MEDIA_PLAYLIST.fullmatch(path)) is not None:
            return LiveRequest(stream, LiveResource.MEDIA_PLAYLIST, rendition=match[1])
        if (match := _FILE.fullmatch(path)) is not None:
            kind = LiveResource.INIT if match[2].endswith(".mp4") else LiveResource.SEGMENT
            return LiveRequest(stream, kind, folder=match[1], name=match[2])
    raise ProtocolError("no such playlist or segment", code="unknown_path")
