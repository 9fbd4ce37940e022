"""The store in a file: what lies in it, who may open it, and what each failure is called."""

from __future__ import annotations

import contextlib
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from e2ee import SqliteStore, StoreError, Transaction
from e2ee.store import Durability
from e2ee.store.migrations import CURRENT, Entry, Schema
from salam import ConfigError, ResourceError

KEY = bytes(range(32))
OTHER_KEY = bytes(32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@contextlib.asynccontextmanager
async def opened(path: Path, key: bytes = KEY, **options: object) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, key, **options)  # type: ignore[arg-type]
    try:
        yield store
    finally:
        await store.close()


def put(table: str = "t", key: bytes = b"k", record: bytes = b"r") -> Callable[[Transaction], None]:
    return lambda tx: tx.put(table, key, record)


def put_all(*entries: Entry) -> Callable[[Transaction], None]:
    def work(tx: Transaction) -> None:
        for entry in entries:
            tx.put(*entry)

    return work


def get(table: str = "t", key: bytes = b"k") -> Callable[[Transaction], bytes | None]:
    return lambda tx: tx.get(table, key)


async def refused(path: Path, code: str, key: bytes = KEY, **options: object) -> StoreError:
    """Check that the file is refused with this code, in any work at all."""
    async with opened(path, key, **options) as store:
        with pytest.raises(StoreError) as error:
            await store.run(get())
    assert error.value.code == code
    assert isinstance(error.value, ResourceError)
    return error.value


