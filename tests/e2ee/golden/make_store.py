"""Write the golden store of the present release: a SQLite file that every later release must open and go on with.

Run it once for a new version of the records, never again for a released one: ``python -m tests.e2ee.golden.make_store``.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from e2ee import Device, MemoryStore, SqliteStore
from e2ee.store.migrations import CURRENT
from e2ee.store.sqlite import Durability
from tests.support.e2ee_world import Directory, ManualClock, link, meet, new_device, options

FOLDER = Path(__file__).parent
STORE_KEY = bytes(range(32))


async def said(sender: Device, to: Device, text: bytes) -> bytes:
    sent = await sender.encrypt(to.user_id, text)
    return next(one.message for one in sent if (one.user_id, one.device_id) == (to.user_id, to.device_id))


async def make(path: Path) -> dict[str, object]:
    """Ann's device after a little life: a sibling, a session with a gap, a reset, a verified peer, one of whose devices is gone."""
    directory, clock = Directory(), ManualClock()
    store = SqliteStore(path, STORE_KEY, Durability.NORMAL)
    ann = await new_device(directory, "ann", options(clock, seed=1), store)
    await link(directory, ann, options(clock, seed=3))
    bob_store = MemoryStore()
    bob = await new_device(directory, "bob", options(clock, seed=2), bob_store)
    await link(directory, bob, options(clock, seed=4))
    await meet(directory, ann, "bob")
    await meet(directory, bob, "ann")
    await bob.decrypt("ann", 1, await said(ann, bob, b"hello"))
    await ann.decrypt("bob", 1, await said(bob, ann, b"hello"))
    skipped = await said(bob, ann, b"skipped")
    await ann.decrypt("bob", 1, await said(bob, ann, b"after it"))
    clock.now += 60
    await bob.decrypt("ann", 1, (await ann.reset(directory.bundle("bob", 1))).message)
    await ann.decrypt("bob", 1, await said(bob, ann, b"in the new session"))
    directory.put_list(await bob.remove_device(2))
    await ann.learn("bob", directory.lists["bob"].encoded)
    await ann.set_verified("bob", bob.local.certificate.account)
    await meet(directory, bob, "bob")
    following = await said(bob, ann, b"following")
    first_device = await new_device(directory, "cleo", options(clock, seed=5))
    await ann.learn("cleo", directory.lists["cleo"].encoded, directory.certificates("cleo"))
    await meet(directory, first_device, "ann")
    first = await said(first_device, ann, b"first")
    await store.close()
    return {
        "note": "A store as this version wrote it, and messages that its device can read.",
        "store_key": STORE_KEY.hex(),
        "now": clock.now,
        "account_of_bob": bob.local.certificate.account.hex(),
        "messages": [
            {"from": "bob", "text": "skipped", "message": skipped.hex()},
            {"from": "bob", "text": "following", "message": following.hex()},
            {"from": "cleo", "text": "first", "message": first.hex()},
        ],
    }


if __name__ == "__main__":
    target = FOLDER / f"store_v{CURRENT.version}.sqlite"
    target.unlink(missing_ok=True)
    described = asyncio.run(make(target))
    target.with_suffix(".json").write_text(json.dumps(described, indent=1) + "\n")
