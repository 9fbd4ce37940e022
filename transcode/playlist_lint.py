"""A strict reader of HLS playlists that lists what is wrong with them (RFC 8216).

For tests, and for operators who doubt a playlist. Each function returns findings as sentences; an empty list is a clean bill.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["ParsedMedia", "ParsedSegment", "lint_media", "lint_multivariant", "lint_update", "parse_media"]

_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"\r\n]*"|[^",\s]+)(?:,|$)')
_DURATION = re.compile(r"#EXTINF:(\d+(?:\.\d+)?),")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(?:Z|[+-]\d\d:\d\d)")
_RESOLUTION = re.compile(r"[1-9]\d*x[1-9]\d*")
_CODEC = re.compile(r"(?:avc1\.[0-9a-f]{6}|mp4a\.40\.\d+)")
_ONCE = ("#EXT-X-VERSION", "#EXT-X-TARGETDURATION", "#EXT-X-MEDIA-SEQUENCE", "#EXT-X-DISCONTINUITY-SEQUENCE", "#EXT-X-ENDLIST")
_KNOWN_MEDIA = {
    *_ONCE,
    "#EXTM3U",
    "#EXTINF",
    "#EXT-X-INDEPENDENT-SEGMENTS",
    "#EXT-X-DISCONTINUITY",
    "#EXT-X-MAP",
    "#EXT-X-PROGRAM-DATE-TIME",
}
_KNOWN_MULTIVARIANT = {"#EXTM3U", "#EXT-X-VERSION", "#EXT-X-INDEPENDENT-SEGMENTS", "#EXT-X-MEDIA", "#EXT-X-STREAM-INF"}


@dataclass(frozen=True, slots=True)
class ParsedSegment:
    """A segment as a playlist lists it."""

    uri: str
    duration_s: float
    discontinuity: bool
    map_uri: str | None
    date_time: str | None


@dataclass(slots=True)
class ParsedMedia:
    """A media playlist as far as it could be read."""

    target_s: int = 0
    media_sequence: int = 0
    discontinuity_sequence: int = 0
    version: int = 1
    ended: bool = False
    segments: list[ParsedSegment] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def _tag(line: str) -> str:
    return line.split(":", 1)[0]


def _attributes(line: str, problems: list[str]) -> dict[str, str]:
    text = line.split(":", 1)[1] if ":" in line else ""
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _ATTRIBUTE.match(text, position)
        if match is None:
            problems.append(f"attribute list cannot be read from {text[position:]!r} (4.2)")
            break
        if match[1] in found:
            problems.append(f"attribute {match[1]} twice (4.2)")
        found[match[1]] = match[2]
        position = match.end()
    return found


def _head(text: str, known: set[str], problems: list[str]) -> list[str]:
    if not text.endswith("\n"):
        problems.append("the last line is not terminated (4.1)")
    if "\r" in text.replace("\r\n", "\n") or text.startswith("\ufeff"):
        problems.append("a carriage return or byte order mark (4.1)")
    lines = [line.rstrip("\r") for line in text.split("\n")]
    if lines[0] != "#EXTM3U":
        problems.append("the first line is not #EXTM3U (4.3.1.1)")
    problems += [f"unknown tag {_tag(line)}" for line in lines if line.startswith("#EXT") and _tag(line) not in known]
    for tag in _ONCE:
        if sum(_tag(line) == tag for line in lines) > 1:
            problems.append(f"{tag} more than once")
    return [line for line in lines if line and (not line.startswith("#") or line.startswith("#EXT"))]


def _integer(line: str, problems: list[str]) -> int:
    value = line.partition(":")[2]
    if not re.fullmatch(r"\d{1,20}", value):
        problems.append(f"{_tag(line)} is no decimal integer (4.2)")
        return 0
    return int(value)


def parse_media(text: str) -> ParsedMedia:
    """Read a media playlist; whatever is wrong with single lines is in ``problems``."""
    parsed = ParsedMedia()
    problems = parsed.problems
    duration: float | None = None
    discontinuity, map_uri, date = False, None, None
    for line in _head(text, _KNOWN_MEDIA, problems):
        tag = _tag(line)
        if tag == "#EXT-X-VERSION":
            parsed.version = _integer(line, problems)
        elif tag == "#EXT-X-TARGETDURATION":
            parsed.target_s = _integer(line, problems)
        elif tag in ("#EXT-X-MEDIA-SEQUENCE", "#EXT-X-DISCONTINUITY-SEQUENCE"):
            if parsed.segments or duration is not None:
                problems.append(f"{tag} after the first segment (4.3.3)")
            name = "media_sequence" if "MEDIA" in tag else "discontinuity_sequence"
            setattr(parsed, name, _integer(line, problems))
        elif tag == "#EXT-X-DISCONTINUITY":
            discontinuity = True
        elif tag == "#EXT-X-MAP":
            map_uri = _attributes(line, problems).get("URI", "").strip('"') or None
        elif tag == "#EXT-X-PROGRAM-DATE-TIME":
            date = line.partition(":")[2]
            if not _DATE.fullmatch(date):
                problems.append(f"{date} is no ISO 8601 date with milliseconds and zone (4.3.2.6)")
        elif tag == "#EXTINF":
            match = _DURATION.match(line)
            if match is None or duration is not None:
                problems.append(f"EXTINF cannot be read or has no URI: {line!r} (4.3.2.1)")
            duration = float(match[1]) if match else 0.0
        elif tag == "#EXT-X-ENDLIST":
            parsed.ended = True
        elif not line.startswith("#"):
            if duration is None:
                problems.append(f"{line} has no EXTINF (4.3.2.1)")
            parsed.segments.append(ParsedSegment(line, duration or 0.0, discontinuity, map_uri, date))
            duration, discontinuity, date = None, False, None
    if duration is not None or discontinuity:
        problems.append("segment tags without a segment after them (4.3.2)")
    return parsed


def lint_media(text: str) -> list[str]:
    """Return what is wrong with one media playlist of fMP4 segments."""
    parsed = parse_media(text)
    problems = list(parsed.problems)
    if parsed.target_s < 1:
        problems.append("no EXT-X-TARGETDURATION (4.3.3.1)")
    if parsed.version < 6:
        problems.append("EXT-X-MAP without EXT-X-I-FRAMES-ONLY needs version 6 (7)")
    for position, segment in enumerate(parsed.segments):
        if int(segment.duration_s + 0.5) > parsed.target_s:
            problems.append(f"{segment.uri} of {segment.duration_s} s is longer than the target {parsed.target_s} (4.3.3.1)")
        if segment.duration_s <= 0:
            problems.append(f"{segment.uri} has no duration")
        if segment.map_uri is None:
            problems.append(f"{segment.uri} has no EXT-X-MAP (3.3)")
        if position and segment.map_uri != parsed.segments[position - 1].map_uri and not segment.discontinuity:
            problems.append(f"the header changes before {segment.uri} without EXT-X-DISCONTINUITY (4.3.2.3)")
    uris = [segment.uri for segment in parsed.segments]
    if len(set(uris)) != len(uris):
        problems.append("a segment is listed twice")
    dates = [segment.date_time for segment in parsed.segments if segment.date_time is not None]
    if dates != sorted(dates):
        problems.append("EXT-X-PROGRAM-DATE-TIME goes backwards (6.2.1)")
    if not parsed.ended and sum(segment.duration_s for segment in parsed.segments) <= 0 and parsed.segments:
        problems.append("a live window of no duration")
    return problems


def lint_update(before: str, after: str) -> list[str]:
    """Return what a server may not change between two reads of the same media playlist (RFC 8216 section 6.2.1 and 6.2.2)."""
    old, new = parse_media(before), parse_media(after)
    problems = []
    if old.target_s != new.target_s:
        problems.append(f"EXT-X-TARGETDURATION changed from {old.target_s} to {new.target_s}")
    if old.ended and before != after:
        problems.append("the playlist changed after EXT-X-ENDLIST")
    if new.media_sequence < old.media_sequence:
        problems.append("EXT-X-MEDIA-SEQUENCE went back")
    removed = new.media_sequence - old.media_sequence
    kept = old.segments[removed:] if removed >= 0 else []
    for position, segment in enumerate(kept):
        if position >= len(new.segments):
            problems.append(f"{segment.uri} left the playlist from its end")
            break
        other = new.segments[position]
        if (segment.uri, segment.duration_s, segment.discontinuity, segment.map_uri) != (
            other.uri, other.duration_s, other.discontinuity, other.map_uri,
        ):  # fmt: skip
            problems.append(f"segment {new.media_sequence + position} changed from {segment.uri} to {other.uri}")
    if 0 <= removed <= len(old.segments):
        expected = old.discontinuity_sequence + sum(segment.discontinuity for segment in old.segments[:removed])
        if new.discontinuity_sequence != expected:
            problems.append(f"EXT-X-DISCONTINUITY-SEQUENCE is {new.discontinuity_sequence}, not {expected}")
    elif new.discontinuity_sequence < old.discontinuity_sequence:
        problems.append("EXT-X-DISCONTINUITY-SEQUENCE went back")
    return problems


def lint_multivariant(text: str) -> list[str]:
    """Return what is wrong with a multivariant playlist."""
    problems: list[str] = []
    groups: set[str] = set()
    used: list[str] = []
    pending: dict[str, str] | None = None
    variants = 0
    for line in _head(text, _KNOWN_MULTIVARIANT, problems):
        tag = _tag(line)
        if tag == "#EXT-X-MEDIA":
            media = _attributes(line, problems)
            problems += [f"EXT-X-MEDIA without {name} (4.3.4.1)" for name in ("TYPE", "GROUP-ID", "NAME") if name not in media]
            groups.add(media.get("GROUP-ID", ""))
        elif tag == "#EXT-X-STREAM-INF":
            if pending is not None:
                problems.append("EXT-X-STREAM-INF without a URI (4.3.4.2)")
            pending = _attributes(line, problems)
        elif not line.startswith("#"):
            if pending is None:
                problems.append(f"{line} has no EXT-X-STREAM-INF (4.3.4.2)")
                continue
            problems += _lint_variant(line, pending)
            used += [pending["AUDIO"]] if "AUDIO" in pending else []
            variants += 1
            pending = None
    if not variants or pending is not None:
        problems.append("a multivariant playlist needs a variant with a URI (4.3.4.2)")
    problems += [f"group {group} is not defined (4.3.4.2.1)" for group in set(used) - groups]
    return problems


def _lint_variant(uri: str, attributes: dict[str, str]) -> list[str]:
    problems = []
    peak, average = attributes.get("BANDWIDTH", ""), attributes.get("AVERAGE-BANDWIDTH", "")
    if not peak.isdecimal() or int(peak) == 0:
        problems.append(f"{uri}: BANDWIDTH is missing or no positive integer (4.3.4.2)")
    elif average and (not average.isdecimal() or int(average) > int(peak)):
        problems.append(f"{uri}: AVERAGE-BANDWIDTH {average} is above BANDWIDTH {peak}")
    codecs = attributes.get("CODECS", "").strip('"').split(",")
    problems += [f"{uri}: {codec!r} is no codec of ours" for codec in codecs if not _CODEC.fullmatch(codec)]
    if "AUDIO" in attributes and not any(codec.startswith("mp4a") for codec in codecs):
        problems.append(f"{uri}: CODECS does not cover the audio group (4.3.4.2)")
    video = any(codec.startswith("avc1") for codec in codecs)
    if video and not _RESOLUTION.fullmatch(attributes.get("RESOLUTION", "")):
        problems.append(f"{uri}: video without RESOLUTION (4.3.4.2)")
    if "FRAME-RATE" in attributes and not re.fullmatch(r"\d+\.\d{3}", attributes["FRAME-RATE"]):
        problems.append(f"{uri}: FRAME-RATE is not rounded to three decimals (4.3.4.2)")
    return problems
