"""A strict receiver beside real browsers: nothing that is forwarded may make a decoder stumble."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext

from bench import Robot, StrictReceiver
from salam_server import Engine, serving
from tests.support.browser import until
from tests.support.engine import dev_settings

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


@pytest.mark.parametrize("codec", ["vp8", "h264"])
async def test_layers_switch_at_keyframes_only(
    tmp_path: Path, context: BrowserContext, codec: str, record_property: Callable[[str, object], None]
) -> None:
    async with serving(Engine(dev_settings(tmp_path, live=False))) as site:
        page = await context.new_page()
        await page.goto(f"{site.url}/room/strict?name=Amal&join=1&codec={codec}")
        async with Robot(f"{site.url}/ws", room="strict", name="Judge", strict=True, flushing_publishers=True) as judge:

            async def has_video() -> bool:
                return any(track.kind == "video" and track.packets > 30 for track in judge.stats().received)

            await until(has_video, "the judge receives the browser's video")
            [video] = [track for track in judge.stats().received if track.kind == "video"]
            for rid in ("h", "f", "q", "f", "h", "q"):
                await judge.set_layer(video.track_id, rid=rid)

                async def switched(rid: str = rid) -> bool:
                    return any(track.track_id == video.track_id and track.layer == rid for track in judge.stats().received)

                await until(switched, f"the judge receives layer {rid}", timeout_s=120)
                now = next(track.packets for track in judge.stats().received if track.track_id == video.track_id)

                async def flows(now: int = now) -> bool:
                    return any(track.packets > now + 40 for track in judge.stats().received if track.track_id == video.track_id)

                await until(flows, f"layer {rid} flows")
            receivers: list[StrictReceiver] = judge.strict_receivers()
            assert receivers
            for receiver in receivers:
                assert receiver.packets > 0
                assert receiver.violations == []
            record_property("flushes", [receiver.flushes for receiver in receivers])
