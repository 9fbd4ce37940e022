"""HLS playlists as text (RFC 8216). Pure rendering: what goes into them is decided elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = ["MediaPlaylist", "MediaSegment", "Variant", "render_media", "render_multivariant"]

# EXT-X-MAP in playlists of media segments needs 6, EXT-X-INDEPENDENT-SEGMENTS is older (RFC 8216 section 7).
_VERSION = 6
_AUDIO_GROUP = "audio"


@dataclass(frozen=True, slots=True)
class Variant:
    """One EXT-X-STREAM-INF."""

    uri: str
    bandwidth_bps: int
    average_bandwidth_bps: int
    codecs: tuple[str, ...]
    resolution: tuple[int, int] | None = None
    frame_rate: float = 0.0
    """0 leaves the attribute out."""


@dataclass(frozen=True, slots=True)
class MediaSegment:
    """One segment of a media playlist."""

    uri: str
    duration_s: float
    map_uri: str
    wall_s: float
    discontinuity: bool = False


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """A live window, or the end of one."""

    target_s: int
    media_sequence: int
    discontinuity_sequence: int
    segments: Sequence[MediaSegment]
    ended: bool = False


def _date_time(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def render_media(playlist: MediaPlaylist) -> str:
    """Return the text of a media playlist (RFC 8216 section 4.3.3)."""
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{_VERSION}",
        f"#EXT-X-TARGETDURATION:{playlist.target_s}",
        f"#EXT-X-MEDIA-SEQUENCE:{playlist.media_sequence}",
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{playlist.discontinuity_sequence}",
        "#EXT-X-INDEPENDENT-SEGMENTS",
    ]
    map_uri = None
    for segment in playlist.segments:
        if segment.discontinuity:
            lines.append("#EXT-X-DISCONTINUITY")
        if segment.map_uri != map_uri:
            map_uri = segment.map_uri
            lines.append(f'#EXT-X-MAP:URI="{map_uri}"')
        lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{_date_time(segment.wall_s)}")
        lines.append(f"#EXTINF:{segment.duration_s:.5f},")
        lines.append(segment.uri)
    if playlist.ended:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"


def render_multivariant(variants: Sequence[Variant], audio_uri: str | None) -> str:
    """Return the text of a multivariant playlist (RFC 8216 section 4.3.4).

    ``audio_uri`` is the audio rendition that all variants with pictures share, or None.
    """
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{_VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    if audio_uri is not None:
        lines.append(f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{_AUDIO_GROUP}",NAME="Main",DEFAULT=YES,AUTOSELECT=YES,URI="{audio_uri}"')
    for variant in variants:
        attributes = [
            f"BANDWIDTH={variant.bandwidth_bps}",
            f"AVERAGE-BANDWIDTH={variant.average_bandwidth_bps}",
            f'CODECS="{",".join(variant.codecs)}"',
        ]
        if variant.resolution is not None:
            attributes.append(f"RESOLUTION={variant.resolution[0]}x{variant.resolution[1]}")
        if variant.frame_rate:
            attributes.append(f"FRAME-RATE={variant.frame_rate:.3f}")
        if audio_uri is not None:
            attributes.append(f'AUDIO="{_AUDIO_GROUP}"')
        lines += [f"#EXT-X-STREAM-INF:{','.join(attributes)}", variant.uri]
    return "\n".join(lines) + "\n"
