"""A group of whole devices, two in Python and one in a browser over its database; members are added and removed by both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page

from e2ee import Device, E2EEError, MemoryStore, Operation
from tests.support.e2ee_page import e2ee_page, run_module
from tests.support.e2ee_world import Directory

pytestmark = pytest.mark.asyncio(loop_scope="module")

BROWSER = "بوب"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page() -> AsyncIterator[Page]:
    async with e2ee_page() as opened:
        yield opened


class Mixed:
    """Ann and Cleo here, one device in the browser, and the server between them. All know each other."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.directory = Directory()
        self.here: dict[str, Device] = {}
        self.bundles: list[str] = []

    async def ask(self, function: str, *arguments: Any) -> Any:
        return await run_module(self.page, "device_groups.js", function, *arguments)

    async def meet(self) -> None:
        there = await self.ask("begin", BROWSER)
        self.bundles = there["bundles"]
        for name in ("ann", "cleo"):
            self.here[name] = await Device.create(MemoryStore(), name)
            self.directory.publish(await self.here[name].publish())
        for device in self.here.values():
            await device.learn(BROWSER, bytes.fromhex(there["list"]), [bytes.fromhex(there["certificate"])])
            for name in self.here:
                await device.learn(name, self.directory.lists[name].encoded, self.directory.certificates(name))
        for name in self.here:
            certificates = [one.hex() for one in self.directory.certificates(name)]
            await self.ask("learn", name, self.directory.lists[name].encoded.hex(), certificates)

    async def apply(self, operation: bytes) -> set[str]:
        """Everybody takes the operation; the hashes of what they have then."""
        group, hashes = Operation.parse(operation).group_id, set()
        for device in self.here.values():
            view = await device.groups.view(group)
            if view is not None:
                await device.groups.apply([operation])
                view = await device.groups.view(group)
                assert view is not None
                hashes.add(view.hash.hex())
        assert await self.ask("applyAll", [operation.hex()]) == {"result": 1}
        return hashes | {(await self.ask("viewGroup", group.hex()))["hash"]}

    async def say_here(self, name: str, group: bytes, text: bytes) -> tuple[bytes, list[str]]:
        device = self.here[name]
        for user_id, device_id in await device.groups.needs_bundles(group):
            there = user_id == BROWSER
            await device.start(bytes.fromhex(self.bundles.pop()) if there else self.directory.bundle(user_id, device_id))
        sent = await device.groups.send(group, text)
        for key in sent.keys:
            if key.user_id == BROWSER:
                assert await self.ask("take", name, device.device_id, key.message.hex()) == {"result": "senderKey"}
            else:
                assert (await self.here[key.user_id].decrypt(name, device.device_id, key.message)).refused is None
        return sent.message, sorted(key.user_id for key in sent.keys)

    async def say_there(self, group: bytes, text: bytes) -> tuple[bytes, list[str]]:
        for address in await self.ask("needed", group.hex()):
            await self.ask("start", self.directory.bundle(address["userId"], address["deviceId"]).hex())
        sent = (await self.ask("say", group.hex(), text.hex()))["result"]
        for key in sent["keys"]:
            assert (await self.here[key["user"]].decrypt(BROWSER, 1, bytes.fromhex(key["message"]))).refused is None
        return bytes.fromhex(sent["message"]), sorted(key["user"] for key in sent["keys"])

    async def heard(self, sender: str, message: bytes) -> dict[str, bytes | str]:
        """What everybody but the sender makes of a message."""
        results: dict[str, bytes | str] = {}
        for name, device in self.here.items():
            if name != sender:
                try:
                    results[name] = (await device.groups.receive(sender, 1, message)).data
                except E2EEError as error:
                    results[name] = error.code
        if sender != BROWSER:
            outcome = await self.ask("hear", sender, 1, message.hex())
            results[BROWSER] = bytes.fromhex(outcome["result"]) if "result" in outcome else outcome["error"]
        return results


