"""Real browser tabs in a call that is encrypted end to end, through the real forwarding unit, which cannot read a frame of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page

from salam_server import Engine, serving
from tests.support.browser import until
from tests.support.engine import dev_settings

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

PARTY = (Path(__file__).parents[1] / "support" / "encrypted_party.js").read_text()
State = dict[str, Any]


class Party:
    """A tab and its participant."""

    def __init__(self, page: Page, participant_id: str) -> None:
        self.page = page
        self.id = participant_id

    async def state(self) -> State:
        state: State = await self.page.evaluate("() => party.call.debug()")
        return state

    async def track(self, of: Party, kind: str) -> State:
        """What this one receives of somebody's track, with the counts of its frames; empty before it is there."""
        state = await self.state()
        for track in state["tracks"]:
            if track["participant"] == of.id and track["kind"] == kind:
                received = state["encryption"]["received"] if state["encryption"] else []
                counts = [row for row in received if (row["sender"], row["stream"]) == (of.id, track["source"])]
                return {**track, "counts": counts[0] if counts else {"frames": 0, "dropped": {}}}
        return {}

    async def show(self, of: Party, height: int) -> None:
        track = await self.track(of, "video")
        await self.page.evaluate("([id, height]) => party.call.setShownHeight(id, height)", [track["track_id"], height])


async def enter(context: BrowserContext, url: str, name: str, **options: bool | str) -> Party:
    page = await context.new_page()
    await page.goto(f"{url}/")
    return Party(page, await page.evaluate(PARTY, {"name": name, **options}))


def decoded(track: State) -> float:
    """A number that grows while the track is seen or heard."""
    return float(track.get("frames_decoded", 0) if track.get("kind") == "video" else track.get("audio_energy", 0.0))


async def gets_through(receiver: Party, sender: Party, kind: str) -> None:
    before = await receiver.track(sender, kind)

    async def grown() -> bool:
        track = await receiver.track(sender, kind)
        return bool(track) and decoded(track) > decoded(before) + (20 if kind == "video" else 0)

    await until(grown, f"{kind} is decoded")


async def is_dropped(receiver: Party, sender: Party, kind: str, code: str) -> None:
    """Wait until frames are dropped for that reason, then until many more are, none of which is decoded."""

    async def dropped() -> int:
        track = await receiver.track(sender, kind)
        return int(track["counts"]["dropped"].get(code, 0)) if track else 0

    before = await dropped()
    await until(lambda: _more(dropped, before + 10), f"{kind} is dropped as {code}")
    # What the decoder still had is through by now.
    still = await receiver.track(sender, kind)
    await until(lambda: _more(dropped, still["counts"]["dropped"][code] + 60), f"{kind} goes on being dropped as {code}")
    after = await receiver.track(sender, kind)
    assert after["counts"]["frames"] == still["counts"]["frames"]
    if kind == "video":
        assert after["frames_decoded"] == still["frames_decoded"]


async def _more(count: Any, than: int) -> bool:
    return bool(await count() > than)


async def key_frames(sender: Party) -> list[int]:
    """How many key frames each layer of the camera has had."""
    script = "async () => [...(await party.call.publisher.pc.getStats()).values()].map((row) => row.keyFramesEncoded ?? -1)"
    return [count for count in await sender.page.evaluate(script) if count >= 0]


async def layer_becomes(receiver: Party, sender: Party, height: int, layers: set[str]) -> State:
    await receiver.show(sender, height)

    async def there() -> State | None:
        track = await receiver.track(sender, "video")
        return track if track["layer"] in layers else None

    await until(there, f"the layer is one of {sorted(layers)}")
    await gets_through(receiver, sender, "video")
    return await receiver.track(sender, "video")


async def test_a_call_is_encrypted_through_the_forwarding_unit(
    tmp_path: Path, context: BrowserContext, record_property: Any
) -> None:
    async with serving(Engine(dev_settings(tmp_path, live=False))) as site:
        amal = await enter(context, site.url, "Amal", camera=True, microphone=True)
        badr = await enter(context, site.url, "Badr", microphone=True)
        # What was begun cannot be changed: neither switched on late nor given other keys.
        twice = "() => { try { party.call.enableEncryption({ keys: party.keys }) } catch (error) { return error.name } }"
        assert await badr.page.evaluate(twice) == "InvalidStateError"
        dina = await enter(context, site.url, "Dina", microphone=True)
        for receiver, sender, kind in ((badr, amal, "video"), (badr, amal, "audio"), (dina, amal, "video"), (amal, dina, "audio")):
            await gets_through(receiver, sender, kind)

        # Three layers, one counter: the key switches the layer and the decoder goes on.
        small = await layer_becomes(badr, amal, 90, {"q"})
        large = await layer_becomes(badr, amal, 1440, {"h", "f"})
        again = await layer_becomes(badr, amal, 90, {"q"})
        assert small["height"] == again["height"] < large["height"]
        assert "vp8" in small["codec"].lower()

        # Everybody counts dina out, who stays connected and is forwarded everything.
        pictures = await key_frames(amal)
        for party in (amal, badr):
            await party.page.evaluate("(id) => party.keys.left(id)", dina.id)
        await is_dropped(dina, amal, "video", "unknown_frame_key")
        await is_dropped(dina, amal, "audio", "unknown_frame_key")
        await is_dropped(amal, dina, "audio", "unknown_frame_key")
        await gets_through(badr, amal, "video")
        await gets_through(badr, amal, "audio")
        await gets_through(amal, badr, "audio")
        states = {name: (await party.state())["encryption"] for name, party in (("amal", amal), ("badr", badr), ("dina", dina))}
        # With the new key come whole pictures of all three layers.
        assert [after > before for before, after in zip(pictures, await key_frames(amal), strict=True)] == [True] * 3
        # Two joined, then one left: a ratchet for each, then another generation.
        assert states["amal"]["kid"] == {"generation": 1, "step": 0}
        assert all(not row["dropped"] for row in states["amal"]["sent"])
        assert not any(state["refused"] for state in states.values())
        record_property("encryption", states)


async def test_nothing_is_played_that_comes_in_the_clear(tmp_path: Path, context: BrowserContext) -> None:
    async with serving(Engine(dev_settings(tmp_path, live=False))) as site:
        amal = await enter(context, site.url, "Amal", camera=True)
        plain = await enter(context, site.url, "Plain", camera=True, encrypted=False)
        await until(lambda: amal.track(plain, "video"), "the clear track is forwarded")

        async def all_dropped() -> bool:
            counts = (await amal.track(plain, "video"))["counts"]
            return int(sum(counts["dropped"].values())) > 60

        await until(all_dropped, "clear frames are dropped")
        track = await amal.track(plain, "video")
        assert track["counts"]["frames"] == 0
        assert track["frames_decoded"] == 0


async def test_h264_is_encrypted_through_the_forwarding_unit_too(tmp_path: Path, context: BrowserContext) -> None:
    async with serving(Engine(dev_settings(tmp_path, live=False))) as site:
        amal = await enter(context, site.url, "Amal", camera=True, codec="h264")
        badr = await enter(context, site.url, "Badr")
        await gets_through(badr, amal, "video")
        small = await layer_becomes(badr, amal, 90, {"q"})
        large = await layer_becomes(badr, amal, 1440, {"h", "f"})
        again = await layer_becomes(badr, amal, 90, {"q"})
        assert small["height"] == again["height"] < large["height"]
        assert "h264" in small["codec"].lower()
        assert not large["counts"]["dropped"].keys() - {"unknown_frame_key"}
