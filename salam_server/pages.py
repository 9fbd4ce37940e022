"""Serves the web client: the pages, their modules, and the headers that keep them safe."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web as http

import web
from salam_server.page_files import PageFiles

__all__ = ["page_routes", "security_headers"]

_PAGES = {"/": "index.html", "/room/{name}": "room.html", "/watch/{stream}": "watch.html"}
_FOLDERS = ("pages", "sdk", "ui", "style", "assets", "vendor")

# The pages run no inline script and ask nobody else for anything. `blob:` media is what Media Source playback is made of.
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob: mediastream:",
        "connect-src 'self' ws: wss:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'self'",
        "require-trusted-types-for 'script'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Permissions-Policy": "camera=(self), microphone=(self), display-capture=(self), autoplay=(self), fullscreen=(self)",
    # Modules are small and change with the server: always ask, answer 304 when nothing changed.
    "Cache-Control": "no-cache",
}

# A worker has the policy of its own script. Only the one that hashes passphrases runs WebAssembly, and it asks for nothing.
_WORKER_POLICIES = {
    "argon2_worker.js": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'",
}

_CONTENT_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}

Handler = Callable[[http.Request], Awaitable[http.StreamResponse]]


def security_headers() -> dict[str, str]:
    """Return the headers that go with every page and module."""
    return dict(_HEADERS)


def page_routes() -> list[http.RouteDef]:
    """Return the routes of the pages and of everything they load."""
    files = PageFiles()

    def page(path: Path) -> Handler:
        async def serve(request: http.Request) -> http.StreamResponse:
            return await files.respond(request, path, _headers(path))

        return serve

    async def module(request: http.Request) -> http.StreamResponse:
        folder, name = request.match_info["folder"], request.match_info["path"]
        # The disk may be slow, and the event loop carries everybody's media.
        path = await asyncio.to_thread(_find, folder, name)
        if path is None:
            raise http.HTTPNotFound(text="no such file")
        return await files.respond(request, path, _headers(path))

    async def favicon(request: http.Request) -> http.StreamResponse:
        path = await asyncio.to_thread(_find, "assets", "icon.svg")
        return http.Response(status=204) if path is None else await files.respond(request, path, _headers(path))

    routes = [http.get(path, page(web.FILES / "pages" / name)) for path, name in _PAGES.items()]
    routes.append(http.get("/web/{folder}/{path:.+}", module))
    routes.append(http.get("/favicon.ico", favicon))
    return routes


def _find(folder: str, name: str) -> Path | None:
    if folder not in _FOLDERS:
        return None
    base = (web.FILES / folder).resolve()
    try:
        path = (base / name).resolve()
        inside = path.is_relative_to(base) and path.is_file()
    except (OSError, ValueError):
        # A name with a NUL byte, or one too long for the file system.
        return None
    return path if inside and path.suffix in _CONTENT_TYPES else None


def _headers(path: Path) -> dict[str, str]:
    content_type = _CONTENT_TYPES[path.suffix]
    if content_type.startswith("text/"):
        content_type += "; charset=utf-8"
    headers = {**_HEADERS, "Content-Type": content_type}
    if path.name in _WORKER_POLICIES:
        headers["Content-Security-Policy"] = _WORKER_POLICIES[path.name]
    return headers
