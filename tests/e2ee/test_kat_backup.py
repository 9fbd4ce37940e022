"""The known answers of backups and recovery codes."""

from __future__ import annotations

import io
from typing import Any

import pytest

from e2ee import backup
from e2ee.backup import BACKUP_HEADER_BYTES, change_secret, unlock
from e2ee.backup_records import BackupReader, BackupWriter, read_backup
from e2ee.errors import E2EEError
from e2ee.recovery_code import format_code, parse_code
from tests.e2ee.kat.make_backup import record_json, record_of, secret_of
from tests.support.e2ee import Recorded, edited, read_kat
from tests.support.kat import chosen, refusal

# The maker is not run here: its password hashes would double the time.


@pytest.mark.parametrize("case", chosen("backup", "code"))
def test_code(case: dict[str, Any]) -> None:
    assert format_code(bytes.fromhex(case["secret"])) == case["text"]
    assert {parse_code(typed).hex() for typed in case["typed"]} == {case["secret"]}


@pytest.mark.parametrize("case", chosen("backup", "code_refused"))
def test_code_refused(case: dict[str, Any]) -> None:
    with pytest.raises(E2EEError) as refused:
        parse_code(case["typed"])
    assert refusal(refused.value) == {"error": case["error"]}


@pytest.mark.parametrize("case", chosen("backup", "backup"))
def test_backup(case: dict[str, Any]) -> None:
    secret, random = secret_of(case["secret"]), Recorded(bytes.fromhex(case["random"]))
    records, expected = [record_of(record) for record in case["records"]], bytes.fromhex(case["backup"])
    writer = BackupWriter(secret, random=random)
    assert writer.header + b"".join(map(writer.add, records)) + writer.finish() == expected
    assert not random.left
    reader = BackupReader(unlock(expected[:BACKUP_HEADER_BYTES], secret))
    read = [record for at in range(BACKUP_HEADER_BYTES, len(expected), 50) for record in reader.feed(expected[at : at + 50])]
    assert [record_json(record) for record in [*read, *reader.finish()]] == case["records"]


@pytest.mark.parametrize("case", chosen("backup", "header_refused"))
def test_header_refused(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    if not case["hashes"]:
        monkeypatch.setattr(backup, "Argon2id", None)
    with pytest.raises(E2EEError) as refused:
        unlock(bytes.fromhex(case["header"]), secret_of(case["secret"]))
    assert refusal(refused.value) == {"error": case["error"]}


@pytest.mark.parametrize("case", chosen("backup", "read_refused"))
def test_read_refused(case: dict[str, Any]) -> None:
    of = next(one for one in read_kat("backup") if one["name"] == case["of"]) if "of" in case else case
    data = edited(bytes.fromhex(of["backup"]), case.get("edit", []))
    with pytest.raises(E2EEError) as refused:
        list(read_backup(io.BytesIO(data), secret_of(case["secret"])))
    assert refusal(refused.value) == {name: case[name] for name in ("error", "chunk") if name in case}


@pytest.mark.parametrize("case", chosen("backup", "change"))
def test_change(case: dict[str, Any]) -> None:
    of = next(one for one in read_kat("backup") if one["name"] == case["of"])
    data, random = bytes.fromhex(of["backup"]), Recorded(bytes.fromhex(case["random"]))
    new = secret_of(case["new"])
    header = change_secret(data[:BACKUP_HEADER_BYTES], secret_of(case["old"]), new, random=random)
    assert header.hex() == case["header"]
    assert not random.left
    changed = io.BytesIO(header + data[BACKUP_HEADER_BYTES:])
    assert [record_json(record) for record in read_backup(changed, new)] == of["records"]
