"""Backups: secrets, costs and passphrases, every flipped byte, records in constant memory, and the order of records."""

from __future__ import annotations

import io
import pickle
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.pwhash import argon2id

from e2ee import backup
from e2ee.backup import BACKUP_HEADER_BYTES, BackupHeader, BackupKey, CodeSecret, PassphraseSecret, change_secret, lock, unlock
from e2ee.backup_records import (
    MAX_RECORD_BYTES,
    AccountRecord,
    BackupReader,
    BackupWriter,
    ContactRecord,
    GroupRecord,
    HistoryRecord,
    Record,
    read_backup,
)
from e2ee.errors import (
    AttachmentCorrupt,
    AttachmentTruncated,
    BackupAuthFailed,
    E2EEError,
    KdfParamsRefused,
    LimitReached,
    MalformedMessage,
)
from e2ee.limits import Limits
from e2ee.passphrase import MIN_PASSPHRASE_BITS, check_passphrase, entropy_bits
from e2ee.primitives import AESGCM, PREFIX, hkdf
from e2ee.recovery_code import draw_code, format_code, parse_code
from salam import RequestError, ResourceError

CODE = CodeSecret(bytes(range(32)))
ACCOUNT = AccountRecord(bytes(32), "alice")
STRONG = "correct horse battery staple lantern"
# The least that `Limits` may allow; costs of the profile would take most of the time of these tests.
CHEAP = Limits(argon2_min_kib=64, argon2_min_passes=1)


def written(records: list[Record]) -> bytes:
    writer = BackupWriter(CODE)
    return writer.header + b"".join(map(writer.add, records)) + writer.finish()


USERS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
RECORDS = st.one_of(
    st.builds(
        ContactRecord,
        USERS,
        st.binary(min_size=32, max_size=32),
        st.booleans(),
        st.integers(0, 2**64 - 1),
        st.binary(min_size=32, max_size=32),
    ),
    st.builds(GroupRecord, st.binary(min_size=16, max_size=16), st.lists(st.binary(max_size=300), max_size=5).map(tuple)),
    st.builds(HistoryRecord, st.binary(max_size=50), st.binary(max_size=3_000)),
)


@settings(max_examples=40, deadline=None)
@given(records=st.lists(RECORDS, max_size=8), piece=st.integers(1, 5_000))
def test_what_was_written_is_read(records: list[Record], piece: int) -> None:
    everything = [ACCOUNT, *records]
    data = written(everything)
    reader = BackupReader(unlock(data[:BACKUP_HEADER_BYTES], CODE))
    read: list[Record] = []
    for at in range(BACKUP_HEADER_BYTES, len(data), piece):
        read += reader.feed(data[at : at + piece])
    assert read + reader.finish() == everything
    assert list(read_backup(io.BytesIO(data), CODE)) == everything


def test_every_flipped_byte() -> None:
    data = written([ACCOUNT, HistoryRecord(b"c", b"kept")])
    for at in range(len(data)):
        wrong = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
        expected = (MalformedMessage, BackupAuthFailed, KdfParamsRefused) if at < BACKUP_HEADER_BYTES else (AttachmentCorrupt,)
        with pytest.raises(expected):
            list(read_backup(io.BytesIO(wrong), CODE))


def test_every_cut() -> None:
    data = written([ACCOUNT])
    for length in range(len(data)):
        expected = MalformedMessage if length < BACKUP_HEADER_BYTES else (AttachmentTruncated, AttachmentCorrupt)
        with pytest.raises(expected):
            list(read_backup(io.BytesIO(data[:length]), CODE))


def test_argon2id_is_that_of_libsodium() -> None:
    header, key = lock(PassphraseSecret(STRONG, 64 * 1024, 3))
    parsed = BackupHeader.parse(header)
    assert parsed.encode() == header
    hashed = argon2id.kdf(32, STRONG.encode(), parsed.salt, opslimit=3, memlimit=64 * 1024 * 1024)
    both = hkdf(parsed.salt, hashed, PREFIX + b"backup\x02", 64)
    assert both[32:] == parsed.commit
    assert AESGCM(both[:32]).decrypt(parsed.nonce, parsed.wrapped, parsed.authenticated()) == key.secret


