"""Stores of every released version are opened, brought up to date and used."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest

from e2ee import ApplicationContent, Device, SqliteStore, Transaction, UnsupportedVersion, UntrustedIdentity
from e2ee.records import LINES, LOCAL, PEERS, device_key
from e2ee.store.migrations import CURRENT
from tests.support.e2ee_world import ManualClock, options

FOLDER = Path(__file__).parent / "golden"
FILES = sorted(FOLDER.glob("store_v*.sqlite"))
GROUPS = sorted(FOLDER.glob("groups_v*.sqlite"))


def test_every_version_has_its_golden_file() -> None:
    versions = range(1, CURRENT.version + 1)
    assert [file.stem for file in FILES] == [f"store_v{version}" for version in versions]
    assert [file.stem for file in GROUPS] == [f"groups_v{version}" for version in versions]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_a_device_goes_on_from_a_golden_store(file: Path, tmp_path: Path) -> None:
    described = json.loads(file.with_suffix(".json").read_text())
    path = Path(shutil.copy(file, tmp_path))
    store = SqliteStore(path, bytes.fromhex(described["store_key"]))
    device = await Device.load(store, options(ManualClock(described["now"])))
    assert (device.user_id, device.device_id, device.is_primary) == ("ann", 1, True)
    bob = await device.peer("bob")
    assert bob is not None
    assert (bob.account.hex(), bob.verified, bob.devices) == (described["account_of_bob"], True, (1,))
    for case in described["messages"]:
        received = await device.decrypt(case["from"], 1, bytes.fromhex(case["message"]))
        assert received.content == ApplicationContent(case["text"].encode())
    with pytest.raises(UntrustedIdentity):
        await device.set_verified("bob", bytes(32))
    assert [(sent.user_id, sent.device_id) for sent in await device.encrypt("bob", b"on", skip_missing=True)][0] == ("bob", 1)
    assert await device.reserve_device_id() == 3
    await store.close()


@pytest.mark.parametrize("file", GROUPS, ids=lambda file: file.stem)
async def test_a_device_goes_on_in_the_groups_of_a_golden_store(file: Path, tmp_path: Path) -> None:
    described = json.loads(file.with_suffix(".json").read_text())
    store = SqliteStore(Path(shutil.copy(file, tmp_path)), bytes.fromhex(described["store_key"]))
    device = await Device.load(store, options(ManualClock(described["now"])))
    group = bytes.fromhex(described["group"])
    view = await device.groups.view(group)
    assert view is not None
    assert (view.epoch, view.is_member, set(view.members)) == (0, True, {"ann", "bob"})
    await device.groups.join([bytes.fromhex(described["waiting_chain"])])
    for case in described["messages"]:
        assert (await device.groups.receive("bob", 1, bytes.fromhex(case["message"]))).data == case["text"].encode()
    assert (await device.groups.send(group, b"on")).keys == ()
    assert len(await device.groups.apply([bytes.fromhex(described["rekey"])])) == 1
    assert len((await device.groups.chain(group)).operations) == 2
    assert [key.user_id for key in (await device.groups.send(group, b"new key")).keys] == ["bob"]
    await store.close()


def spoil(table: str, key: bytes, tx: Transaction) -> None:
    record = tx.get(table, key)
    assert record is not None
    tx.put(table, key, b"\xff" + record[1:])


async def test_a_record_of_a_later_layout_is_refused(tmp_path: Path) -> None:
    path = Path(shutil.copy(FILES[-1], tmp_path))
    described = json.loads(FILES[-1].with_suffix(".json").read_text())
    store = SqliteStore(path, bytes.fromhex(described["store_key"]))
    device = await Device.load(store)
    for table, key in ((LOCAL, b"self"), (PEERS, b"bob"), (LINES, device_key("bob", 1))):
        await store.run(partial(spoil, table, key))
    with pytest.raises(UnsupportedVersion):
        await Device.load(store)
    with pytest.raises(UnsupportedVersion):
        await device.peer("bob")
    await store.close()
