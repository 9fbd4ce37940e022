"""A strict receiver beside real browsers: nothing that is forwarded may make a decoder stumble."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext

from bench import Robot, StrictReceiver
from salam_server import Engine, serving
from sfu.plane import RtpPacket
from sfu.plane.packets import CodecName, MediaPacket
from tests.support.browser import until
from tests.support.engine import dev_settings

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]


class Arrivals:
    """What came from the browser, layer by layer, before anything was forwarded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._layers: dict[int, dict[int, MediaPacket]] = {}

        def made(packet: RtpPacket, sequence: int, codec: CodecName, *rest: Any) -> MediaPacket:
            media = MediaPacket(packet, sequence, codec, *rest)
            if codec != "opus":
                self._layers.setdefault(packet.ssrc, {})[sequence] = media
            return media

        monkeypatch.setattr("sfu.plane.layers.MediaPacket", made)

    def layers(self) -> int:
        """How many layers have come."""
        return len(self._layers)

    def left_out(self) -> int:
        """How often the browser itself left a picture, or the end of one, out without a hole in its sequence numbers."""
        count = 0
        for packets in self._layers.values():
            for sequence, packet in packets.items():
                before = packets.get(sequence - 1)
                if before is not None and before.timestamp != packet.timestamp:
                    count += not before.marker or packet.picture - before.picture > 1
        return count


@pytest.mark.parametrize("codec", ["vp8", "h264"])
async def test_layers_switch_at_keyframes_only(
    tmp_path: Path,
    context: BrowserContext,
    codec: str,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    arrivals = Arrivals(monkeypatch)
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
            flushes = sum(receiver.flushes for receiver in receivers)
            record_property("flushes", flushes)
            assert arrivals.layers() == 3
            # What is missing without a hole was missing when it came: forwarding has left nothing out.
            assert flushes <= arrivals.left_out()
