"""Robots whose media goes through a real TURN server that their server named, and that outlive the credentials for it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bench import GeneratedMedia, Robot
from salam import ClosedError
from salam_server import Engine, serving
from tests.support.coturn import StartCoturn, coturn
from tests.support.engine import dev_settings

__all__ = ["coturn"]

pytestmark = pytest.mark.timeout(180)

Eventually = Callable[..., Awaitable[object]]

SECRET = "shared by salam and coturn"
MEDIA = GeneratedMedia(width=320, height=180, fps=15, loop_s=4)


def frames_of(robot: Robot) -> int:
    return sum(track.frames for track in robot.stats().received if track.kind == "video")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_robots_meet_through_a_relay_alone(
    coturn: StartCoturn, tmp_path: Path, eventually: Eventually, transport: str
) -> None:
    relay = await coturn(secret=SECRET)
    settings = dev_settings(tmp_path, live=False, turn_urls=(relay.uri(transport),), turn_secret=SECRET)
    async with (
        serving(Engine(settings)) as site,
        Robot(f"{site.url}/ws", room="blue", name="Amal", publish=MEDIA, relay_only=True) as amal,
        Robot(f"{site.url}/ws", room="blue", name="Badr", relay_only=True) as badr,
    ):
        await eventually(lambda: frames_of(badr) > 20, what="pictures come through both relays")
        assert amal.paths == {"publish": f"relay-{transport}"}
        assert badr.paths == {"subscribe": f"relay-{transport}"}


async def test_a_relay_outlives_the_credentials_that_it_was_made_with(
    coturn: StartCoturn, tmp_path: Path, eventually: Eventually
) -> None:
    relay = await coturn(secret=SECRET, allocate_lifetime_s=10, nonce_lifetime_s=5)
    settings = dev_settings(tmp_path, live=False, turn_urls=(relay.uri("udp"),), turn_secret=SECRET, turn_ttl_s=10)
    async with (
        serving(Engine(settings)) as site,
        Robot(f"{site.url}/ws", room="blue", name="Amal", publish=MEDIA, relay_only=True) as amal,
        Robot(f"{site.url}/ws", room="blue", name="Badr") as badr,
    ):

        async def refreshed_by_two_names() -> bool:
            log = await relay.log()
            return len(set(re.findall(r"user <(\d+:[^>]+)>: incoming packet REFRESH processed, success", log))) >= 2

        await eventually(refreshed_by_two_names, what="the relay is refreshed with newer credentials")
        seen = frames_of(badr)
        await eventually(lambda: frames_of(badr) > seen + 20, what="pictures still come")
        assert amal.paths == {"publish": "relay-udp"}
        assert amal.stats().connections_lost == 0


async def test_a_direct_way_is_taken_where_there_is_one(coturn: StartCoturn, tmp_path: Path, eventually: Eventually) -> None:
    relay = await coturn(secret=SECRET)
    settings = dev_settings(tmp_path, live=False, turn_urls=(relay.uri("udp"),), turn_secret=SECRET)
    async with (
        serving(Engine(settings)) as site,
        Robot(f"{site.url}/ws", room="blue", name="Amal", publish=MEDIA) as amal,
    ):
        await eventually(lambda: amal.paths == {"publish": "host"}, what="the direct way is taken")


async def test_without_a_relay_those_who_want_nothing_else_do_not_connect(tmp_path: Path) -> None:
    async with serving(Engine(dev_settings(tmp_path, live=False))) as site:
        robot = Robot(f"{site.url}/ws", room="blue", name="Amal", publish=MEDIA, relay_only=True, connect_timeout_s=30)
        with pytest.raises(ClosedError):
            await robot.__aenter__()
        assert robot.paths == {}
