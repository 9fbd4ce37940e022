"""Attachments: a file is sealed under a key of its own, and a small descriptor with that key travels in a message (section 9).

Three ways in and out, none of which holds more than a chunk:

- `AttachmentSealer` and `AttachmentOpener` take bytes in pieces of any size and give bytes;
- `seal_pieces` and `open_pieces` do the same between asynchronous iterators;
- `e2ee.attachment_file` has file objects over a file that can seek, for an upload that continues and a player that jumps.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from dataclasses import dataclass, field

from e2ee.chunk_stream import MAX_CHUNKS, Buffer, ChunkOpener, ChunkSealer
from e2ee.encoding import Reader, fixed, lp, u8, u64
from e2ee.errors import AttachmentCorrupt, LimitReached, MalformedMessage, UnsupportedVersion
from e2ee.limits import DEFAULT_LIMITS, Limits
from e2ee.padding import bucket
from e2ee.primitives import KEY_BYTES, NoPickle, Random, system_random
from salam import RequestError

__all__ = [
    "AttachmentDescriptor",
    "AttachmentOpener",
    "AttachmentSealer",
    "check_digest",
    "open_pieces",
    "padded_size",
    "seal_pieces",
]

_VERSION = 1
_DIGEST_BYTES = 32
_U64_END = 2**64
# The smallest attachment looks like every other one up to this size; a chunk is anyway 64 times as long.
_LEAST_BUCKET = 1_024
# Zeros are fed in pieces of one chunk.
_PIECE_BYTES = 65_536


def padded_size(size: int, limits: Limits = DEFAULT_LIMITS) -> int:
    """How long the content is with its padding; `LimitReached` for more than ``limits.max_attachment_bytes``."""
    most = limits.max_attachment_bytes
    if size > most:
        raise LimitReached(f"an attachment has {size} bytes; it may have {most} (max_attachment_bytes)")
    return max(bucket(size), _LEAST_BUCKET)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise MalformedMessage("a text of an attachment descriptor is not UTF-8") from None


def _raw(text: str) -> bytes:
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise MalformedMessage("a text of an attachment descriptor must be one that UTF-8 can carry") from None
    if len(raw) > 0xFFFF:
        raise MalformedMessage(f"a text of an attachment descriptor has {len(raw)} bytes; it may have 65535")
    return raw


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentDescriptor(NoPickle):
    """What a receiver needs to fetch and open an attachment. It holds the key, so it travels only inside of a message.

    ``digest`` is the SHA-256 of the whole sealed stream, ``size`` the content's length in bytes. ``mime_type`` and ``name`` are the
    sender's words: a name is no path, and a type no promise.
    """

    key: bytes = field(repr=False)
    digest: bytes
    size: int
    mime_type: str
    name: str = field(repr=False)

    def encode(self) -> bytes:
        """The bytes of the profile; `MalformedMessage` for fields that the layout cannot carry."""
        if not 0 <= self.size < _U64_END:
            raise MalformedMessage(f"an attachment descriptor has the size {self.size}; it must fit 64 bits")
        fixed_fields = fixed(self.key, KEY_BYTES) + fixed(self.digest, _DIGEST_BYTES) + u64(self.size)
        return u8(_VERSION) + fixed_fields + lp(_raw(self.mime_type)) + lp(_raw(self.name))

    @staticmethod
    def parse(data: bytes) -> AttachmentDescriptor:
        """Read a descriptor; `MalformedMessage` for anything else. Whether ``size`` is within limits is seen when it is opened."""
        reader = Reader(data)
        version = reader.u8()
        if version != _VERSION:
            raise UnsupportedVersion(f"an attachment descriptor has version {version}; this release reads {_VERSION}")
        key, digest, size = reader.take(KEY_BYTES), reader.take(_DIGEST_BYTES), reader.u64()
        mime_type, name = _text(reader.lp()), _text(reader.lp())
        reader.done()
        return AttachmentDescriptor(key=key, digest=digest, size=size, mime_type=mime_type, name=name)


class AttachmentSealer:
    """Seals an attachment whose length need not be known. `feed` all content, take everything from `finish`, then `descriptor`.

    Draws the key (32), the salt (16) and the nonce prefix (7). Content above ``limits.max_attachment_bytes`` is `LimitReached`.
    """

    __slots__ = ("_key", "_limits", "_size", "_stream")

    def __init__(self, *, random: Random = system_random, limits: Limits = DEFAULT_LIMITS) -> None:
        self._key = random(KEY_BYTES)
        self._limits = limits
        # The padding may go beyond the limit of the content.
        self._stream = ChunkSealer(self._key, random=random, max_bytes=MAX_CHUNKS * _PIECE_BYTES)
        self._size = 0

    def feed(self, content: Buffer) -> bytes:
        """Take a piece of the content and give what of the sealed stream is ready, which may be nothing."""
        padded_size(self._size + len(content), self._limits)
        sealed = self._stream.feed(content)
        self._size += len(content)
        return sealed

    def finish(self) -> Iterator[bytes]:
        """Give the rest of the sealed stream, with the padding, in pieces of about a chunk."""
        left = padded_size(self._size, self._limits) - self._stream.taken
        zeros = bytes(_PIECE_BYTES)
        while left:
            piece = min(left, _PIECE_BYTES)
            yield self._stream.feed(zeros[:piece])
            left -= piece
        yield self._stream.finish()

    def descriptor(self, *, mime_type: str, name: str) -> AttachmentDescriptor:
        """What the receiver needs; `salam.RequestError` before all of `finish` was taken."""
        if not self._stream.finished:
            raise RequestError("the attachment is not sealed to its end")
        return AttachmentDescriptor(key=self._key, digest=self._stream.digest, size=self._size, mime_type=mime_type, name=name)


class AttachmentOpener:
    """Opens a sealed attachment as it comes. `feed` everything, then `finish`: before it returns, nobody knows that all was there.

    Raises `LimitReached` at once for a descriptor above ``limits.max_attachment_bytes``. Of a call that fails nothing is given.
    """

    __slots__ = ("_descriptor", "_given", "_stream")

    def __init__(self, descriptor: AttachmentDescriptor, *, limits: Limits = DEFAULT_LIMITS) -> None:
        padded = padded_size(descriptor.size, limits)
        self._descriptor = descriptor
        self._stream = ChunkOpener(descriptor.key, plain_bytes=padded, max_bytes=padded)
        self._given = 0

    def feed(self, sealed: Buffer) -> bytes:
        """Take a piece of the sealed stream and give the content that is ready.

        Raises `AttachmentCorrupt` with the number of the chunk that does not open, or without one where the header is wrong or
        bytes follow the last chunk.
        """
        plain = self._stream.feed(sealed)
        content = plain[: self._descriptor.size - self._given]
        self._given += len(content)
        return content

    def finish(self) -> None:
        """`AttachmentTruncated` when the stream is not complete, `AttachmentCorrupt` when its digest is not the descriptor's."""
        self._stream.finish()
        check_digest(self._stream.digest, self._descriptor)


def check_digest(digest: bytes, descriptor: AttachmentDescriptor) -> None:
    """`AttachmentCorrupt` unless ``digest`` is the descriptor's. The digest also commits to the key, which AES-GCM does not."""
    if not hmac.compare_digest(digest, descriptor.digest):
        raise AttachmentCorrupt("the stream is not the one that the descriptor names")


async def seal_pieces(content: AsyncIterable[bytes], sealer: AttachmentSealer) -> AsyncIterator[bytes]:
    """Seal what comes; `AttachmentSealer.descriptor` is there when the iteration has ended."""
    async for piece in content:
        if sealed := sealer.feed(piece):
            yield sealed
    for sealed in sealer.finish():
        yield sealed


async def open_pieces(sealed: AsyncIterable[bytes], opener: AttachmentOpener) -> AsyncIterator[bytes]:
    """Open what comes. What was given counts only when the iteration has ended without an error."""
    async for piece in sealed:
        if content := opener.feed(piece):
            yield content
    opener.finish()
