"""Real browser tabs in a call that is encrypted end to end, through the real forwarding unit, which cannot read a frame of it."""

from __future__ import annotations

import base64
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from e2ee.frames import Codec
from e2ee.sframe import Header
from salam_server import Engine, Site, serving
from signaling.messages import ParticipantLeft, Removed
from signaling.secure_messages import SendSecure
from tests.support.browser import debug, until
from tests.support.engine import dev_settings
from tests.support.tap import Tap

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

SUPPORT = Path(__file__).parents[1] / "support"
PARTY = (SUPPORT / "encrypted_party.js").read_text()
COLLECTOR = (SUPPORT / "frame_collector.js").read_text()
KEPT_KEYS = (SUPPORT / "kept_keys.js").read_text()
# One camera is enough to be looked at, and two more would only keep the machine busy.
NO_CAMERA = """
const devices = navigator.mediaDevices;
const open = devices.getUserMedia.bind(devices);
devices.getUserMedia = (wanted) => (wanted.video ? Promise.reject(new DOMException("", "NotFoundError")) : open(wanted));
"""
# Of each track, before the removal and after it.
ENOUGH_FRAMES = 60
State = dict[str, Any]
Frame = dict[str, str]


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


async def enter(context: BrowserContext, url: str, name: str, *scripts: str, **options: bool | str) -> Party:
    page = await context.new_page()
    for script in scripts:
        await page.add_init_script(script)
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


async def _more(count: Any, than: float) -> bool:
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


async def join(context: BrowserContext, site: Site, name: str, *scripts: str) -> tuple[Page, str]:
    """Somebody in the room with the page that everybody has, encrypted, and who they are there."""
    page = await context.new_page()
    for script in scripts:
        await page.add_init_script(script)
    await page.goto(f"{site.url}/room/blue?name={name}&join=1&e2ee=1")

    async def ready() -> bool:
        return ((await debug(page)).get("secure") or {}).get("state") == "ready"

    await until(ready, f"{name} is in the room with keys")
    return page, str((await debug(page))["participant_id"])


async def receives(page: Page, sender: str, kind: str) -> None:
    """Wait until more of somebody's track is seen or heard than now."""

    async def amount() -> float:
        tracks = (await debug(page)).get("tracks", [])
        return sum(decoded(track) for track in tracks if (track["participant"], track["kind"]) == (sender, kind))

    before = await amount()
    await until(lambda: _more(amount, before + (20 if kind == "video" else 0)), f"{kind} is decoded")


async def kid(page: Page) -> int:
    now = (await debug(page))["encryption"]["kid"]
    return int(now["generation"] << 4 | now["step"])


def generation_of(frame: Frame) -> int:
    """Of which generation of its sender's keys a forwarded frame says it is."""
    return _parts(frame)[1].kid >> 4


def claiming(frame: Frame, kid: int) -> Frame:
    """The frame, saying that it is under another key."""
    codec, (clear, header, sealed) = Codec.named(frame["codec"]), _parts(frame)
    changed = codec.join(clear, Header(kid, header.counter).encode() + sealed)
    return {**frame, "data": base64.b64encode(changed).decode()}


def _parts(frame: Frame) -> tuple[bytes, Header, bytes]:
    clear, sealed = Codec.named(frame["codec"]).split_sealed(base64.b64decode(frame["data"]))
    header, length = Header.parse(sealed)
    return clear, header, sealed[length:]


class Collector:
    """A tab in the room that has no keys and offers none: it is forwarded everything, and keeps it."""

    def __init__(self, page: Page) -> None:
        self._page = page

    async def count(self) -> int:
        return int(await self._page.evaluate("() => collected.length"))

    async def since(self, start: int) -> list[Frame]:
        frames: list[Frame] = await self._page.evaluate("(start) => collected.slice(start)", start)
        return frames

    async def enough(self, start: int, tracks: set[tuple[str, str]], newer_than: int = -1) -> list[Frame]:
        """Wait for enough frames of each track (sender, source) under later generations than that; everything since ``start``."""

        async def collected() -> list[Frame] | None:
            frames = await self.since(start)
            counts = Counter((frame["sender"], frame["stream"]) for frame in frames if generation_of(frame) > newer_than)
            return frames if all(counts[track] >= ENOUGH_FRAMES for track in tracks) else None

        found: list[Frame] = await until(collected, "enough frames of every track are forwarded")
        return found