async def test_python_makes_the_group_and_the_browser_is_removed_last(page: Page) -> None:
    mixed = Mixed(page)
    await mixed.meet()
    created = await mixed.here["ann"].groups.create([BROWSER, "cleo"], admins=[BROWSER])
    group = created.group_id
    await mixed.here["cleo"].groups.join([created.encoded])
    joined = (await mixed.ask("joinGroup", [created.encoded.hex()]))["result"]
    assert (joined["members"], joined["isMember"]) == (sorted(["ann", BROWSER, "cleo"]), True)
    for name in ("ann", "cleo"):
        message, keys = await mixed.say_here(name, group, f"from {name}".encode())
        assert keys == sorted({"ann", "cleo", BROWSER} - {name})
        assert set((await mixed.heard(name, message)).values()) == {f"from {name}".encode()}
    message, keys = await mixed.say_there(group, "السلام".encode())
    assert keys == ["ann", "cleo"]
    assert await mixed.heard(BROWSER, message) == {"ann": "السلام".encode(), "cleo": "السلام".encode()}
    # The page is loaded again, and goes on with the same keys.
    await mixed.ask("reopen")
    message, keys = await mixed.say_there(group, b"again")
    assert keys == []
    assert await mixed.heard(BROWSER, message) == {"ann": b"again", "cleo": b"again"}
    removal = bytes.fromhex((await mixed.ask("change", group.hex(), "remove", ["cleo"]))["result"])
    assert len(await mixed.apply(removal)) == 1
    message, keys = await mixed.say_here("ann", group, b"without cleo")
    assert keys == [BROWSER]
    assert await mixed.heard("ann", message) == {BROWSER: b"without cleo", "cleo": "not_a_member"}
    message, keys = await mixed.say_there(group, b"indeed")
    assert keys == ["ann"]
    assert await mixed.heard(BROWSER, message) == {"ann": b"indeed", "cleo": "not_a_member"}
    leaving = await mixed.here["ann"].groups.remove(group, [BROWSER])
    assert len(await mixed.apply(leaving.encoded)) == 1
    assert await mixed.ask("say", group.hex(), "00") == {"error": "not_a_member"}
    message, keys = await mixed.say_here("ann", group, b"alone")
    assert keys == []
    assert await mixed.heard("ann", message) == {BROWSER: "not_a_member", "cleo": "not_a_member"}
    await mixed.ask("end")


async def test_the_browser_makes_the_group_and_shows_the_chain(page: Page) -> None:
    mixed = Mixed(page)
    await mixed.meet()
    created = bytes.fromhex(await mixed.ask("createGroup", ["ann"]))
    group = Operation.parse(created).group_id
    # The key comes before the chain and waits for it.
    message, keys = await mixed.say_there(group, b"early")
    assert keys == ["ann"]
    assert await mixed.heard(BROWSER, message) == {"ann": "group_state_mismatch", "cleo": "group_state_mismatch"}
    await mixed.here["ann"].groups.join([created])
    assert (await mixed.heard(BROWSER, message))["ann"] == b"early"
    assert (await mixed.ask("change", group.hex(), "add", ["nobody"])) == {"error": "no_session"}
    added = bytes.fromhex((await mixed.ask("change", group.hex(), "add", ["cleo"]))["result"])
    assert len(await mixed.apply(added)) == 1
    chain = await mixed.here["ann"].groups.chain(group)
    assert chain.operations == (created, added)
    await mixed.here["cleo"].groups.join(chain.operations, chain.certificates)
    message, keys = await mixed.say_there(group, b"welcome")
    assert keys == ["cleo"]
    assert await mixed.heard(BROWSER, message) == {"ann": b"welcome", "cleo": b"welcome"}
    message, _ = await mixed.say_here("cleo", group, b"thanks")
    assert await mixed.heard("cleo", message) == {"ann": b"thanks", BROWSER: b"thanks"}
    with pytest.raises(E2EEError, match="only an admin"):
        await mixed.here["cleo"].groups.rekey(group)
    await mixed.ask("end")
