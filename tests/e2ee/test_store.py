"""What every store promises, held by the one in memory and by the one in a file."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from blockbuster import blockbuster_ctx
from hypothesis import given, settings
from hypothesis import strategies as st

from e2ee import E2EEError, MemoryStore, SqliteStore, StaleState, Store, Transaction
from e2ee.store import ABSENT, Durability
from salam import ClosedError

KEY = bytes(range(32))


class Refusal(Exception):
    """What the work of a test raises to undo itself."""


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "store.db", KEY, Durability.NORMAL)
    # Our own code must not wait for the disk in the event loop's thread.
    with blockbuster_ctx(scanned_modules=["e2ee"]):
        yield made
    await made.close()


def fill(tx: Transaction) -> None:
    tx.put("t", b"a1", b"one")
    tx.put("t", b"b1", b"two")
    tx.put("t", b"a0", b"")
    tx.put("u", b"a1", b"other")


def dump(tx: Transaction) -> dict[str, list[tuple[bytes, bytes]]]:
    return {table: tx.scan(table) for table in ("t", "u")}


async def test_records_are_found_by_table_and_key(store: Store) -> None:
    await store.run(fill)
    assert await store.run(lambda tx: tx.get("t", b"a1")) == b"one"
    assert await store.run(lambda tx: tx.get("u", b"a1")) == b"other"
    assert await store.run(lambda tx: tx.get("t", b"a0")) == b""
    assert await store.run(lambda tx: tx.get("t", b"none")) is None
    assert await store.run(lambda tx: tx.get("none", b"a1")) is None


async def test_a_scan_gives_the_keys_with_a_prefix_in_order(store: Store) -> None:
    await store.run(fill)
    assert await store.run(lambda tx: tx.scan("t", b"a")) == [(b"a0", b""), (b"a1", b"one")]
    assert await store.run(lambda tx: tx.scan("t")) == [(b"a0", b""), (b"a1", b"one"), (b"b1", b"two")]
    assert await store.run(lambda tx: tx.scan("none")) == []


async def test_records_are_counted_and_cleared_by_table(store: Store) -> None:
    await store.run(fill)
    assert await store.run(lambda tx: (tx.count("t"), tx.count("u"), tx.count("none"))) == (3, 1, 0)
    await store.run(lambda tx: tx.clear("t"))
    await store.run(lambda tx: tx.clear("none"))
    assert await store.run(dump) == {"t": [], "u": [(b"a1", b"other")]}


async def test_a_taken_record_is_gone(store: Store) -> None:
    await store.run(fill)
    assert await store.run(lambda tx: (tx.take("t", b"a1"), tx.take("t", b"a1"))) == (b"one", None)
    await store.run(lambda tx: tx.delete("t", b"a0"))
    await store.run(lambda tx: tx.delete("t", b"none"))
    assert await store.run(lambda tx: tx.scan("t")) == [(b"b1", b"two")]


async def test_versions_rise_with_each_write(store: Store) -> None:
    assert await store.run(lambda tx: tx.get_versioned("t", b"k")) is None
    assert await store.run(lambda tx: tx.put_versioned("t", b"k", b"1", ABSENT)) == 1
    assert await store.run(lambda tx: tx.put_versioned("t", b"k", b"2", 1)) == 2
    await store.run(lambda tx: tx.put("t", b"k", b"3"))
    assert await store.run(lambda tx: tx.get_versioned("t", b"k")) == (b"3", 3)
    await store.run(lambda tx: tx.delete("t", b"k"))
    assert await store.run(lambda tx: tx.put_versioned("t", b"k", b"4", ABSENT)) == 1


@pytest.mark.parametrize("expected", [ABSENT, 1, 3])
async def test_who_comes_second_is_stale(store: Store, expected: int) -> None:
    def work(tx: Transaction) -> None:
        tx.put("t", b"x", b"")
        tx.put_versioned("t", b"k", b"3", expected)

    await store.run(lambda tx: tx.put("t", b"k", b"1"))
    await store.run(lambda tx: tx.put("t", b"k", b"2"))
    with pytest.raises(StaleState) as refused:
        await store.run(work)
    assert refused.value.retryable
    assert await store.run(lambda tx: tx.scan("t")) == [(b"k", b"2")]


async def test_a_record_that_is_gone_cannot_be_changed(store: Store) -> None:
    with pytest.raises(StaleState):
        await store.run(lambda tx: tx.put_versioned("t", b"k", b"", 1))


def change_everything(tx: Transaction) -> None:
    tx.put("t", b"a1", b"changed")
    tx.put("t", b"a1", b"again")
    tx.put("t", b"new", b"new")
    tx.delete("t", b"new")
    tx.put("v", b"new", b"new")
    tx.delete("t", b"b1")
    tx.clear("u")


@pytest.mark.parametrize("late", [False, True], ids=["in the work", "before the commit"])
async def test_a_failure_undoes_everything(store: Store, late: bool) -> None:
    await store.run(fill)
    before = await store.run(lambda tx: (dump(tx), tx.get_versioned("t", b"a1"), tx.count("v")))
    committed: list[str] = []

    def fail() -> None:
        raise Refusal

    def work(tx: Transaction) -> None:
        tx.after_commit(lambda: committed.append("wrongly"))
        change_everything(tx)
        if late:
            tx.before_commit(fail)
        else:
            fail()

    with pytest.raises(Refusal):
        await store.run(work)
    assert await store.run(lambda tx: (dump(tx), tx.get_versioned("t", b"a1"), tx.count("v"))) == before
    assert not committed


async def test_callbacks_run_around_the_commit(store: Store) -> None:
    order: list[str] = []

    def work(tx: Transaction) -> str:
        tx.before_commit(lambda: order.append("before"))
        tx.before_commit(lambda: tx.put("t", b"k", b"late"))
        tx.after_commit(lambda: order.append("after"))
        order.append("work")
        return "result"

    assert await store.run(work) == "result"
    assert order == ["work", "before", "after"]
    assert await store.run(lambda tx: tx.get("t", b"k")) == b"late"


async def test_a_closed_store_refuses(store: Store) -> None:
    await store.run(fill)
    await store.close()
    await store.close()
    with pytest.raises(ClosedError):
        await store.run(fill)


async def test_a_copy_of_a_memory_store_goes_its_own_way() -> None:
    store = MemoryStore()
    await store.run(fill)
    twin = store.copy()
    await twin.run(change_everything)
    assert await store.run(lambda tx: tx.get("t", b"a1")) == b"one"
    assert await twin.run(lambda tx: tx.get_versioned("t", b"a1")) == (b"again", 3)


Step = Callable[[Transaction], object]
TABLES = st.sampled_from(["t", "u"])
KEYS = st.sampled_from([b"", b"a", b"ab", b"b"])
RECORDS = st.binary(max_size=3)
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(lambda t, k: lambda tx: tx.get(t, k), TABLES, KEYS),
    st.builds(lambda t, k: lambda tx: tx.get_versioned(t, k), TABLES, KEYS),
    st.builds(lambda t, k, r: lambda tx: tx.put(t, k, r), TABLES, KEYS, RECORDS),
    st.builds(lambda t, k, r, v: lambda tx: tx.put_versioned(t, k, r, v), TABLES, KEYS, RECORDS, st.integers(0, 2)),
    st.builds(lambda t, k: lambda tx: tx.delete(t, k), TABLES, KEYS),
    st.builds(lambda t, k: lambda tx: tx.take(t, k), TABLES, KEYS),
    st.builds(lambda t, k: lambda tx: tx.scan(t, k), TABLES, KEYS),
    st.builds(lambda t: lambda tx: tx.count(t), TABLES),
    st.builds(lambda t: lambda tx: tx.clear(t), TABLES),
)


async def outcome(store: Store, steps: list[Step]) -> object:
    try:
        return await store.run(lambda tx: [step(tx) for step in steps])
    except E2EEError as error:
        return type(error)


async def compare(transactions: list[list[Step]], folder: str) -> None:
    memory, file = MemoryStore(), SqliteStore(Path(folder, "store.db"), KEY, Durability.NORMAL)
    last: list[Step] = [dump]
    for steps in [*transactions, last]:
        assert await outcome(memory, steps) == await outcome(file, steps)
    await file.close()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(STEPS, max_size=6), max_size=6))
def test_both_stores_do_the_same(transactions: list[list[Step]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(transactions, folder))
