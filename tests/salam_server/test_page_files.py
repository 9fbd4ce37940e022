"""Page files travel compressed to who accepts that, and every form of a file has its own tag."""

from __future__ import annotations

import gzip
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web as http
from hypothesis import given
from hypothesis import strategies as st

from salam_server import Engine, Settings, Site, page_files, serving
from salam_server.page_files import PageFiles, accepts_gzip

MODULE = "/web/ui/strings_en.js"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    settings = Settings(dev=True, live=False, http_port=0, media_port=0, data_dir=tmp_path)
    async with serving(Engine(settings)) as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that takes what comes as it is, and asks for nothing by itself."""
    async with aiohttp.ClientSession(auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as session:
        yield session


async def fetch(client: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, Mapping[str, str], bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.get(url, headers=named) as response:
        return response.status, response.headers, await response.read()


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("br, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q = 0.000", False),
        ("identity", False),
        ("*", True),
        ("*;q=0", False),
        ("*;q=0, gzip", True),
        ("*, gzip;q=0", False),
        ("x-gzip", True),
        ("gzip;q=many", False),
        ("gzip;q=2", False),
        ("gzipped", False),
    ],
)
def test_what_a_client_accepts(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted


@given(st.text())
def test_any_header_is_readable(header: str) -> None:
    assert accepts_gzip(header) in (True, False)


@pytest.mark.parametrize("path", ["/", "/room/blue", "/watch/show", MODULE, "/web/style/base.css", "/web/assets/icon.svg"])
async def test_both_forms_are_the_same_file(site: Site, client: aiohttp.ClientSession, path: str) -> None:
    status, plain_headers, plain = await fetch(client, site.url + path)
    assert status == 200
    assert "Content-Encoding" not in plain_headers
    status, headers, body = await fetch(client, site.url + path, Accept_Encoding="gzip, deflate, br")
    assert status == 200
    assert headers["Content-Encoding"] == "gzip"
    assert int(headers["Content-Length"]) == len(body) < len(plain)
    assert gzip.decompress(body) == plain
    # One cache in between must not give the one form to who asked for the other.
    assert headers["Vary"] == plain_headers["Vary"] == "Accept-Encoding"
    assert headers["ETag"] != plain_headers["ETag"]
    for name in ("Content-Type", "Content-Security-Policy", "Cache-Control", "X-Content-Type-Options"):
        assert headers[name] == plain_headers[name]


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_an_unchanged_file_is_not_sent_again(site: Site, client: aiohttp.ClientSession, encoding: str) -> None:
    url = site.url + MODULE
    _, headers, _ = await fetch(client, url, Accept_Encoding=encoding)
    for tag in (headers["ETag"], f'"other", W/{headers["ETag"]}'):
        status, again, body = await fetch(client, url, Accept_Encoding=encoding, If_None_Match=tag)
        assert (status, body) == (304, b"")
        assert again["ETag"] == headers["ETag"]
        assert again["Vary"] == "Accept-Encoding"
        assert again["Cache-Control"] == "no-cache"
    other = "identity" if encoding == "gzip" else "gzip"
    status, _, body = await fetch(client, url, Accept_Encoding=other, If_None_Match=headers["ETag"])
    assert status == 200
    assert body


async def test_a_range_is_of_the_plain_file(site: Site, client: aiohttp.ClientSession) -> None:
    _, _, plain = await fetch(client, site.url + MODULE)
    status, headers, body = await fetch(client, site.url + MODULE, Accept_Encoding="gzip", Range="bytes=10-19")
    assert (status, body) == (206, plain[10:20])
    assert "Content-Encoding" not in headers
    assert headers["Vary"] == "Accept-Encoding"


async def test_head_tells_the_length_of_what_get_sends(site: Site, client: aiohttp.ClientSession) -> None:
    _, _, body = await fetch(client, site.url + MODULE, Accept_Encoding="gzip")
    async with client.head(site.url + MODULE, headers={"Accept-Encoding": "gzip"}) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert int(response.headers["Content-Length"]) == len(body)
        assert await response.read() == b""


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[tuple[Path, str]]:
    """A folder whose files are served, and the address they are at."""
    files = PageFiles()

    async def serve(request: http.Request) -> http.StreamResponse:
        return await files.respond(request, tmp_path / request.match_info["name"], {"Content-Type": "text/javascript"})

    app = http.Application()
    app.router.add_get("/{name}", serve)
    runner = http.AppRunner(app)
    await runner.setup()
    try:
        await http.TCPSite(runner, "127.0.0.1", 0).start()
        yield tmp_path, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_changed_file_is_compressed_anew(folder: tuple[Path, str], client: aiohttp.ClientSession) -> None:
    path, url = folder
    module = path / "a.js"
    tags = set()
    for turn, text in enumerate((b"one " * 100, b"two " * 100)):
        module.write_bytes(text)
        # Of the same size, and as far as some file systems' clocks tell of the same time.
        os.utime(module, ns=(turn, turn))
        status, headers, body = await fetch(client, f"{url}/a.js", Accept_Encoding="gzip")
        assert (status, gzip.decompress(body)) == (200, text)
        tags.add(headers["ETag"])
    assert len(tags) == 2


@pytest.mark.parametrize(("name", "content"), [("noise.js", os.urandom(2_000)), ("empty.js", b""), ("picture.png", b"0" * 2_000)])
async def test_what_gains_nothing_is_sent_as_it_is(
    folder: tuple[Path, str], client: aiohttp.ClientSession, name: str, content: bytes
) -> None:
    path, url = folder
    (path / name).write_bytes(content)
    status, headers, body = await fetch(client, f"{url}/{name}", Accept_Encoding="gzip")
    assert (status, body) == (200, content)
    assert "Content-Encoding" not in headers


async def test_each_file_is_compressed_once_and_few_are_kept(
    folder: tuple[Path, str], client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, url = folder
    compressed: list[str] = []
    compress = page_files._compress

    def count(file: Path, version: tuple[int, int]) -> Any:
        compressed.append(file.name)
        return compress(file, version)

    monkeypatch.setattr(page_files, "_compress", count)
    monkeypatch.setattr(page_files, "_MAX_FILES", 2)
    for name in ("a.js", "b.js", "c.js"):
        (path / name).write_bytes(b"word " * 100)
    for name in ("a.js", "a.js", "b.js", "a.js", "c.js", "a.js", "b.js"):
        status, headers, _ = await fetch(client, f"{url}/{name}", Accept_Encoding="gzip")
        assert (status, headers["Content-Encoding"]) == (200, "gzip")
    # The one that nobody asked for the longest had to go, and was made again.
    assert compressed == ["a.js", "b.js", "c.js", "b.js"]
