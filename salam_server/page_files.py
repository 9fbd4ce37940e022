"""Sends the files of the web client: compressed once and from memory to browsers that accept it, else from the disk."""

from __future__ import annotations

import asyncio
import gzip
import re
import stat
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web as http

__all__ = ["PageFiles", "accepts_gzip"]

# Pictures are compressed already.
_COMPRESSIBLE = frozenset({".css", ".html", ".js", ".json", ".mjs", ".svg", ".wasm", ".webmanifest"})
# The client has some seventy files; the bound holds when a folder that is served grows beyond what anybody expected.
_MAX_FILES = 256
# Seven times the largest module. With the bound above, the most memory there could ever be is known.
_MAX_FILE_BYTES = 4 * 1024 * 1024
# The work is done once per file, so the smallest result is worth it.
_LEVEL = 9
# RFC 9110 12.4.2: three decimals at most, nothing above one. Whatever is only zeros says "not acceptable".
_WEIGHT = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Compressed:
    """What a file was compressed to; ``body`` is None when that does not make it smaller."""

    version: tuple[int, int]
    body: bytes | None


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether a client takes gzip. Anything unreadable counts as a no. ``accept_encoding``: the header, RFC 9110 12.5.3."""
    weights: dict[str, bool] = {}
    for item in accept_encoding.split(","):
        coding, *parameters = (part.strip() for part in item.split(";"))
        matches = [_WEIGHT.fullmatch(parameter.replace(" ", "")) for parameter in parameters]
        weights[coding.lower()] = all(match is not None and float(match[1]) > 0 for match in matches)
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", False)))


class PageFiles:
    """Answers requests with files; keeps the compressed form of those asked for last.

    A file that changes on the disk is compressed anew. Each form has its own ETag, RFC 9110 8.8.3.3. A range is one of the plain
    file.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Path, _Compressed] = OrderedDict()
        # One at a time: a browser that asks for all modules at once must not take every core from the media.
        self._compressing = asyncio.Lock()

    async def respond(self, request: http.Request, path: Path, headers: Mapping[str, str]) -> http.StreamResponse:
        """Answer ``request`` with the file ``path``, which must exist. ``headers`` name its content type."""
        if path.suffix not in _COMPRESSIBLE:
            return http.FileResponse(path, headers=headers)
        headers = {**headers, "Vary": "Accept-Encoding"}
        if "Range" not in request.headers and accepts_gzip(request.headers.get("Accept-Encoding", "")):
            found = await self._compressed(path)
            if found is not None and found.body is not None:
                return _answer(request, found.version, found.body, headers)
        return http.FileResponse(path, headers=headers)

    async def _compressed(self, path: Path) -> _Compressed | None:
        version = await asyncio.to_thread(_version, path)
        if version is None:
            return None
        found = self._kept.get(path)
        if found is None or found.version != version:
            async with self._compressing:
                # Whoever waited for the lock may have waited for this very file.
                found = self._kept.get(path)
                if found is None or found.version != version:
                    found = await asyncio.to_thread(_compress, path, version)
                    self._kept[path] = found
        self._kept.move_to_end(path)
        while len(self._kept) > _MAX_FILES:
            self._kept.popitem(last=False)
        return found


def _version(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE_BYTES:
        return None
    return status.st_mtime_ns, status.st_size


def _compress(path: Path, version: tuple[int, int]) -> _Compressed:
    try:
        plain = path.read_bytes()
    except OSError:
        return _Compressed(version, None)
    # No time in the header: the same file gives the same bytes.
    body = gzip.compress(plain, _LEVEL, mtime=0)
    return _Compressed(version, body if len(body) < len(plain) else None)


def _answer(request: http.Request, version: tuple[int, int], body: bytes, headers: Mapping[str, str]) -> http.Response:
    etag = f"{version[0]:x}-{version[1]:x}-gzip"
    known = request.if_none_match or ()
    # If-None-Match compares weakly, RFC 9110 13.1.2: a proxy may have marked our tag as weak.
    if any(tag.value in (etag, "*") for tag in known):
        response = http.Response(status=304, headers=headers)
    else:
        response = http.Response(body=body, headers={**headers, "Content-Encoding": "gzip"})
    response.etag = etag
    return response
