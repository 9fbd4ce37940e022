"""A stream of AES-256-GCM chunks: what attachments and backups are made of (the profile's section 9).

`ChunkCipher` reads and writes any chunk on its own, so that a player can seek. `ChunkSealer` and `ChunkOpener` take bytes in pieces
of any size and give bytes, and hold never more than about one chunk.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag

from e2ee.errors import AttachmentCorrupt, AttachmentTruncated, E2EEError, LimitReached
from e2ee.primitives import AESGCM, KEY_BYTES, PREFIX, TAG_BYTES, Random, hkdf
from salam import RequestError

__all__ = ["Buffer", "HEADER_BYTES", "MAX_CHUNKS", "ChunkCipher", "ChunkOpener", "ChunkSealer", "StreamHeader"]

_MAGIC = b"SLA1"
_SALT_BYTES = 16
_PREFIX_BYTES = 7
HEADER_BYTES = len(_MAGIC) + 1 + _SALT_BYTES + _PREFIX_BYTES
# 64 KiB: 16 bytes of tag are nothing beside it, AES-GCM runs at full speed, and a player that seeks fetches no more than it needs.
_CHUNK_LOG2 = 16
# Below 4 KiB tags and calls begin to cost; above 1 MiB a reader would have to hold more than a phone should.
_MIN_CHUNK_LOG2 = 12
_MAX_CHUNK_LOG2 = 20
Buffer = bytes | bytearray | memoryview
# The chunk number is a u32 of the nonce.
MAX_CHUNKS = 2**32


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHeader:
    """The 28 bytes before the chunks, which are also every chunk's additional data."""

    chunk_log2: int
    salt: bytes
    prefix: bytes

    @staticmethod
    def draw(random: Random) -> StreamHeader:
        """A new header with 64 KiB chunks; draws the salt (16), then the nonce prefix (7)."""
        return StreamHeader(chunk_log2=_CHUNK_LOG2, salt=random(_SALT_BYTES), prefix=random(_PREFIX_BYTES))

    @staticmethod
    def parse(data: bytes) -> StreamHeader:
        """Read exactly a header: `AttachmentTruncated` when it is short, `AttachmentCorrupt` without a chunk when it is none."""
        if len(data) < HEADER_BYTES:
            raise AttachmentTruncated("the stream ends inside its header")
        if len(data) > HEADER_BYTES or not data.startswith(_MAGIC):
            raise AttachmentCorrupt("the stream does not begin with a header of the profile")
        chunk_log2 = data[len(_MAGIC)]
        if not _MIN_CHUNK_LOG2 <= chunk_log2 <= _MAX_CHUNK_LOG2:
            raise AttachmentCorrupt(f"chunks of 2^{chunk_log2} bytes; they may be of 2^{_MIN_CHUNK_LOG2} to 2^{_MAX_CHUNK_LOG2}")
        salt_end = len(_MAGIC) + 1 + _SALT_BYTES
        return StreamHeader(chunk_log2=chunk_log2, salt=data[len(_MAGIC) + 1 : salt_end], prefix=data[salt_end:])

    @property
    def chunk_bytes(self) -> int:
        """How much plaintext every chunk but the last one holds."""
        return 1 << self.chunk_log2

    def encode(self) -> bytes:
        return _MAGIC + self.chunk_log2.to_bytes(1, "big") + self.salt + self.prefix

    def chunks(self, plain_bytes: int) -> int:
        """How many chunks hold that many bytes, at least one; `LimitReached` where the chunk numbers end before."""
        chunks = max(-(-plain_bytes // self.chunk_bytes), 1)
        if chunks > MAX_CHUNKS:
            raise LimitReached(f"{plain_bytes} bytes are more than {MAX_CHUNKS} chunks of {self.chunk_bytes} bytes")
        return chunks

    def sealed_bytes(self, plain_bytes: int) -> int:
        """How long the whole stream of that many bytes is, header and tags included."""
        return HEADER_BYTES + plain_bytes + TAG_BYTES * self.chunks(plain_bytes)

    def sealed_chunk_bytes(self, chunk: int, plain_bytes: int) -> int:
        """How long the chunk of that number is in a stream of so many plain bytes, tag included."""
        return min(plain_bytes - chunk * self.chunk_bytes, self.chunk_bytes) + TAG_BYTES

    def bound(self, max_bytes: int) -> int:
        """``max_bytes``, or less where the chunk numbers end before."""
        return min(max_bytes, MAX_CHUNKS * self.chunk_bytes)

    def sealed_offset(self, chunk: int) -> int:
        """Where the chunk of that number begins in the stream."""
        return HEADER_BYTES + chunk * (self.chunk_bytes + TAG_BYTES)


class ChunkCipher:
    """Seals and opens single chunks of one stream, in any order.

    Sealing another plaintext under the same chunk number would break the cipher: whoever seals a chunk again must give the same.
    """

    __slots__ = ("_aad", "_gcm", "_prefix")

    def __init__(self, key: bytes, header: StreamHeader) -> None:
        self._gcm = AESGCM(hkdf(header.salt, key, PREFIX + b"file", KEY_BYTES))
        self._aad = header.encode()
        self._prefix = header.prefix

    def _nonce(self, number: int, last: bool) -> bytes:
        return self._prefix + number.to_bytes(4, "big") + (b"\x01" if last else b"\x00")

    def seal(self, number: int, last: bool, plain: Buffer) -> bytes:
        """Ciphertext and tag of chunk ``number``."""
        return self._gcm.encrypt(self._nonce(number, last), plain, self._aad)

    def opens(self, number: int, last: bool, sealed: Buffer) -> bytes | None:
        """The plaintext of chunk ``number``, or None when the chunk does not open."""
        try:
            return self._gcm.decrypt(self._nonce(number, last), sealed, self._aad)
        except InvalidTag:
            return None

    def open(self, number: int, last: bool, sealed: Buffer) -> bytes:
        """The plaintext of chunk ``number``; `AttachmentCorrupt` when the chunk does not open."""
        plain = self.opens(number, last, sealed)
        if plain is None:
            raise AttachmentCorrupt(f"chunk {number} does not open", chunk=number)
        return plain


class ChunkSealer:
    """Seals a stream of unknown length as it comes. `feed` everything, then `finish` once; the first bytes given are the header.

    Draws the salt (16) and the nonce prefix (7). ``max_bytes`` bounds the plaintext: `LimitReached`, and nothing is changed.
    """

    __slots__ = ("_chunk_bytes", "_cipher", "_digest", "_finished", "_header", "_max_bytes", "_number", "_pending", "_taken")

    def __init__(self, key: bytes, *, random: Random, max_bytes: int) -> None:
        header = StreamHeader.draw(random)
        self._cipher = ChunkCipher(key, header)
        self._header = header.encode()
        self._chunk_bytes = header.chunk_bytes
        self._max_bytes = header.bound(max_bytes)
        self._digest = hashlib.sha256(self._header)
        self._pending = bytearray()
        self._number = 0
        self._taken = 0
        self._finished = False

    @property
    def finished(self) -> bool:
        """Whether the last chunk was sealed."""
        return self._finished

    @property
    def taken(self) -> int:
        """How many bytes of plaintext were fed."""
        return self._taken

    @property
    def digest(self) -> bytes:
        """SHA-256 of the header and all chunks that were sealed so far."""
        return self._digest.digest()

    def feed(self, data: Buffer) -> bytes:
        """Take plaintext and give what of the stream is ready; a chunk waits until it is known not to be the last one."""
        self._check_unfinished()
        if self._taken + len(data) > self._max_bytes:
            raise LimitReached(f"the content is longer than {self._max_bytes} bytes")
        sealed = [self._take_header()]
        self._taken += len(data)
        self._pending += data
        done, size = 0, self._chunk_bytes
        with memoryview(self._pending) as pending:
            while len(pending) - done > size:
                sealed.append(self._cipher.seal(self._number, False, pending[done : done + size]))
                self._digest.update(sealed[-1])
                self._number += 1
                done += size
        del self._pending[:done]
        return b"".join(sealed)

    def finish(self) -> bytes:
        """The rest of the stream with the last chunk."""
        self._check_unfinished()
        self._finished = True
        header = self._take_header()
        last = self._cipher.seal(self._number, True, self._pending)
        self._digest.update(last)
        self._pending.clear()
        return header + last

    def _check_unfinished(self) -> None:
        """Another chunk under the last one's number would take its nonce again."""
        if self._finished:
            raise RequestError("the stream was finished; make another one")

    def _take_header(self) -> bytes:
        header, self._header = self._header, b""
        return header


class ChunkOpener:
    """Opens a stream as it comes. `feed` everything, then `finish`, without which nobody knows that the end was there.

    ``plain_bytes`` is the length of the whole plaintext where it is known: an end before it is `AttachmentTruncated`, bytes after
    it are `AttachmentCorrupt`. Where it is not known ``max_bytes`` bounds it (`LimitReached`). A call that fails gives nothing and
    changes nothing.
    """

    __slots__ = ("_cipher", "_digest", "_header", "_key", "_max_bytes", "_number", "_pending", "_plain_bytes")

    def __init__(self, key: bytes, *, max_bytes: int, plain_bytes: int | None = None) -> None:
        self._key = key
        self._plain_bytes = plain_bytes
        self._max_bytes = max_bytes
        self._header: StreamHeader | None = None
        self._cipher: ChunkCipher | None = None
        self._digest = hashlib.sha256()
        self._pending = bytearray()
        self._number = 0

    @property
    def digest(self) -> bytes:
        """SHA-256 of the header and all chunks that were opened so far."""
        return self._digest.digest()

    def feed(self, data: Buffer) -> bytes:
        """Take a piece of the stream and give the plaintext that is ready, each chunk after its tag was checked."""
        before = len(self._pending)
        self._pending += data
        try:
            return self._open_ready()
        except E2EEError:
            del self._pending[before:]
            raise

    def finish(self) -> bytes:
        """The plaintext that was held back; `AttachmentTruncated` when the stream ended before its last chunk."""
        if self._header is None or self._cipher is None:
            raise AttachmentTruncated("the stream ends inside its header")
        if self._plain_bytes is not None:
            if self._number < self._header.chunks(self._plain_bytes):
                raise AttachmentTruncated("the stream ends before its last chunk")
            return b""
        plain = self._open_last(self._header, self._cipher, bytes(self._pending))
        self._digest.update(self._pending)
        self._pending.clear()
        return plain

    def _open_ready(self) -> bytes:
        header, cipher, done = self._header, self._cipher, 0
        if header is None or cipher is None:
            if len(self._pending) < HEADER_BYTES:
                return b""
            header, done = StreamHeader.parse(bytes(self._pending[:HEADER_BYTES])), HEADER_BYTES
            cipher = ChunkCipher(self._key, header)
        plain, number = [], self._number
        with memoryview(self._pending) as pending:
            while (size := self._ready_bytes(header, number, len(pending) - done)) is not None:
                last = self._plain_bytes is not None and number + 1 == header.chunks(self._plain_bytes)
                # Copied, because a view that an exception's traceback keeps would forbid to shorten the buffer.
                plain.append(cipher.open(number, last, bytes(pending[done : done + size])))
                done += size
                number += 1
            self._digest.update(pending[:done])
        del self._pending[:done]
        self._header, self._cipher, self._number = header, cipher, number
        return b"".join(plain)

    def _ready_bytes(self, header: StreamHeader, number: int, waiting: int) -> int | None:
        """The sealed length of chunk ``number`` when it can be opened with what is waiting."""
        if self._plain_bytes is not None:
            if number == header.chunks(self._plain_bytes):
                if waiting:
                    raise AttachmentCorrupt("the stream goes on after its last chunk")
                return None
            size = header.sealed_chunk_bytes(number, self._plain_bytes)
            return size if waiting >= size else None
        # Another byte must follow before it is known that this is not the last chunk.
        if waiting <= header.chunk_bytes + TAG_BYTES:
            return None
        if (number + 1) * header.chunk_bytes >= header.bound(self._max_bytes):
            raise LimitReached(f"the content is longer than {self._max_bytes} bytes")
        return header.chunk_bytes + TAG_BYTES

    def _open_last(self, header: StreamHeader, cipher: ChunkCipher, sealed: bytes) -> bytes:
        """Open what is left when the length is not known: a cut between two chunks can be told from a broken chunk."""
        number = self._number
        if len(sealed) < TAG_BYTES or (
            len(sealed) == header.chunk_bytes + TAG_BYTES and cipher.opens(number, False, sealed) is not None
        ):
            raise AttachmentTruncated("the stream ends before its last chunk")
        plain = cipher.open(number, True, sealed)
        if number and not plain:
            raise AttachmentCorrupt("the last chunk is empty", chunk=number)
        if number * header.chunk_bytes + len(plain) > header.bound(self._max_bytes):
            raise LimitReached(f"the content is longer than {self._max_bytes} bytes")
        return plain
