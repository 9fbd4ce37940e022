"""Fuzz target: backup headers, the records in a stream, and recovery codes raise errors of ours or nothing."""

from e2ee.backup import BackupHeader, BackupKey, CodeSecret, lock
from e2ee.backup_records import AccountRecord, BackupReader, ContactRecord, GroupRecord, HistoryRecord, Record
from e2ee.chunk_stream import ChunkSealer
from e2ee.encoding import u8, u32
from e2ee.errors import E2EEError, MalformedMessage
from e2ee.recovery_code import format_code, parse_code

_KEY = BackupKey(bytes(32))
_RECORDS: list[tuple[int, Record]] = [
    (1, AccountRecord(bytes(32), "alice")),
    (2, ContactRecord("bob", bytes(32), True, 3, bytes(32))),
    (3, GroupRecord(bytes(16), (b"operation", b"another"))),
    (4, HistoryRecord(b"conversation", b"kept")),
]
_PLAIN = b"".join(u8(kind) + u32(len(record.body())) + record.body() for kind, record in _RECORDS)
SEEDS: list[bytes] = [
    lock(CodeSecret(bytes(32)), random=bytes)[0],
    _PLAIN + u8(255) + u32(4) + u32(len(_RECORDS)),
    format_code(bytes(range(32))).encode(),
]


def one_input(data: bytes) -> None:
    """Read ``data`` as a header, as a code, as the records of a backup, and as its sealed stream."""
    try:
        header = BackupHeader.parse(data)
        assert header.encode() == data
    except MalformedMessage:
        pass
    try:
        secret = parse_code(data.decode("utf-8", "replace"))
        assert parse_code(format_code(secret)) == secret
    except MalformedMessage:
        pass
    sealer = ChunkSealer(_KEY.stream_key(), random=bytes, max_bytes=1_000_000)
    for sealed in (sealer.feed(data) + sealer.finish(), data):
        reader = BackupReader(_KEY)
        try:
            reader.feed(sealed[:500])
            reader.feed(sealed[500:])
            reader.finish()
        except E2EEError:
            pass
