"""The fixture of live origins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from salam import Metrics, RealClock
from tests.transcode.live_rig import Site
from transcode import LiveLimits, LiveOrigin

MakeSite = Callable[..., Awaitable[Site]]


@pytest.fixture
async def make_site(tmp_path: Path) -> AsyncIterator[MakeSite]:
    """Return a maker of origins; ``limits`` and ``clock`` as for `LiveOrigin`."""
    sites: list[Site] = []

    async def make(limits: LiveLimits | None = None, clock: object | None = None) -> Site:
        states: list[tuple[str, str]] = []
        metrics = Metrics()
        origin = LiveOrigin(
            data_dir=tmp_path,
            metrics=metrics,
            clock=clock or RealClock(),  # type: ignore[arg-type]
            limits=limits or LiveLimits(),
            on_state=lambda name, state: states.append((name, state)),
        )
        await origin.start()
        app = web.Application()
        app.router.add_routes(origin.routes())
        client = TestClient(TestServer(app))
        await client.start_server()
        site = Site(origin, client, states, metrics)
        sites.append(site)
        return site

    yield make
    for site in sites:
        await site.client.close()
        await site.origin.close()
