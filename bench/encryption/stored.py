"""What a whole device of ours does per CPU-second over each store, one message at a time and in batches."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from e2ee import Device, Incoming
from e2ee.prekeys import Bundle
from e2ee.store import Durability, MemoryStore, SqliteStore, Store

__all__ = ["measure_stores"]

_MESSAGE = b"a" * 1024
_BATCH = 100
# A commit to SQLite costs some ten times a message, so that fewer tell as much.
_SINGLE_SHARE = 4


@contextmanager
def _stores(kind: str) -> Iterator[tuple[Store, Store]]:
    if kind == "memory":
        yield MemoryStore(), MemoryStore()
        return
    durability = Durability.FULL if kind == "sqlite_full" else Durability.NORMAL
    with tempfile.TemporaryDirectory() as folder:
        yield (
            SqliteStore(Path(folder, "one.db"), os.urandom(32), durability),
            SqliteStore(Path(folder, "two.db"), os.urandom(32), durability),
        )


async def _connected(first: Store, second: Store) -> tuple[Device, Device]:
    mine, theirs = await Device.create(first, "amal"), await Device.create(second, "badr")
    own, published = await mine.publish(), await theirs.publish()
    assert own.device_list is not None
    assert published.device_list is not None
    await mine.learn("badr", published.device_list.encoded, [published.certificate.encoded])
    await theirs.learn("amal", own.device_list.encoded, [own.certificate.encoded])
    prekeys = published.prekeys
    assert prekeys.signed is not None
    await mine.start(Bundle(published.certificate, prekeys.signed, prekeys.one_time[0], prekeys.kem_once[0], True).encode())
    (sent,) = await mine.encrypt("badr", _MESSAGE)
    await theirs.decrypt("amal", mine.device_id, sent.message)
    (answer,) = await theirs.encrypt("amal", _MESSAGE)
    await mine.decrypt("badr", theirs.device_id, answer.message)
    return mine, theirs


async def _rate(count: int, work: Callable[[], Awaitable[None]]) -> float:
    started = time.process_time()
    await work()
    return round(count / max(time.process_time() - started, 1e-6), 2)


async def _measure(first: Store, second: Store, operations: int) -> dict[str, float]:
    mine, theirs = await _connected(first, second)
    single = max(operations // _SINGLE_SHARE, 1)
    batches = max(operations // _BATCH, 1)
    messages: list[bytes] = []

    async def encrypt() -> None:
        messages.extend([(await mine.encrypt("badr", _MESSAGE))[0].message for _ in range(single)])

    async def decrypt() -> None:
        for message in messages:
            await theirs.decrypt("amal", 1, message)

    async def encrypt_batches() -> None:
        messages.clear()
        for _ in range(batches):
            messages.extend(sent[0].message for sent in await mine.encrypt_many([("badr", _MESSAGE)] * _BATCH))

    async def decrypt_batches() -> None:
        for start in range(0, len(messages), _BATCH):
            batch = [Incoming("amal", 1, message) for message in messages[start : start + _BATCH]]
            assert not any(isinstance(result, Exception) for result in await theirs.decrypt_many(batch))

    figures = {
        "encrypt": await _rate(single, encrypt),
        "decrypt": await _rate(single, decrypt),
        "encrypt_batch": await _rate(batches * _BATCH, encrypt_batches),
        "decrypt_batch": await _rate(batches * _BATCH, decrypt_batches),
    }
    await first.close()
    await second.close()
    return figures


def measure_stores(operations: int) -> dict[str, dict[str, float]]:
    """Messages per CPU-second, by store; a batch is 100 messages in one transaction."""
    figures = {}
    for kind in ("memory", "sqlite_normal", "sqlite_full"):
        with _stores(kind) as (first, second):
            figures[kind] = asyncio.run(_measure(first, second, operations))
    return figures
