"""Writes backup.json: ``python -m tests.e2ee.kat.make_backup``. All of it follows from names.

A ``secret`` is {"code": 32 bytes} or {"passphrase": text, "memory_kib", "passes"}. A record is {"record": type, ...its fields}; the
end record is not among them. Types of cases:

- ``code``: ``secret`` is written ``text``, and each of ``typed`` is read as it. ``code_refused``: ``typed`` gives ``error``.
- ``backup``: ``records`` under ``secret`` with ``random`` give ``backup``, and back.
- ``header_refused``: ``header`` with ``secret`` gives ``error``; where ``hashes`` is false nothing may be hashed before.
- ``read_refused``: the backup of the case ``of`` after ``edit``, or one of its own, read to its end with ``secret`` gives
  ``error``.
- ``change``: the header of the case ``of`` with ``old``, ``new`` and ``random`` becomes ``header``.
"""

from __future__ import annotations

import io
from typing import Any

from e2ee.backup import (
    BACKUP_HEADER_BYTES,
    BackupHeader,
    BackupSecret,
    CodeSecret,
    Kdf,
    PassphraseSecret,
    change_secret,
    lock,
    unlock,
)
from e2ee.backup_records import (
    AccountRecord,
    BackupWriter,
    ContactRecord,
    GroupRecord,
    HistoryRecord,
    Record,
    read_backup,
)
from e2ee.chunk_stream import ChunkSealer
from e2ee.encoding import lp, u8, u32
from e2ee.errors import E2EEError
from e2ee.recovery_code import format_code, parse_code
from tests.support.e2ee import edited, flip, write_kat
from tests.support.kat import Case, Named, append, cut, pattern, refusal, seeded

_MEMORY_KIB = 64 * 1024
_CODE = CodeSecret(seeded("recovery code"))
_PASSPHRASE = PassphraseSecret("ﬁve words of ﬆone Ⅷ café make it", _MEMORY_KIB, 3)


def secret_json(secret: BackupSecret) -> Case:
    if isinstance(secret, CodeSecret):
        return {"code": secret.secret.hex()}
    return {"passphrase": secret.passphrase, "memory_kib": secret.memory_kib, "passes": secret.passes}


def secret_of(described: Case) -> BackupSecret:
    if "code" in described:
        return CodeSecret(bytes.fromhex(described["code"]))
    return PassphraseSecret(described["passphrase"], described["memory_kib"], described["passes"])


def record_json(record: Record) -> Case:
    if isinstance(record, AccountRecord):
        return {"record": "account", "seed": record.seed.hex(), "user": record.user_id}
    if isinstance(record, ContactRecord):
        known = {"account": record.account.hex(), "verified": record.verified, "seq": record.seq}
        return {"record": "contact", "user": record.user_id} | known | {"list_hash": record.list_hash.hex()}
    if isinstance(record, GroupRecord):
        operations = [operation.hex() for operation in record.operations]
        return {"record": "group", "group_id": record.group_id.hex(), "operations": operations}
    return {"record": "history", "conversation": record.conversation.hex(), "kept": record.kept.hex()}


def record_of(described: Case) -> Record:
    kind = described["record"]
    if kind == "account":
        return AccountRecord(bytes.fromhex(described["seed"]), described["user"])
    if kind == "contact":
        account, list_hash = bytes.fromhex(described["account"]), bytes.fromhex(described["list_hash"])
        return ContactRecord(described["user"], account, described["verified"], described["seq"], list_hash)
    if kind == "group":
        return GroupRecord(bytes.fromhex(described["group_id"]), tuple(map(bytes.fromhex, described["operations"])))
    return HistoryRecord(bytes.fromhex(described["conversation"]), bytes.fromhex(described["kept"]))


_ACCOUNT = AccountRecord(seeded("account"), "زيد")
_ALL: list[Record] = [
    _ACCOUNT,
    ContactRecord("alice", seeded("alice"), True, 7, seeded("list")),
    ContactRecord("b" * 255, seeded("bob"), False, 2**32, seeded("other list")),
    GroupRecord(seeded("group", 16), (seeded("create", 200), b"", seeded("add", 90))),
    GroupRecord(seeded("empty group", 16), ()),
    HistoryRecord("دردشة".encode(), pattern(300)),
    HistoryRecord(b"", b""),
]


