"""Runs an engine as a process of its own: the HTTP site, the signals, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web as http
from aiohttp.abc import AbstractAccessLogger

from salam import Metrics, get_logger
from salam_server.checks import taken_port
from salam_server.engine import Engine

__all__ = ["Site", "run_until_signal", "serving"]

_log = get_logger("server")

# How long the HTTP server waits for open requests at the end; blocking playlist reloads and slow downloads are cut then.
_SHUTDOWN_TIMEOUT_S = 1.0
# The last resort: a part that hangs in its close must not keep the process past its 5 seconds.
_CLOSE_TIMEOUT_S = 4.0
# Uploads are none of the server's routes yet; token requests and WebSocket upgrades are tiny.
_MAX_BODY_BYTES = 65_536


class _CountRefused(AbstractAccessLogger):
    """Counts requests that were malformed or refused; nothing is logged per request."""

    metrics: Metrics

    @property
    def enabled(self) -> bool:
        return True

    def log(self, request: http.BaseRequest, response: http.StreamResponse, time: float) -> None:
        if response.status == 400:
            self.metrics.drop("http", "malformed")
        elif response.status == 413:
            self.metrics.drop("http", "too_large")
        elif response.status in (404, 405):
            self.metrics.drop("http", "unknown_route")


class Site:
    """A running engine with its HTTP port."""

    def __init__(self, engine: Engine, http_port: int) -> None:
        self.engine = engine
        self.http_port = http_port

    @property
    def url(self) -> str:
        """The URL of the home page, as a browser on this machine reaches it."""
        host = self.engine.settings.listen_host
        shown = "localhost" if host in ("0.0.0.0", "::", "127.0.0.1", "::1") else host
        scheme = "https" if self.engine.tls is not None else "http"
        return f"{scheme}://{shown}:{self.http_port}"


@contextlib.asynccontextmanager
async def serving(engine: Engine) -> AsyncIterator[Site]:
    """Serve ``engine`` over HTTP while the context is open; at its end clients are told, and everything is closed.

    Raises ResourceError naming a taken port.
    """
    settings = engine.settings
    app = http.Application(client_max_size=_MAX_BODY_BYTES)
    engine.mount(app)
    access_log = type("CountRefused", (_CountRefused,), {"metrics": engine.metrics})
    quiet = logging.getLogger("salam.http")
    # Malformed requests are counted; a line for each would let strangers fill the disk.
    quiet.setLevel(logging.CRITICAL)
    runner = http.AppRunner(
        app,
        access_log_class=access_log,
        access_log=logging.getLogger("salam.access"),
        logger=quiet,
        shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
        handle_signals=False,
    )
    try:
        await runner.setup()
        site = http.TCPSite(runner, settings.listen_host, settings.http_port, ssl_context=engine.tls)
        try:
            await site.start()
        except OSError as error:
            raise taken_port("http_port", settings.http_port, "HTTP", error) from None
        addresses = runner.addresses
        yield Site(engine, int(addresses[0][1]))
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await runner.cleanup()


async def run_until_signal(engine: Engine, started: Callable[[Site], Awaitable[None]]) -> None:
    """Serve until SIGINT or SIGTERM; ``started`` runs beside the server once it answers, and is cancelled at the end.

    The second signal ends the process at once, for whoever cannot wait.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            raise SystemExit(128 + number)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, functools.partial(on_signal, number))
    async with serving(engine) as site:
        beside = loop.create_task(_run_beside(started, site), name="salam/started")
        waiting = loop.create_task(stop.wait(), name="salam/signal")
        try:
            done, _ = await asyncio.wait({beside, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if beside in done:
                # It ended by itself: either it had nothing more to do, or its failure is ours.
                beside.result()
                await waiting
        finally:
            for task in (beside, waiting):
                task.cancel()
            await asyncio.gather(beside, waiting, return_exceptions=True)
        _log.info("stopping")


async def _run_beside(started: Callable[[Site], Awaitable[None]], site: Site) -> None:
    await started(site)
