"""Browsers and robots behind a symmetric NAT that lets no UDP through take part in a room all the same."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from tests.support.browser import CHROMIUM_FLAGS, debug, until
from tests.support.lab_call import LabRobot, visiting
from tests.support.lab_servers import MEDIA_PORT, TURN_PORT, TURN_SECRET, public_coturn, public_salam
from tests.support.nat_lab import Namespace, NatLab, NatMode, refuse_without_lab

pytestmark = [pytest.mark.browser, pytest.mark.peer, pytest.mark.timeout(300)]


@asynccontextmanager
async def tab_at(home: Namespace, chromium: str, url: str, folder: Path) -> AsyncIterator[Page]:
    """Open a tab of a browser that runs in ``home``, and trusts this site with camera and microphone as it would one over HTTPS."""
    wrapper = folder / "chromium-at-home"
    wrapper.write_text(f'#!/bin/sh\nexec {shlex.join(home.command(chromium))} "$@"\n')
    wrapper.chmod(0o755)
    flags = [*CHROMIUM_FLAGS, f"--unsafely-treat-insecure-origin-as-secure={url}"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=wrapper, args=flags, headless=True)
        try:
            context = await browser.new_context(permissions=["camera", "microphone"])
            yield await context.new_page()
        finally:
            await browser.close()


async def joins_and_sees(page: Page, url: str, robot: LabRobot, path: str) -> None:
    """Join the room of ``robot`` and wait until each sees the other one, both ways of the tab being ``path``."""
    await page.goto(f"{url}/room/blue?name=Amal&join=1")

    async def sees_and_is_seen() -> bool:
        assert robot.alive(), robot.log()
        state = await debug(page)
        decoded = sum(track["frames_decoded"] for track in state.get("tracks", []) if track["kind"] == "video")
        paths = (state.get("publish_path"), state.get("subscribe_path"))
        return decoded > 20 and robot.report["frames"] > 20 and paths == (path, path)

    await until(sees_and_is_seen, f"the tab takes part over {path}", timeout_s=120.0)


async def test_over_tcp_to_the_media_server_itself(need_program: Callable[..., str], tmp_path: Path) -> None:
    refuse_without_lab(need_program)
    chromium = need_program("chromium", "chromium-browser", "google-chrome")
    with NatLab(NatMode.UDP_BLOCKED, NatMode.PORT_RESTRICTED) as lab:
        async with (
            public_salam(lab, tmp_path) as url,
            visiting(lab.b.host, url, "blue", tmp_path) as robot,
            tab_at(lab.a.host, chromium, url, tmp_path) as page,
        ):
            await joins_and_sees(page, url, robot, "tcp")


async def test_over_tcp_to_a_relay(need_program: Callable[..., str], tmp_path: Path) -> None:
    refuse_without_lab(need_program)
    chromium = need_program("chromium", "chromium-browser", "google-chrome")
    turnserver = need_program("turnserver")
    async with AsyncExitStack() as stack:
        lab = stack.enter_context(NatLab(NatMode.UDP_BLOCKED, NatMode.UDP_BLOCKED))
        # Otherwise the tab would have no need of a relay. The robot has: it speaks no ICE-TCP.
        lab.block(lab.a, f"tcp dport {MEDIA_PORT}")
        await stack.enter_async_context(public_coturn(lab, turnserver, tmp_path))
        turn_url = f"turn:{lab.public_address}:{TURN_PORT}?transport=tcp"
        url = await stack.enter_async_context(public_salam(lab, tmp_path, turn_urls=turn_url, turn_secret=TURN_SECRET))
        robot = await stack.enter_async_context(visiting(lab.b.host, url, "blue", tmp_path))
        page = await stack.enter_async_context(tab_at(lab.a.host, chromium, url, tmp_path))
        await joins_and_sees(page, url, robot, "relay-tcp")
        assert robot.report["paths"] == {"publish": "relay-tcp", "subscribe": "relay-tcp"}
