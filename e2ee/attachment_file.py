"""Attachments as file objects that can seek: both sides of section 9 over a file, one chunk in memory at a time.

They read the file that they were given, and so block as it does; they open nothing and close nothing.
"""

from __future__ import annotations

import hashlib
import io
from abc import abstractmethod
from typing import TYPE_CHECKING, BinaryIO

from e2ee.attachment import AttachmentDescriptor, check_digest, padded_size
from e2ee.chunk_stream import HEADER_BYTES, ChunkCipher, StreamHeader
from e2ee.errors import AttachmentCorrupt, AttachmentTruncated
from e2ee.limits import DEFAULT_LIMITS, Limits
from e2ee.primitives import KEY_BYTES, TAG_BYTES, Random, system_random
from salam import RequestError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["OpenedFile", "SealedFile"]

# Bytes hashed at a time by `OpenedFile.verify`.
_PIECE_BYTES = 65_536
_NO_TAG = bytes(TAG_BYTES)


def _read(source: BinaryIO, offset: int, length: int) -> bytes:
    """``length`` bytes from ``offset``, fewer only where the source ends."""
    source.seek(offset)
    pieces, left = [], length
    while left and (piece := source.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


class _ChunkFile(io.RawIOBase):
    """Position, seeking and reading over pieces of a stream of known length."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self._length = length
        self._position = 0

    @property
    def length(self) -> int:
        """How many bytes there are to read."""
        return self._length

    @abstractmethod
    def _piece(self, position: int) -> bytes | memoryview:
        """Some bytes from ``position`` on, at least one."""

    @abstractmethod
    def _reached(self, position: int) -> None:
        """Called before bytes up to ``position`` are given."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As of every file; a position before the start or an unknown ``whence`` is `ValueError`."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}.get(whence)
        if start is None or start + offset < 0:
            raise ValueError(f"cannot seek to {offset} from {whence}")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer as far as the stream goes. When a chunk fails, nothing counts as read."""
        view = memoryview(buffer).cast("B")
        wanted, filled = max(min(len(view), self._length - self._position), 0), 0
        while filled < wanted:
            piece = self._piece(self._position + filled)[: wanted - filled]
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
        self._reached(self._position + filled)
        self._position += filled
        return filled

    def readall(self) -> bytes:
        """Everything from here on, in one object."""
        return self.read(max(self._length - self._position, 0)) or b""


class OpenedFile(_ChunkFile):
    """The content of a sealed attachment, read from any place: a voice note, a video, an image in a gallery.

    Every chunk is checked when it is opened. The digest over everything is checked before the last byte is given when all was read
    from front to back; who jumps calls `verify` first, where the sender could be dishonest and it matters. ``source`` is a file
    that can seek and holds the sealed stream. Raises `AttachmentCorrupt` with the chunk's number, `AttachmentTruncated`, and
    `LimitReached` for a size above ``limits.max_attachment_bytes``.
    """

    def __init__(self, source: BinaryIO, descriptor: AttachmentDescriptor, *, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(descriptor.size)
        self._padded = padded_size(descriptor.size, limits)
        header = StreamHeader.parse(_read(source, 0, HEADER_BYTES))
        self._source = source
        self._descriptor = descriptor
        self._header = header
        self._chunks = header.chunks(self._padded)
        self._cipher = ChunkCipher(descriptor.key, header)
        self._digest = hashlib.sha256(header.encode())
        # The number of the first chunk that the digest has not seen.
        self._hashed = 0
        self._opened: tuple[int, memoryview] = (-1, memoryview(b""))

    def verify(self) -> None:
        """Read the whole source and check length and digest, without opening it: `AttachmentTruncated` or `AttachmentCorrupt`."""
        digest, offset = hashlib.sha256(), 0
        while piece := _read(self._source, offset, _PIECE_BYTES):
            digest.update(piece)
            offset += len(piece)
        if offset < self._header.sealed_bytes(self._padded):
            raise AttachmentTruncated("the stream ends before its last chunk")
        check_digest(digest.digest(), self._descriptor)

    def _piece(self, position: int) -> memoryview:
        number, start = divmod(position, self._header.chunk_bytes)
        return self._open(number)[start:]

    def _open(self, number: int) -> memoryview:
        if self._opened[0] != number:
            length = self._header.sealed_chunk_bytes(number, self._padded)
            sealed = _read(self._source, self._header.sealed_offset(number), length)
            if len(sealed) < length:
                raise AttachmentTruncated(f"the stream ends inside chunk {number}")
            self._opened = (number, memoryview(self._cipher.open(number, number + 1 == self._chunks, sealed)))
            if number == self._hashed:
                self._digest.update(sealed)
                self._hashed += 1
        return self._opened[1]

    def _reached(self, position: int) -> None:
        content_chunks = self._header.chunks(self._length) if self._length else 0
        if position < self._length or not content_chunks <= self._hashed or self._hashed > self._chunks:
            return
        for number in range(self._hashed, self._chunks):
            self._open(number)
        if _read(self._source, self._header.sealed_bytes(self._padded), 1):
            raise AttachmentCorrupt("the stream goes on after its last chunk")
        check_digest(self._digest.digest(), self._descriptor)
        # Past every chunk: checked once and for all.
        self._hashed = self._chunks + 1


class SealedFile(_ChunkFile):
    """A file as its sealed stream, read from any place: an upload may go back and send a piece again.

    Draws the key (32), the salt (16) and the nonce prefix (7). The file must not change meanwhile: a chunk that is sealed again
    must come out the same, or one nonce would seal two texts, so its tag is remembered (16 bytes for each 64 KiB) and a difference
    is `salam.RequestError` with the code ``source_changed``. A file above ``limits.max_attachment_bytes`` is `LimitReached`.
    """

    def __init__(self, source: BinaryIO, *, random: Random = system_random, limits: Limits = DEFAULT_LIMITS) -> None:
        size = source.seek(0, io.SEEK_END)
        padded = padded_size(size, limits)
        key = random(KEY_BYTES)
        header = StreamHeader.draw(random)
        super().__init__(header.sealed_bytes(padded))
        self._source = source
        self._size = size
        self._padded = padded
        self._key = key
        self._header = header
        self._encoded = header.encode()
        self._chunks = header.chunks(padded)
        self._cipher = ChunkCipher(key, header)
        self._digest = hashlib.sha256(self._encoded)
        self._hashed = 0
        self._tags = bytearray(TAG_BYTES * self._chunks)
        self._sealed: tuple[int, memoryview] = (-1, memoryview(b""))

    def descriptor(self, *, mime_type: str, name: str) -> AttachmentDescriptor:
        """What the receiver needs; reads and seals first what has not been read from front to back yet, to know the digest."""
        for number in range(self._hashed, self._chunks):
            self._seal(number)
        digest = self._digest.digest()
        return AttachmentDescriptor(key=self._key, digest=digest, size=self._size, mime_type=mime_type, name=name)

    def _piece(self, position: int) -> bytes | memoryview:
        if position < HEADER_BYTES:
            return self._encoded[position:]
        number, start = divmod(position - HEADER_BYTES, self._header.chunk_bytes + TAG_BYTES)
        return self._seal(number)[start:]

    def _reached(self, position: int) -> None:
        """There is nothing to check at the end."""

    def _seal(self, number: int) -> memoryview:
        if self._sealed[0] == number:
            return self._sealed[1]
        offset, size = number * self._header.chunk_bytes, self._header.chunk_bytes
        expected = max(min(self._size - offset, size), 0)
        content = _read(self._source, offset, expected)
        length = self._header.sealed_chunk_bytes(number, self._padded) - TAG_BYTES
        sealed = self._cipher.seal(number, number + 1 == self._chunks, content.ljust(length, b"\x00"))
        tags = slice(number * TAG_BYTES, (number + 1) * TAG_BYTES)
        tag, known = sealed[-TAG_BYTES:], bytes(self._tags[tags])
        if len(content) < expected or known not in (_NO_TAG, tag):
            raise RequestError("the file changed while it was being sealed; begin again", code="source_changed")
        self._tags[tags] = tag
        if number == self._hashed:
            self._digest.update(sealed)
            self._hashed += 1
        self._sealed = (number, memoryview(sealed))
        return self._sealed[1]