def test_passphrases_are_compared_after_nfkc() -> None:
    header, key = lock(PassphraseSecret("ﬁve random words of stone café", 64, 1), limits=CHEAP)
    assert unlock(header, PassphraseSecret("five random words of stone cafe\u0301"), limits=CHEAP) == key
    with pytest.raises(BackupAuthFailed):
        unlock(header, PassphraseSecret("five random words of stone cafe"), limits=CHEAP)
    with pytest.raises(MalformedMessage):
        unlock(header, PassphraseSecret("\ud800"), limits=CHEAP)


@pytest.mark.parametrize(("memory_kib", "passes"), [(64 * 1024 - 1, 3), (1024 * 1024 + 1, 3), (64 * 1024, 2), (64 * 1024, 11)])
def test_costs_are_judged_before_hashing(memory_kib: int, passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "Argon2id", None)
    with pytest.raises(KdfParamsRefused) as refused:
        lock(PassphraseSecret(STRONG, memory_kib, passes))
    assert refused.value.code == "kdf_params_refused"


def test_costs_at_the_bounds_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Quick:
        def __init__(self, *, salt: bytes, length: int, iterations: int, lanes: int, memory_cost: int) -> None:
            asked.append((memory_cost, iterations, lanes, len(salt), length))

        def derive(self, secret: bytes) -> bytes:
            return secret[:32].ljust(32)

    monkeypatch.setattr(backup, "Argon2id", Quick)
    for memory_kib, passes in ((64 * 1024, 3), (1024 * 1024, 10)):
        secret = PassphraseSecret(STRONG, memory_kib, passes)
        unlock(lock(secret)[0], secret)
    assert asked == [(64 * 1024, 3, 1, 16, 32)] * 2 + [(1024 * 1024, 10, 1, 16, 32)] * 2


def test_no_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Poor:
        def __init__(self, **costs: object) -> None:
            pass

        def derive(self, secret: bytes) -> bytes:
            raise MemoryError

    monkeypatch.setattr(backup, "Argon2id", Poor)
    with pytest.raises(ResourceError):
        lock(PassphraseSecret(STRONG))


@pytest.mark.parametrize(
    "weak",
    [
        "",
        " ",
        "password",
        "Password123!",
        "correct horse battery staple",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "12345678901234567890",
        "abcdefghijklmnopqrstuvwxyz",
        "one one one one one one one one",
        "!!!!!!!!!!!!!!!!!!!!!!!!",
        "19. November 1987",
    ],
)
def test_a_weak_passphrase_is_refused(weak: str) -> None:
    assert entropy_bits(weak) < MIN_PASSPHRASE_BITS
    with pytest.raises(KdfParamsRefused) as refused:
        lock(PassphraseSecret(weak))
    assert refused.value.code == "weak_passphrase"
    assert not weak.strip() or weak not in str(refused.value)


@pytest.mark.parametrize("strong", [STRONG, "x7#Kq2!vR9pL", "قمر نهر جبل كتاب سفينة", "4819 2057 7364 9108 5523"])
def test_a_strong_passphrase_is_taken(strong: str) -> None:
    check_passphrase(strong)


def test_more_is_never_worth_less() -> None:
    bits = [entropy_bits(STRONG[:length]) for length in range(len(STRONG) + 1)]
    assert bits == sorted(bits)


def test_another_secret_changes_the_header_alone() -> None:
    data = written([ACCOUNT])
    other = CodeSecret(bytes(32))
    header = change_secret(data[:BACKUP_HEADER_BYTES], CODE, other)
    assert len(header) == BACKUP_HEADER_BYTES
    assert header != data[:BACKUP_HEADER_BYTES]
    changed = header + data[BACKUP_HEADER_BYTES:]
    assert list(read_backup(io.BytesIO(changed), other)) == [ACCOUNT]
    with pytest.raises(BackupAuthFailed):
        list(read_backup(io.BytesIO(changed), CODE))
    with pytest.raises(BackupAuthFailed):
        change_secret(header, CODE, other)


