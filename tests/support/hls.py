"""Reads an HLS presentation as a strict player would: playlists, init segments, every segment, decoded."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp
import av
import m3u8

__all__ = ["Rendition", "Segment", "decode_segment", "fetch_renditions", "segment_bounds"]


@dataclass
class Segment:
    """One media segment as fetched."""

    sequence: int
    duration_s: float
    discontinuity: bool
    data: bytes


@dataclass
class Rendition:
    """One media playlist with everything it names."""

    name: str
    kind: str
    codec: str
    width: int
    height: int
    init: bytes
    timescale_hz: int
    segments: list[Segment] = field(default_factory=list)

    @property
    def peak_bps(self) -> float:
        """The highest bit rate of any segment."""
        return max(len(segment.data) * 8 / segment.duration_s for segment in self.segments)


async def _get(http: aiohttp.ClientSession, url: str) -> bytes:
    async with http.get(url) as response:
        assert response.status == 200, (url, response.status)
        return await response.read()


async def fetch_renditions(http: aiohttp.ClientSession, index_url: str) -> list[Rendition]:
    """Fetch the multivariant playlist at ``index_url`` and everything that it reaches."""
    index = m3u8.loads((await _get(http, index_url)).decode(), uri=index_url)
    urls = [playlist.absolute_uri for playlist in index.playlists]
    urls += [media.absolute_uri for media in index.media if media.uri]
    return [await _fetch_rendition(http, url) for url in dict.fromkeys(urls)]


async def _fetch_rendition(http: aiohttp.ClientSession, url: str) -> Rendition:
    playlist = m3u8.loads((await _get(http, url)).decode(), uri=url)
    # A window may slide between the playlist and its segments; the init segment stays.
    rendition: Rendition | None = None
    for number, item in enumerate(playlist.segments):
        if rendition is None or item.discontinuity:
            init = await _get(http, item.init_section.absolute_uri)
        if rendition is None:
            rendition = _describe(url, init)
        rendition.segments.append(
            Segment(
                sequence=playlist.media_sequence + number,
                duration_s=item.duration,
                discontinuity=bool(item.discontinuity),
                data=await _get(http, item.absolute_uri),
            )
        )
    assert rendition is not None, f"{url} names no segment"
    return rendition


def _describe(url: str, init: bytes) -> Rendition:
    codec = _codec_string(init)
    with av.open(io.BytesIO(init), format="mp4") as container:
        stream = container.streams[0]
        context = stream.codec_context
        width, height = getattr(context, "width", 0) or 0, getattr(context, "height", 0) or 0
    timescale_hz = struct.unpack(">I", find_box(init, b"moov", b"trak", b"mdia", b"mdhd")[12:16])[0]
    return Rendition(url, "video" if codec.startswith("avc1") else "audio", codec, width, height, init, timescale_hz)


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, body) of each ISO BMFF box in ``data`` (ISO/IEC 14496-12 4.2)."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        assert size >= 8, (kind, size)
        yield kind, data[at + 8 : at + size]
        at += size
    assert at == len(data), "bytes after the last box"


def find_box(data: bytes, *path: bytes) -> bytes:
    """Return the body of the first box at ``path``."""
    for kind in path:
        data = next(body for found, body in boxes(data) if found == kind)
    return data


def _codec_string(init: bytes) -> str:
    """The RFC 6381 codec string that the sample entry of an init segment stands for."""
    entry = find_box(init, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")[8:]
    [(kind, body)] = list(boxes(entry))
    if kind == b"avc1":
        # A visual sample entry has 78 bytes before its boxes (ISO/IEC 14496-12 12.1.3).
        config = find_box(body[78:], b"avcC")
        return f"avc1.{config[1]:02x}{config[2]:02x}{config[3]:02x}"
    assert kind == b"mp4a"
    return "mp4a.40.2"


def decode_segment(init: bytes, data: bytes) -> tuple[int, bool]:
    """Decode a segment alone after its init segment; return its number of frames and whether the first packet is a keyframe."""
    frames, first_is_key = 0, None
    with av.open(io.BytesIO(init + data), mode="r", format="mp4") as container:
        for packet in container.demux(container.streams[0]):
            if first_is_key is None and packet.size:
                first_is_key = packet.is_keyframe
            for frame in packet.decode():
                assert not getattr(frame, "is_corrupt", False)
                frames += 1
    return frames, bool(first_is_key)


def segment_bounds(rendition: Rendition) -> dict[int, float]:
    """Return the decode time in seconds at which each segment begins, by media sequence number."""
    bounds = {}
    for segment in rendition.segments:
        tfdt = find_box(segment.data, b"moof", b"traf", b"tfdt")
        ticks = struct.unpack(">Q", tfdt[4:12])[0] if tfdt[0] == 1 else struct.unpack(">I", tfdt[4:8])[0]
        bounds[segment.sequence] = round(ticks / rendition.timescale_hz, 6)
    return bounds
