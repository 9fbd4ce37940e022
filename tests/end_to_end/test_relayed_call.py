"""A browser tab and a robot in one room, with the tab's media going through a real TURN server and nothing else."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page

from bench import GeneratedMedia, Robot
from salam_server import Engine, Site, serving
from tests.support.browser import debug, until
from tests.support.coturn import Coturn, StartCoturn, coturn
from tests.support.engine import dev_settings

__all__ = ["coturn"]

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

SECRET = "shared by salam and coturn"


@contextlib.asynccontextmanager
async def site_with(relay: Coturn, folder: Path, transport: str, **changes: Any) -> AsyncIterator[Site]:
    settings = dev_settings(folder, live=False, turn_urls=(relay.uri(transport),), turn_secret=SECRET, **changes)
    async with serving(Engine(settings)) as site:
        yield site


async def join(context: BrowserContext, site: Site) -> Page:
    page = await context.new_page()
    await page.goto(f"{site.url}/room/blue?name=Amal&join=1&relay=1")
    return page


async def flows_both_ways(page: Page, robot: Robot) -> None:
    """Wait until the page has decoded more of the robot, and the robot got more frames of the page, than now."""
    before, heard = await debug(page), frames_of(robot)

    def decoded(state: dict[str, Any]) -> int:
        return sum(track["frames_decoded"] for track in state.get("tracks", []) if track["kind"] == "video")

    async def grown() -> bool:
        return decoded(await debug(page)) > decoded(before) + 20 and frames_of(robot) > heard + 20

    await until(grown, "media flows through the relay, both ways")


def frames_of(robot: Robot) -> int:
    return sum(track.frames for track in robot.stats().received if track.kind == "video")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_tab_takes_part_through_a_relay_alone(
    context: BrowserContext, coturn: StartCoturn, tmp_path: Path, transport: str
) -> None:
    relay = await coturn(secret=SECRET)
    media = GeneratedMedia(width=320, height=180, fps=15, loop_s=4)
    async with (
        site_with(relay, tmp_path, transport) as site,
        Robot(site.url + "/ws", room="blue", name="Robot", publish=media) as robot,
    ):
        page = await join(context, site)
        await flows_both_ways(page, robot)
        state = await debug(page)
        assert state["publish_path"] == f"relay-{transport}"
        assert state["subscribe_path"] == f"relay-{transport}"


async def test_a_relayed_call_outlives_its_credentials(context: BrowserContext, coturn: StartCoturn, tmp_path: Path) -> None:
    relay = await coturn(secret=SECRET)
    media = GeneratedMedia(width=320, height=180, fps=15, loop_s=4)
    async with (
        site_with(relay, tmp_path, "udp", turn_ttl_s=10) as site,
        Robot(site.url + "/ws", room="blue", name="Robot", publish=media) as robot,
    ):
        page = await join(context, site)
        await flows_both_ways(page, robot)

        async def renewed_twice() -> bool:
            log = await relay.log()
            return len(set(re.findall(r"username=<(\d+:[^>]+)>", log))) >= 3

        await until(renewed_twice, "relays are asked for with newer credentials, and again")
        await flows_both_ways(page, robot)
        assert (await debug(page))["publish_path"] == "relay-udp"