def test_the_commitment_comes_first() -> None:
    """A wrapped key that opens under a secret whose commitment is another is refused: one header has one secret."""
    header = lock(CODE)[0]
    parsed = BackupHeader.parse(header)
    wrapping = hkdf(parsed.salt, CODE.secret, PREFIX + b"backup\x01", 64)[:32]
    forged = header[:33] + bytes(32)
    forged += parsed.nonce + AESGCM(wrapping).encrypt(parsed.nonce, bytes(32), forged)
    with pytest.raises(BackupAuthFailed):
        unlock(forged, CODE)


def test_the_order_of_records() -> None:
    writer = BackupWriter(CODE)
    with pytest.raises(RequestError):
        writer.finish()
    with pytest.raises(RequestError):
        writer.add(HistoryRecord(b"", b""))
    writer.add(ACCOUNT)
    with pytest.raises(RequestError):
        writer.add(ACCOUNT)
    with pytest.raises(LimitReached):
        writer.add(HistoryRecord(b"c", bytes(MAX_RECORD_BYTES)))


def test_a_record_at_its_limit() -> None:
    longest = HistoryRecord(b"c", bytes(MAX_RECORD_BYTES - 3))
    assert list(read_backup(io.BytesIO(written([ACCOUNT, longest])), CODE)) == [ACCOUNT, longest]


@pytest.mark.parametrize(
    "record",
    [
        AccountRecord(bytes(31), "alice"),
        ContactRecord("", bytes(32), True, 1, bytes(32)),
        GroupRecord(bytes(15), ()),
        GroupRecord(bytes(16), (bytes(65_536),)),
        GroupRecord(bytes(16), (b"",) * 65_536),
        HistoryRecord(bytes(65_536), b""),
    ],
)
def test_what_a_record_cannot_carry(record: Record) -> None:
    with pytest.raises(MalformedMessage):
        record.body()


def test_a_backup_above_the_limit() -> None:
    limits = Limits(max_attachment_bytes=1_000)
    writer = BackupWriter(CODE, limits=limits)
    writer.add(ACCOUNT)
    with pytest.raises(LimitReached):
        writer.add(HistoryRecord(b"c", bytes(1_000)))
    data = written([ACCOUNT, HistoryRecord(b"c", bytes(1_000))])
    with pytest.raises(LimitReached):
        list(read_backup(io.BytesIO(data), CODE, limits=limits))


def test_memory_is_that_of_one_record() -> None:
    writer = BackupWriter(CODE)
    reader = BackupReader(unlock(writer.header, CODE))
    count = len(reader.feed(writer.add(ACCOUNT)))
    record = HistoryRecord(b"conversation", bytes(50_000))
    tracemalloc.start()
    for _ in range(300):
        count += len(reader.feed(writer.add(record)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    count += len(reader.feed(writer.finish())) + len(reader.finish())
    assert count == 1 + 300
    assert peak < 1024 * 1024


def test_recovery_codes() -> None:
    code = draw_code()
    assert format_code(parse_code(code)) == code
    assert [len(group) for group in code.split("-")] == [4] * 13
    assert CodeSecret.typed(code.lower()) == CodeSecret(parse_code(code))
    with pytest.raises(MalformedMessage):
        format_code(bytes(31))
    with pytest.raises(MalformedMessage):
        lock(CodeSecret(bytes(31)))


def test_mistyped_codes_are_mostly_noticed() -> None:
    """Four bits of check let one slip in sixteen through, which the commitment then stops."""
    code, missed, tried = format_code(CODE.secret), 0, 0
    for at, character in enumerate(code):
        for other in "0123456789ABCDEFGHJKMNPQRSTVWXYZ" if character != "-" else "":
            if other != character:
                tried += 1
                try:
                    missed += parse_code(code[:at] + other + code[at + 1 :]) != CODE.secret
                except MalformedMessage:
                    continue
    assert 0 < missed < tried / 10


def test_no_secret_is_shown() -> None:
    for holder in (CODE, PassphraseSecret(STRONG), BackupKey(bytes(32)), ACCOUNT, HistoryRecord(b"c", b"kept")):
        assert "=b" not in repr(holder).replace("conversation=b", "")
        assert STRONG not in repr(holder)
        with pytest.raises(TypeError):
            pickle.dumps(holder)
    with pytest.raises(E2EEError) as refused:
        unlock(lock(CODE)[0], PassphraseSecret(STRONG))
    assert STRONG not in str(refused.value)
