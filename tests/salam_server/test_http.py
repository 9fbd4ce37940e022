"""The HTTP side of the engine: pages, API, and how refusals look."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from salam_server import Engine, Settings, Site, serving

SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    settings = Settings(dev=True, live=False, http_port=0, media_port=0, data_dir=tmp_path)
    async with serving(Engine(settings)) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize("path", ["/", "/room/blue", "/watch/show", "/web/sdk/index.js"])
async def test_pages_come_with_their_policy(site: Site, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(site.url + path) as response:
        assert response.status == 200
        policy = response.headers["Content-Security-Policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/web/sdk/../__init__.py",
        "/web/sdk/%2e%2e/__init__.py",
        "/web/node_modules/typescript/package.json",
        "/web/pages/nothing.html",
        "/web/pages/%00.html",
        "/web/pages/" + "x" * 3_000 + ".html",
        "/nowhere",
    ],
)
async def test_nothing_else_is_served(site: Site, http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(URL(site.url + path, encoded=True)) as response:
        assert response.status == 404


async def test_the_api_tells_what_the_server_is(site: Site, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{site.url}/api/v1/server") as response:
        told = await response.json()
    assert told["dev"] is True
    assert told["media_port"] == site.engine.media_port
    for path, body in (("/healthz", "ok\n"), ("/readyz", "ready\n")):
        async with http.get(site.url + path) as response:
            assert await response.text() == body
    async with http.get(f"{site.url}/metrics") as response:
        assert "salam_dropped_total" in await response.text()


async def test_development_tokens_open_what_was_asked(site: Site, http: aiohttp.ClientSession) -> None:
    async with http.post(f"{site.url}/dev/token", json={"room": "blue", "identity": "amal"}) as response:
        assert response.status == 200
        assert (await response.json())["token"].count(".") == 2
    async with http.post(f"{site.url}/dev/token", json={"rum": "blue"}) as response:
        assert response.status == 400
        told = (await response.json())["error"]
    assert told["code"] == "protocol_error"
    assert "rum" in told["message"]
    async with http.post(f"{site.url}/dev/token", data=b"x" * 100_000) as response:
        assert response.status == 413


async def test_without_dev_there_are_no_development_routes(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    settings = Settings(secret=SECRET, host="127.0.0.1", live=False, http_port=0, media_port=0, data_dir=tmp_path)
    async with serving(Engine(settings)) as site:
        async with http.post(f"{site.url}/dev/token") as response:
            assert response.status in (404, 405)
        async with http.get(f"{site.url}/api/v1/rooms") as response:
            assert response.status == 404
        async with http.ws_connect(f"{site.url}/ws", protocols=["salam.v1.json"]) as ws:
            await ws.send_json({"t": "hello", "id": 1})
            refused = await ws.receive_json()
        assert refused["t"] == "error"
        assert refused["code"] == "token_missing"


async def test_an_engine_runs_once(tmp_path: Path) -> None:
    engine = Engine(Settings(dev=True, live=False, media_port=0, data_dir=tmp_path))
    await engine.start()
    started = engine.ready
    await engine.drain()
    drained = not engine.ready
    assert (started, drained) == (True, True)
    await engine.close()
    await engine.close()