def _backup(name: str, secret: BackupSecret, records: list[Record]) -> Case:
    random = Named(name)
    writer = BackupWriter(secret, random=random)
    backup = writer.header + b"".join(map(writer.add, records)) + writer.finish()
    case: Case = {"type": "backup", "name": name, "secret": secret_json(secret), "random": random.drawn.hex()}
    return case | {"records": [record_json(record) for record in records], "backup": backup.hex()}


def _codes() -> list[Case]:
    made: list[Case] = []
    for name in ("zeros", "ones", "a code"):
        secret = {"zeros": bytes(32), "ones": b"\xff" * 32}.get(name, _CODE.secret)
        text = format_code(secret)
        typed = [text, text.lower(), text.replace("-", ""), f" {text.replace('-', ' ')}\n"]
        typed += [text.replace("0", "O").replace("1", "I"), text.replace("0", "o").replace("1", "l")]
        made.append({"type": "code", "name": name, "secret": secret.hex(), "text": text, "typed": typed})
    text = format_code(_CODE.secret)
    other = "2" if text[0] != "2" else "3"
    faults = {"empty": "", "short": text[:-1], "long": text + "0", "a U": "U" + text[1:], "another first letter": other + text[1:]}
    faults |= {"two neighbours changed places": text[1] + text[0] + text[2:], "a sign": "*" + text[1:]}
    faults |= {"a digit of another script": "٣" + text[1:], "another check": text[:-1] + ("0" if text[-1] != "0" else "1")}
    for name, typed_wrong in faults.items():
        try:
            parse_code(typed_wrong)
        except E2EEError as error:
            made.append({"type": "code_refused", "name": f"code: {name}", "typed": typed_wrong} | refusal(error))
        else:
            raise AssertionError(f"{name} was not refused")
    return made


def _header_refused(name: str, header: bytes, secret: BackupSecret, *, hashes: bool = True) -> Case:
    case: Case = {"type": "header_refused", "name": f"header: {name}", "header": header.hex(), "secret": secret_json(secret)}
    try:
        unlock(header, secret)
    except E2EEError as error:
        return case | {"hashes": hashes} | refusal(error)
    raise AssertionError(f"{name} was not refused")


def _headers() -> list[Case]:
    header = lock(_CODE, random=Named("a header"))[0]
    where = {"magic": 0, "kdf": 4, "memory": 5, "salt": 17, "commitment": 33, "nonce": 65, "wrapped key": 77, "tag": 124}
    made = [_header_refused(f"a bit of the {what}", edited(header, [flip(header, at)]), _CODE) for what, at in where.items()]
    made += [_header_refused("cut", header[:-1], _CODE), _header_refused("a byte follows", header + b"\0", _CODE)]
    made.append(_header_refused("another code", header, CodeSecret(seeded("another code"))))
    made.append(_header_refused("a passphrase for a code", header, _PASSPHRASE, hashes=False))
    fields: dict[str, Any] = {"kdf": Kdf.ARGON2ID, "memory_kib": _MEMORY_KIB, "passes": 3, "lanes": 1}
    fields |= {"salt": bytes(16), "commit": bytes(32), "nonce": bytes(12), "wrapped": bytes(48)}
    wrong = BackupHeader(**fields).encode()
    made.append(_header_refused("a code for a passphrase", wrong, _CODE, hashes=False))
    made.append(_header_refused("another commitment", wrong, _PASSPHRASE))
    costs = [("memory_kib", _MEMORY_KIB - 1), ("memory_kib", 1024 * 1024 + 1), ("passes", 2), ("passes", 11), ("lanes", 0)]
    for field, value in [*costs, ("lanes", 2), ("memory_kib", 2**32 - 1), ("passes", 2**32 - 1), ("passes", 0)]:
        refused = BackupHeader(**fields | {field: value}).encode()
        made.append(_header_refused(f"{field} of {value}", refused, _PASSPHRASE, hashes=False))
    return made


