"""The engine: every part of Salam, put together after one `Settings`, ready to be mounted in an aiohttp application."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from aiohttp import web as http

from ingest import RtmpServer
from salam import AuthError, Clock, ConfigError, Metrics, RealClock, RequestError, ResourceError, get_logger
from salam_server.api import api_routes, error_middleware
from salam_server.call_media import SfuCallMedia
from salam_server.checks import require_codecs
from salam_server.pages import page_routes
from salam_server.settings import ENVIRONMENT_PREFIX, Settings
from salam_server.turn import ice_server_source, open_ice_servers
from sfu import Worker, WorkerStats
from signaling import CallMedia, Grants, Limits, NoMedia, SignalingServer, TokenIssuer
from transcode import LiveLimits, LiveOrigin

__all__ = ["Engine"]

_log = get_logger("server")

# The whole process must be gone 5 s after Ctrl-C; this leaves the rest of the time to the parts' own close.
_DRAIN_NOTICE_S = 0.3
# Clients come back spread over this many seconds, or all of them meet the new process at once.
_RETRY_AFTER_S = 2.0


class Engine:
    """All of Salam in one object: `start`, `mount` in an aiohttp application, `drain`, `close`.

    `mount` does the other three by itself when the application starts and stops; call them only without an application.
    ``settings.calls``, ``settings.live`` and ``settings.pages`` choose the parts. ``clock`` and ``metrics`` may be the embedder's.
    """

    def __init__(self, settings: Settings, *, clock: Clock | None = None, metrics: Metrics | None = None) -> None:
        settings.require_secret()
        self.settings = settings
        self.clock: Clock = RealClock() if clock is None else clock
        self.metrics = Metrics() if metrics is None else metrics
        self._ready = False
        self._started = False
        # Without a secret (development) tokens are still signed, with one that ends with the process.
        self._issuer = TokenIssuer(settings.secret or secrets.token_urlsafe(48))
        self._tls = _tls_context(settings)
        self._worker = self._make_worker() if settings.calls else None
        self._media = None if self._worker is None else SfuCallMedia(self._worker)
        media: CallMedia = NoMedia() if self._media is None else self._media
        self._signaling = SignalingServer(
            issuer=self._issuer,
            dev=settings.dev,
            media=media,
            clock=self.clock,
            metrics=self.metrics,
            limits=Limits(participants_per_room=settings.max_participants, rooms=settings.max_rooms),
            ice_servers=open_ice_servers(settings),
            ice_source=ice_server_source(settings),
            server_name=settings.server_name,
            allowed_origins=settings.allowed_origins,
        )
        self._origin: LiveOrigin | None = None
        self._rtmp: list[RtmpServer] = []
        if settings.live:
            self._origin = LiveOrigin(
                data_dir=settings.data_dir,
                metrics=self.metrics,
                clock=self.clock,
                limits=LiveLimits(streams=settings.max_streams),
                on_state=self._stream_state_changed,
            )
            self._rtmp = self._make_rtmp_servers(self._origin)

    # ------------------------------------------------------------------------------------------- what it is

    @property
    def ready(self) -> bool:
        """Whether every part is started and none is draining."""
        return self._ready

    @property
    def media_port(self) -> int:
        """The port of all WebRTC media; 0 without calls."""
        return 0 if self._worker is None else self._worker.port

    @property
    def rtmp_port(self) -> int:
        """The RTMP port; 0 without livestreams."""
        return self._rtmp[0].port if self._rtmp else 0

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The TLS context of the set certificate, for the HTTP site."""
        return self._tls

    @property
    def signaling(self) -> SignalingServer:
        """The WebSocket server, for embedders that add their own behaviour."""
        return self._signaling

    def streams(self) -> list[dict[str, Any]]:
        """Return every known livestream with its state, viewers and rungs."""
        if self._origin is None:
            return []
        return [
            {
                "stream": stream.name,
                "state": stream.state,
                "viewers": self._signaling.viewer_count(stream.name),
                "started_at": stream.started_at,
                "rungs": [{"name": rung.name, "width": rung.width, "height": rung.height} for rung in stream.rungs],
            }
            for stream in self._origin.streams()
        ]

    def rooms(self) -> list[dict[str, Any]]:
        """Return every open room with its number of participants."""
        return [{"room": room.room, "participants": room.participants} for room in self._signaling.rooms()]

    def media_stats(self) -> WorkerStats | None:
        """Return the totals of the media server; None without calls."""
        return None if self._worker is None else self._worker.stats()

    def mint_token(self, grants: Grants, *, ttl_s: float) -> str:
        """Return a signed token with ``grants`` that expires after ``ttl_s`` seconds."""
        return self._issuer.mint(grants, ttl_s=ttl_s, now_wall=self.clock.wall())

    # ------------------------------------------------------------------------------------------- its life

    def mount(self, app: http.Application) -> None:
        """Add every route to ``app`` and bind the engine's life to the application's."""
        app.middlewares.append(error_middleware)
        app.router.add_get("/ws", self._signaling.handle)
        app.router.add_routes(api_routes(self))
        if self._origin is not None:
            app.router.add_routes(self._origin.routes())
        if self.settings.pages:
            app.router.add_routes(page_routes())
        app.cleanup_ctx.append(self._with_application)
        app.on_shutdown.append(self._application_stops)

    async def start(self) -> None:
        """Open every port and start every part.

        Raises ResourceError naming a taken port or a missing codec; whatever was started until then is closed again.
        """
        if self._started:
            raise RequestError("the engine was started before; make a new one", code="started_before")
        self._started = True
        try:
            if self._origin is not None:
                await asyncio.to_thread(require_codecs)
                await self._origin.start()
            if self._worker is not None:
                await _open_port("media_port", self._worker.start())
            await self._signaling.start()
            for setting, rtmp in zip(("rtmp_port", "rtmps_port"), self._rtmp, strict=False):
                await _open_port(setting, rtmp.start())
        except BaseException:
            await self.close()
            raise
        self._ready = True

    async def drain(self) -> None:
        """Tell clients that the server stops and when to come back; new ones are turned away from now on."""
        if self._ready:
            self._ready = False
            await self._signaling.drain(_RETRY_AFTER_S)
            await self.clock.sleep(_DRAIN_NOTICE_S)

    async def close(self) -> None:
        """Close every part; idempotent. A part that fails to close does not keep the others open."""
        self._ready = False
        parts: list[Any] = [*self._rtmp, self._signaling, self._media, self._worker, self._origin]
        for part in parts:
            if part is None:
                continue
            try:
                await part.close()
            except Exception:
                _log.exception("closing %s failed", type(part).__name__)

    async def _with_application(self, app: http.Application) -> AsyncIterator[None]:
        await self.start()
        yield
        await self.close()

    async def _application_stops(self, app: http.Application) -> None:
        # WebSockets must end here: aiohttp waits for open requests before it runs the clean-up.
        await self.drain()
        await self._signaling.close()

    # ------------------------------------------------------------------------------------------- its parts

    def _make_worker(self) -> Worker:
        settings = self.settings
        return Worker(
            host=settings.listen_host,
            port=settings.media_port,
            announced_addresses=settings.announced_addresses,
            announced_port=settings.announced_media_port or None,
            include_loopback=settings.dev,
            metrics=self.metrics,
            clock=self.clock,
        )

    def _make_rtmp_servers(self, origin: LiveOrigin) -> list[RtmpServer]:
        plain = (self.settings.rtmp_port, None)
        secure = [(self.settings.rtmps_port, self._tls)] if self._tls is not None else []
        return [
            RtmpServer(
                host=self.settings.listen_host,
                port=port,
                authorize=self._authorize_publish,
                open_sink=origin.open_sink,
                metrics=self.metrics,
                clock=self.clock,
                tls=tls,
            )
            for port, tls in [plain, *secure]
        ]

    def _authorize_publish(self, stream: str, token: str) -> None:
        if self.settings.dev and not token:
            return
        grants = self._issuer.verify(token, now_wall=self.clock.wall())
        if grants.stream not in ("*", stream):
            raise AuthError(f"the token does not allow publishing the stream {stream!r}", code="grant_missing")

    def _stream_state_changed(self, stream: str, state: str) -> None:
        _log.info("stream %s is %s", stream, state)
        self._signaling.set_stream_state(stream, state)


async def _open_port(setting: str, start: Awaitable[None]) -> None:
    try:
        await start
    except ResourceError as error:
        variable = f"{ENVIRONMENT_PREFIX}{setting.upper()}"
        raise ResourceError(f"{error.message}; choose another with {setting} or {variable}", code=error.code) from error


def _tls_context(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"tls_cert {settings.tls_cert} and tls_key {settings.tls_key} cannot be used: {error}") from None
    return context