def alter(path: Path, statements: str) -> None:
    """Change the file behind the store's back."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(statements)


@pytest.mark.parametrize("durability", Durability)
async def test_what_was_written_is_there_after_opening_again(path: Path, durability: Durability) -> None:
    async with opened(path, durability=durability) as store:
        await store.run(put())
    async with opened(path, durability=durability) as store:
        assert await store.run(lambda tx: tx.get_versioned("t", b"k")) == (b"r", 1)


async def test_nothing_is_opened_before_it_is_used(path: Path) -> None:
    async with opened(path):
        assert not path.exists()
    assert not path.exists()


async def test_the_file_is_its_owners_and_shows_no_names_and_no_content(path: Path) -> None:
    async with opened(path) as store:
        await store.run(put("a table of contacts", b"carol@example.org", b"a very secret record"))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_bytes()
    for secret in (b"contacts", b"carol", b"secret"):
        assert secret not in content


async def test_the_same_record_looks_different_in_another_file(tmp_path: Path) -> None:
    rows = []
    for name in ("one.db", "two.db"):
        async with opened(tmp_path / name) as store:
            await store.run(put())
        with contextlib.closing(sqlite3.connect(tmp_path / name)) as connection:
            rows.append(connection.execute("SELECT table_name, row_name, sealed FROM records").fetchone())
    assert all(one != other for one, other in zip(*rows, strict=True))


async def test_another_store_key_is_refused_and_changes_nothing(path: Path) -> None:
    async with opened(path) as store:
        await store.run(put())
    assert not (await refused(path, "store_wrong_key", OTHER_KEY)).retryable
    async with opened(path) as store:
        assert await store.run(get()) == b"r"


async def test_another_sqlite_file_is_refused_and_left_as_it_is(path: Path) -> None:
    alter(path, "CREATE TABLE mine (x)")
    before = path.read_bytes()
    await refused(path, "store_foreign")
    assert path.read_bytes() == before


async def test_a_file_of_something_else_is_refused_and_left_as_it_is(path: Path) -> None:
    path.write_bytes(b"no database at all " * 100)
    before = path.read_bytes()
    await refused(path, "store_foreign")
    assert path.read_bytes() == before


async def test_a_file_of_a_later_release_is_refused(path: Path) -> None:
    later = Schema(CURRENT.version + 1, {**CURRENT.migrations, CURRENT.version: lambda *entry: [entry]})
    async with opened(path, schema=later) as store:
        await store.run(put())
    await refused(path, "store_newer")


async def test_a_later_release_that_comes_meanwhile_ends_the_use_of_the_file(path: Path) -> None:
    async with opened(path) as store:
        await store.run(put())
        alter(path, f"PRAGMA user_version = {CURRENT.version + 1}")
        with pytest.raises(StoreError) as error:
            await store.run(get())
        assert error.value.code == "store_newer"


@pytest.mark.parametrize(
    "statements",
    [
        "UPDATE records SET sealed = x'00'",
        "UPDATE records SET sealed = substr(sealed, 1, length(sealed) - 1)",
        "UPDATE records SET version = version + 1",
        "CREATE TABLE x AS SELECT * FROM records;"
        "UPDATE records SET sealed = (SELECT sealed FROM x WHERE x.row_name <> records.row_name);"
        "DROP TABLE x",
    ],
    ids=["replaced", "cut", "another version", "exchanged rows"],
)
async def test_a_record_that_was_altered_is_refused(path: Path, statements: str) -> None:
    async with opened(path) as store:
        await store.run(put_all(("t", b"k", b"one"), ("t", b"l", b"two")))
    alter(path, statements)
    await refused(path, "store_corrupt")
    async with opened(path) as store:
        with pytest.raises(StoreError):
            await store.run(lambda tx: tx.scan("t"))


async def test_a_file_without_its_salt_is_refused(path: Path) -> None:
    async with opened(path) as store:
        await store.run(put())
    alter(path, "DELETE FROM meta WHERE name = 'salt'")
    await refused(path, "store_corrupt")


async def test_a_check_value_that_was_cut_is_refused(path: Path) -> None:
    async with opened(path) as store:
        await store.run(put())
    alter(path, "UPDATE meta SET value = x'00' WHERE name = 'check'")
    await refused(path, "store_wrong_key")


async def test_a_file_with_damaged_pages_is_refused(path: Path) -> None:
    async with opened(path) as store:
        await store.run(put_all(*(("t", number.to_bytes(4, "big"), bytes(500)) for number in range(200))))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    await refused(path, "store_corrupt")


async def test_a_full_store_says_so_keeps_what_it_has_and_goes_on(path: Path) -> None:
    async with opened(path, max_bytes=64 * 4096) as store:
        await store.run(put())
        with pytest.raises(StoreError) as error:
            await store.run(put_all(*(("t", number.to_bytes(4, "big"), bytes(4000)) for number in range(100))))
        assert (error.value.code, error.value.retryable) == ("store_full", True)
        assert await store.run(lambda tx: tx.scan("t")) == [(b"k", b"r")]
        await store.run(put(record=b"s"))
        assert await store.run(get()) == b"s"


async def test_a_file_that_another_process_holds_is_busy_and_free_again_later(path: Path) -> None:
    async with opened(path, busy_timeout_s=0.05) as store:
        await store.run(put())
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError) as error:
                await store.run(get())
            assert (error.value.code, error.value.retryable) == ("store_busy", True)
        assert await store.run(get()) == b"r"


async def test_two_openers_of_one_file_see_each_others_writes(path: Path) -> None:
    async with opened(path) as one, opened(path) as other:
        await one.run(put(record=b"1"))
        assert await other.run(get()) == b"1"
        await other.run(put(record=b"2"))
        assert await one.run(lambda tx: tx.get_versioned("t", b"k")) == (b"2", 2)


async def test_a_folder_that_is_not_there_is_told(path: Path) -> None:
    await refused(path / "deeper" / "store.db", "store_unavailable")


async def test_a_folder_in_the_place_of_the_file_is_told(path: Path) -> None:
    path.mkdir()
    await refused(path, "store_unavailable")


async def test_wrong_settings_are_refused_at_once(path: Path) -> None:
    with pytest.raises(ConfigError):
        SqliteStore(path, b"short")
    with pytest.raises(ConfigError):
        SqliteStore(path, KEY, max_bytes=1)
    assert not path.exists()


def split_t(table: str, key: bytes, record: bytes) -> list[Entry]:
    """A migration that renames, splits and drops."""
    if table == "gone":
        return []
    return [("t2", key + half, record) for half in (b".0", b".1")] if table == "t" else [(table, key, record)]


def shout(table: str, key: bytes, record: bytes) -> list[Entry]:
    return [(table, key, record.upper())]


async def test_records_of_an_earlier_release_are_brought_up_to_date_once(path: Path) -> None:
    async with opened(path) as store:
        await store.run(put_all(("t", b"k", b"a"), ("gone", b"k", b"b"), ("kept", b"k", b"c")))
    later = Schema(CURRENT.version + 2, {**CURRENT.migrations, CURRENT.version: split_t, CURRENT.version + 1: shout})
    for _ in range(2):
        async with opened(path, schema=later) as store:
            assert await store.run(lambda tx: {table: tx.scan(table) for table in ("t", "t2", "gone", "kept")}) == {
                "t": [],
                "t2": [(b"k.0", b"A"), (b"k.1", b"A")],
                "gone": [],
                "kept": [(b"k", b"C")],
            }


async def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    async with opened(path) as store:
        await store.run(put())

    def fail(table: str, key: bytes, record: bytes) -> list[Entry]:
        raise ZeroDivisionError

    async with opened(path, schema=Schema(CURRENT.version + 1, {**CURRENT.migrations, CURRENT.version: fail})) as store:
        with pytest.raises(ZeroDivisionError):
            await store.run(get())
    async with opened(path) as store:
        assert await store.run(get()) == b"r"


def test_a_schema_names_every_step() -> None:
    with pytest.raises(ConfigError):
        Schema(2)
    with pytest.raises(ConfigError):
        Schema(1, {1: shout})