def _read_refused(name: str, backup: bytes, of: str | None = None, edit: list[Case] | None = None) -> Case:
    case: Case = {"type": "read_refused", "name": f"read: {name}", "secret": secret_json(_CODE)}
    case |= {"of": of, "edit": edit or []} if of else {"backup": backup.hex()}
    try:
        list(read_backup(io.BytesIO(edited(backup, edit or [])), _CODE))
    except E2EEError as error:
        return case | refusal(error)
    raise AssertionError(f"{name} was not refused")


def _reads(of: Case) -> list[Case]:
    backup = bytes.fromhex(of["backup"])
    start = BACKUP_HEADER_BYTES

    def refused(name: str, edit: Case) -> Case:
        return _read_refused(name, backup, of["name"], [edit])

    where = {"stream's magic": start, "chunk size": start + 4, "salt": start + 5, "prefix": start + 21, "chunk": start + 28}
    made = [refused(f"a bit of the {what}", flip(backup, at)) for what, at in (where | {"tag": len(backup) - 1}).items()]
    cuts = [start, start + 27, start + 28, start + 43, len(backup) - 1]
    made += [refused(f"{at - start} bytes after the header", cut(backup, at)) for at in cuts]
    made.append(refused("a byte follows", append(backup, b"\0")))
    account, end = _raw(1, _ACCOUNT.body()), _raw(255, u32(1))
    contact = _raw(2, _ALL[1].body())
    wrong = {
        "nothing": b"",
        "no end": account,
        "no account": contact + end,
        "two accounts": account + account + _raw(255, u32(2)),
        "an account that is not first": contact + account + _raw(255, u32(2)),
        "another count": account + _raw(255, u32(2)),
        "a short count": account + _raw(255, b"\1"),
        "records after the end": account + end + contact,
        "a byte after the end": account + end + b"\0",
        "an unknown type": account + _raw(5, b"") + _raw(255, u32(2)),
        "a record that is cut": account + contact[:-1],
        "a long account": _raw(1, _ACCOUNT.body() + b"\0") + end,
        "a short contact": account + _raw(2, _ALL[1].body()[:-1]) + _raw(255, u32(2)),
        "a contact that is neither": account + _raw(2, lp(b"u") + bytes(32) + b"\2" + bytes(40)) + _raw(255, u32(2)),
        "a group with fewer operations": account + _raw(3, bytes(16) + b"\0\1") + _raw(255, u32(2)),
        "a record of 16 MiB and a byte": account + u8(4) + u32(16 * 1024 * 1024 + 1) + bytes(100),
    }
    return made + [_read_refused(name, _handmade(name, plain)) for name, plain in wrong.items()]


def _raw(kind: int, body: bytes) -> bytes:
    return u8(kind) + u32(len(body)) + body


def _handmade(name: str, plain: bytes) -> bytes:
    """A backup with the right secret and content that no writer makes."""
    random = Named(name)
    header, key = lock(_CODE, random=random)
    stream = ChunkSealer(key.stream_key(), random=random, max_bytes=1_000_000)
    return header + stream.feed(plain) + stream.finish()


def _change(name: str, of: Case, old: BackupSecret, new: BackupSecret) -> Case:
    random = Named(name)
    header = change_secret(bytes.fromhex(of["backup"])[:BACKUP_HEADER_BYTES], old, new, random=random)
    case: Case = {"type": "change", "name": name, "of": of["name"], "old": secret_json(old), "new": secret_json(new)}
    return case | {"random": random.drawn.hex(), "header": header.hex()}


def cases() -> list[Case]:
    with_code, alone = _backup("with a code", _CODE, _ALL), _backup("the account alone", _CODE, [_ACCOUNT])
    with_passphrase = _backup("with a passphrase", _PASSPHRASE, [_ACCOUNT, _ALL[1]])
    changes = [
        _change("a code becomes a passphrase", with_code, _CODE, _PASSPHRASE),
        _change("a passphrase becomes a code", with_passphrase, _PASSPHRASE, _CODE),
        _change("a code becomes another", alone, _CODE, CodeSecret(seeded("another code"))),
    ]
    return [*_codes(), with_code, alone, with_passphrase, *_headers(), *_reads(alone), *changes]


if __name__ == "__main__":
    write_kat("backup", "Types of cases as in make_backup.py.", cases())
