"""How a record lies in a file: under AES-256-GCM, in a row whose name tells nothing.

From the store key (32 bytes that the application keeps elsewhere: a key ring, a file with other rights) and the file's salt come
two keys. One names rows: HMAC of the table and of the key, 16 bytes each, so that the file lists neither contacts nor groups, and
the same contact has another row name in another file. The other seals records:

    nonce 12 || GCM(seal key, nonce, lp(table) || lp(key) || record, table name hash || key hash || version u64)

The nonce is random. At 2^32 writes of one file two nonces are equal with a chance of 2^-32; at a thousand writes a second that is
50 days, after which the chance still only doubles with each doubling of the square. What a file does show: how many records there
are, how long each is, and which are written often. Whoever can put an old copy of the whole file back is not noticed here.
"""

from __future__ import annotations

import hmac
from functools import lru_cache

from cryptography.exceptions import InvalidTag

from e2ee.encoding import Reader, lp, u64
from e2ee.primitives import AESGCM, KEY_BYTES, NONCE_BYTES, PREFIX, hkdf, system_random
from e2ee.store.interface import StoreError
from salam import ConfigError

__all__ = ["NAME_BYTES", "SALT_BYTES", "Sealer"]

SALT_BYTES = 16
# 128 bits: two names meet by chance after 2^64 rows.
NAME_BYTES = 16
# Names of tables that are used again and again; those with a variable part pass through.
_TABLE_NAMES_CACHED = 256

_CHECK = b"check"


class Sealer:
    """Names and seals the rows of one file.

    ``store_key`` has 32 bytes (`salam.ConfigError` otherwise); ``salt`` is that of the file.
    """

    def __init__(self, store_key: bytes, salt: bytes) -> None:
        if len(store_key) != KEY_BYTES:
            raise ConfigError(f"the store key has {len(store_key)} bytes; it must have {KEY_BYTES}")
        keys = hkdf(salt, store_key, PREFIX + b"store", 2 * KEY_BYTES)
        self._index_key = keys[:KEY_BYTES]
        self._cipher = AESGCM(keys[KEY_BYTES:])
        self.table_name = lru_cache(_TABLE_NAMES_CACHED)(self._table_name)

    def check_value(self) -> bytes:
        """What tells later whether a store key is that of the file."""
        nonce = system_random(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, b"", _CHECK)

    def accepts(self, check_value: bytes) -> bool:
        """Whether ``check_value`` was made under the same store key and salt."""
        try:
            self._cipher.decrypt(check_value[:NONCE_BYTES], check_value[NONCE_BYTES:], _CHECK)
        except (InvalidTag, ValueError):
            return False
        return True

    def _table_name(self, table: str) -> bytes:
        """The name of a table in the file."""
        return hmac.digest(self._index_key, b"\x00" + table.encode(), "sha256")[:NAME_BYTES]

    def row_name(self, table_name: bytes, key: bytes) -> bytes:
        """The name of a row in that table of the file."""
        return hmac.digest(self._index_key, b"\x01" + table_name + key, "sha256")[:NAME_BYTES]

    def seal(self, table: str, key: bytes, row_name: bytes, version: int, record: bytes) -> bytes:
        """The record as it is written."""
        nonce = system_random(NONCE_BYTES)
        aad = self.table_name(table) + row_name + u64(version)
        return nonce + self._cipher.encrypt(nonce, lp(table.encode()) + lp(key) + record, aad)

    def open(self, table_name: bytes, row_name: bytes, version: int, sealed: bytes) -> tuple[str, bytes, bytes]:
        """The table, key and record of what was written; `StoreError` ``store_corrupt`` for anything else."""
        try:
            plain = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], table_name + row_name + u64(version))
        except (InvalidTag, ValueError):
            raise StoreError("a record of the store is damaged", code="store_corrupt") from None
        reader = Reader(plain)
        return reader.lp().decode(), reader.lp(), reader.rest()
