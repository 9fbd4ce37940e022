"""Backups: how a backup is locked (the profile's section 10). What is in one is in `e2ee.backup_records`.

A random key seals the content; a recovery code, or a passphrase through Argon2id, seals that key in the header. So another secret
means 125 other bytes. It does not take back copies of the old header: who had an old backup and its secret keeps what was in it.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from enum import IntEnum

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from e2ee.encoding import Reader, fixed, u8, u32
from e2ee.errors import BackupAuthFailed, DecryptionFailed, KdfParamsRefused, MalformedMessage
from e2ee.limits import DEFAULT_LIMITS, Limits
from e2ee.passphrase import check_passphrase, normalized
from e2ee.primitives import (
    AESGCM,
    EMPTY_SALT,
    KEY_BYTES,
    NONCE_BYTES,
    PREFIX,
    TAG_BYTES,
    NoPickle,
    Random,
    hkdf,
    open_sealed,
    system_random,
)
from e2ee.recovery_code import parse_code
from salam import ResourceError

__all__ = [
    "BACKUP_HEADER_BYTES",
    "BackupHeader",
    "BackupKey",
    "BackupSecret",
    "CodeSecret",
    "Kdf",
    "PassphraseSecret",
    "change_secret",
    "lock",
    "unlock",
]

_MAGIC = b"SLB1"
_SALT_BYTES = 16
_WRAPPED_BYTES = KEY_BYTES + TAG_BYTES
# Magic, kdf, three u32, salt, commitment, nonce and wrapped key.
BACKUP_HEADER_BYTES = len(_MAGIC) + 1 + 12 + _SALT_BYTES + KEY_BYTES + NONCE_BYTES + _WRAPPED_BYTES
_LANES = 1


class Kdf(IntEnum):
    """How the secret becomes a key."""

    RECOVERY_CODE = 1
    ARGON2ID = 2


@dataclass(frozen=True, slots=True)
class CodeSecret(NoPickle):
    """The 32 bytes of a recovery code."""

    secret: bytes = field(repr=False)

    @staticmethod
    def typed(code: str) -> CodeSecret:
        """The secret of a code as a person typed it; `MalformedMessage` when it was mistyped."""
        return CodeSecret(parse_code(code))


@dataclass(frozen=True, slots=True)
class PassphraseSecret(NoPickle):
    """A passphrase, and what hashing it costs in a new backup. ``memory_kib`` is 64 * 1024 on a small device.

    A backup that is opened names its own cost.
    """

    passphrase: str = field(repr=False)
    memory_kib: int = 256 * 1024
    passes: int = 3


BackupSecret = CodeSecret | PassphraseSecret


@dataclass(frozen=True, slots=True)
class BackupKey(NoPickle):
    """The random key of a backup's content."""

    secret: bytes = field(repr=False)

    def stream_key(self) -> bytes:
        """The key of the attachment stream that holds the records."""
        return hkdf(EMPTY_SALT, self.secret, PREFIX + b"backup-stream", KEY_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupHeader:
    """The first 125 bytes of a backup."""

    kdf: Kdf
    memory_kib: int
    passes: int
    lanes: int
    salt: bytes
    commit: bytes
    nonce: bytes
    wrapped: bytes

    @staticmethod
    def parse(data: bytes) -> BackupHeader:
        """Read exactly a header; `MalformedMessage` for anything else. The costs are not judged yet."""
        reader = Reader(data)
        if reader.take(len(_MAGIC)) != _MAGIC:
            raise MalformedMessage("this is no backup of the profile")
        kdf = reader.u8()
        if kdf not in (Kdf.RECOVERY_CODE, Kdf.ARGON2ID):
            raise MalformedMessage(f"a backup is locked in way {kdf}, which this release does not know")
        memory_kib, passes, lanes = reader.u32(), reader.u32(), reader.u32()
        if kdf == Kdf.RECOVERY_CODE and (memory_kib or passes or lanes):
            raise MalformedMessage("a backup with a recovery code names costs of a password hash")
        salt, commit = reader.take(_SALT_BYTES), reader.take(KEY_BYTES)
        nonce, wrapped = reader.take(NONCE_BYTES), reader.take(_WRAPPED_BYTES)
        reader.done()
        return BackupHeader(
            kdf=Kdf(kdf),
            memory_kib=memory_kib,
            passes=passes,
            lanes=lanes,
            salt=salt,
            commit=commit,
            nonce=nonce,
            wrapped=wrapped,
        )

    def encode(self) -> bytes:
        return self.authenticated() + self.nonce + self.wrapped

    def authenticated(self) -> bytes:
        """All before the nonce, which is the additional data of the wrapped key."""
        costs = u32(self.memory_kib) + u32(self.passes) + u32(self.lanes)
        return _MAGIC + u8(self.kdf) + costs + self.salt + self.commit

    def check_costs(self, limits: Limits) -> None:
        """`KdfParamsRefused` unless hashing is both worth something and affordable; done before anything is hashed."""
        if self.kdf == Kdf.RECOVERY_CODE:
            return
        memory = limits.argon2_min_kib <= self.memory_kib <= limits.argon2_max_kib
        passes = limits.argon2_min_passes <= self.passes <= limits.argon2_max_passes
        if not memory or not passes or self.lanes != _LANES:
            raise KdfParamsRefused(
                f"Argon2id with {self.memory_kib} KiB, {self.passes} passes and {self.lanes} lanes; allowed are "
                f"{limits.argon2_min_kib} to {limits.argon2_max_kib} KiB, {limits.argon2_min_passes} to "
                f"{limits.argon2_max_passes} passes and one lane"
            )


def _argon2id(secret: PassphraseSecret, header: BackupHeader) -> bytes:
    passphrase = normalized(secret.passphrase)
    try:
        return Argon2id(
            salt=header.salt,
            length=KEY_BYTES,
            iterations=header.passes,
            lanes=header.lanes,
            memory_cost=header.memory_kib,
        ).derive(passphrase)
    except MemoryError:
        raise ResourceError(f"there is no memory for Argon2id with {header.memory_kib} KiB") from None


def _derive(secret: BackupSecret, header: BackupHeader) -> tuple[bytes, bytes]:
    """The key that wraps the backup's key, and the commitment to it."""
    raw = fixed(secret.secret, KEY_BYTES) if isinstance(secret, CodeSecret) else _argon2id(secret, header)
    both = hkdf(header.salt, raw, PREFIX + b"backup" + u8(header.kdf), 2 * KEY_BYTES)
    return both[:KEY_BYTES], both[KEY_BYTES:]


def lock(
    secret: BackupSecret, *, key: BackupKey | None = None, random: Random = system_random, limits: Limits = DEFAULT_LIMITS
) -> tuple[bytes, BackupKey]:
    """A header that ``secret`` opens, for a new key or a given one; draws salt 16, [key 32], nonce 12.

    Raises `KdfParamsRefused` for costs outside of ``limits``, and with the code ``weak_passphrase`` for a passphrase that can be
    guessed; `salam.ResourceError` where there is not the memory to hash it.
    """
    salt = random(_SALT_BYTES)
    held = BackupKey(random(KEY_BYTES)) if key is None else key
    nonce = random(NONCE_BYTES)
    if isinstance(secret, CodeSecret):
        kdf, costs = Kdf.RECOVERY_CODE, (0, 0, 0)
    else:
        check_passphrase(secret.passphrase)
        kdf, costs = Kdf.ARGON2ID, (secret.memory_kib, secret.passes, _LANES)
    header = BackupHeader(
        kdf=kdf, memory_kib=costs[0], passes=costs[1], lanes=costs[2], salt=salt, commit=b"", nonce=nonce, wrapped=b""
    )
    header.check_costs(limits)
    wrapping, commit = _derive(secret, header)
    before = header.authenticated() + commit
    return before + nonce + AESGCM(wrapping).encrypt(nonce, held.secret, before), held


def unlock(header: bytes, secret: BackupSecret, *, limits: Limits = DEFAULT_LIMITS) -> BackupKey:
    """The key of a backup from its first 125 bytes. A passphrase takes about a second and the memory that the header names.

    Raises `MalformedMessage` for what is no header, `KdfParamsRefused` before anything is hashed, `BackupAuthFailed` for another
    secret or an altered header, `salam.ResourceError` where there is not the memory.
    """
    parsed = BackupHeader.parse(header)
    parsed.check_costs(limits)
    if (parsed.kdf == Kdf.RECOVERY_CODE) != isinstance(secret, CodeSecret):
        raise BackupAuthFailed(
            f"the backup is locked with a {'recovery code' if parsed.kdf == Kdf.RECOVERY_CODE else 'passphrase'}"
        )
    wrapping, commit = _derive(secret, parsed)
    if not hmac.compare_digest(commit, parsed.commit):
        raise BackupAuthFailed("the secret does not open this backup")
    try:
        return BackupKey(open_sealed(wrapping, parsed.nonce, parsed.wrapped, parsed.authenticated()))
    except DecryptionFailed:
        raise BackupAuthFailed("the secret does not open this backup") from None


def change_secret(
    header: bytes, old: BackupSecret, new: BackupSecret, *, random: Random = system_random, limits: Limits = DEFAULT_LIMITS
) -> bytes:
    """The header to write over the old one, so that ``new`` opens the backup; the content stays. Raises as `unlock` and `lock`."""
    return lock(new, key=unlock(header, old, limits=limits), random=random, limits=limits)[0]
