"""Write the golden store of the present release's groups: a SQLite file that every later release must open and go on with.

Run it once for a new version of the records, never again for a released one: ``python -m tests.e2ee.golden.make_groups_store``.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from e2ee import Device, GroupSent, MemoryStore, SqliteStore
from e2ee.store.migrations import CURRENT
from e2ee.store.sqlite import Durability
from tests.support.e2ee_world import Directory, ManualClock, meet, new_device, options

FOLDER = Path(__file__).parent
STORE_KEY = bytes(range(32))


async def take(reader: Device, sender: Device, sent: GroupSent) -> None:
    for key in sent.keys:
        await reader.decrypt(sender.user_id, sender.device_id, key.message)


async def make(path: Path) -> dict[str, object]:
    """Ann's device with two groups of bob's: one in use, with a gap, and one of which only a key has come."""
    directory, clock = Directory(), ManualClock()
    store = SqliteStore(path, STORE_KEY, Durability.NORMAL)
    ann = await new_device(directory, "ann", options(clock, seed=1), store)
    bob = await new_device(directory, "bob", options(clock, seed=2), MemoryStore())
    await meet(directory, ann, "bob")
    await meet(directory, bob, "ann")
    created = await bob.groups.create(["ann"])
    group = created.group_id
    await ann.groups.join([created.encoded])
    first = await bob.groups.send(group, b"first")
    await take(ann, bob, first)
    skipped, later = [await bob.groups.send(group, text) for text in (b"skipped", b"later")]
    for sent in (first, later):
        await ann.groups.receive("bob", 1, sent.message)
    await ann.groups.send(group, b"from ann")
    early = await bob.groups.create(["ann"])
    waited = await bob.groups.send(early.group_id, b"waited")
    await take(ann, bob, waited)
    following = await bob.groups.send(group, b"following")
    rekey = await bob.groups.rekey(group)
    await store.close()
    return {
        "note": "A store with groups as this version wrote it, and messages that its device can read.",
        "store_key": STORE_KEY.hex(),
        "now": clock.now,
        "group": group.hex(),
        "waiting_chain": early.encoded.hex(),
        "rekey": rekey.encoded.hex(),
        "messages": [
            {"text": "skipped", "message": skipped.message.hex()},
            {"text": "following", "message": following.message.hex()},
            {"text": "waited", "message": waited.message.hex()},
        ],
    }


if __name__ == "__main__":
    target = FOLDER / f"groups_v{CURRENT.version}.sqlite"
    target.unlink(missing_ok=True)
    described = asyncio.run(make(target))
    target.with_suffix(".json").write_text(json.dumps(described, indent=1) + "\n")