async def remove(moderator: Page, name: str) -> None:
    """The moderator's own button, on that one's tile."""
    await moderator.bring_to_front()
    tile = moderator.locator("salam-tile", has_text=name)
    await tile.hover()
    await tile.locator("[aria-label^='Moderate']").click()
    await moderator.get_by_role("menuitem", name="Remove from room").click()


def nothing_was_sent_to(removed: str, seen: list[Any]) -> None:
    """Nobody so much as tried to, from the removal on, although there was something to be sent."""
    removed_at = next(at for at, message in enumerate(seen) if isinstance(message, Removed))
    sent = [envelope for message in seen[removed_at:] if isinstance(message, SendSecure) for envelope in message.messages]
    assert sent
    assert removed not in {envelope.participant_id for envelope in sent}
    assert {message.reason for message in seen if isinstance(message, ParticipantLeft)} == {"removed"}


async def test_a_removed_member_opens_nothing_with_what_it_has(
    tmp_path: Path, browser: Browser, context: BrowserContext, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    tap = Tap(monkeypatch)
    async with serving(Engine(dev_settings(tmp_path, live=False))) as site:
        amal, amal_id = await join(context, site, "Amal")
        badr, badr_id = await join(context, site, "Badr", NO_CAMERA)
        dina, dina_id = await join(context, site, "Dina", NO_CAMERA, KEPT_KEYS)
        outside = await browser.new_context(bypass_csp=True)
        collector = Collector((await enter(outside, site.url, "Robot", COLLECTOR, encrypted=False)).page)
        for page, sender, kind in (
            (dina, amal_id, "video"),
            (dina, badr_id, "audio"),
            (badr, amal_id, "video"),
            (amal, dina_id, "audio"),
        ):
            await receives(page, sender, kind)
        tracks = {(amal_id, "camera"), (amal_id, "microphone"), (badr_id, "microphone")}
        before = await collector.enough(await collector.count(), tracks)
        old = {amal_id: await kid(amal), badr_id: await kid(badr)}
        generations = {sender: number >> 4 for sender, number in old.items()}
        said_before = len(tap.seen)

        start = await collector.count()
        await remove(amal, "Dina")
        await dina.get_by_role("heading", name="You were removed").wait_for()
        assert "A moderator took you out of this room." in (await dina.locator("salam-state").text_content() or "")
        assert not await dina.locator("#call").is_visible()
        for page, own in ((amal, amal_id), (badr, badr_id)):

            async def renewed(page: Page = page, own: str = own) -> bool:
                return await kid(page) >> 4 > generations[own]

            await until(renewed, "a fresh key after the removal")
        after = await collector.enough(start, tracks, newer_than=max(generations.values()))

        # The same code opens everything from before, and nothing under a key that was made after it.
        earlier = [frame for frame in before if frame["sender"] != dina_id]
        assert await dina.evaluate("tryToOpen", earlier) == [""] * len(earlier)
        kept = [frame for frame in after if frame["sender"] != dina_id]
        fresh = [frame for frame in kept if generation_of(frame) > generations[frame["sender"]]]
        assert {(frame["sender"], frame["stream"]) for frame in fresh} == tracks
        assert await dina.evaluate("tryToOpen", fresh) == ["unknown_frame_key"] * len(fresh)
        # Nor with the old key itself, which is still there: a frame that claims to be under it is tried.
        claims = [claiming(frame, old[frame["sender"]]) for frame in fresh]
        assert await dina.evaluate("tryToOpen", claims) == ["decryption_failed"] * len(claims)
        for track in tracks:
            numbers = [generation_of(frame) for frame in kept if (frame["sender"], frame["stream"]) == track]
            assert numbers == sorted(numbers), "who has begun with the fresh key does not go back"
        nothing_was_sent_to(dina_id, tap.seen[said_before:])
        await receives(badr, amal_id, "video")
        await receives(amal, badr_id, "audio")
        frames = {"before": len(earlier), "after, old key": len(kept) - len(fresh), "after, fresh key": len(fresh)}
        record_property("frames", frames)
        await outside.close()
