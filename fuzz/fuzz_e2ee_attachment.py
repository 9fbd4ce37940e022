"""Fuzz target: attachment descriptors and sealed streams, by pieces and by file, raise errors of ours or nothing."""

import io

from e2ee.attachment import AttachmentDescriptor, AttachmentOpener, AttachmentSealer
from e2ee.attachment_file import OpenedFile
from e2ee.chunk_stream import ChunkOpener
from e2ee.errors import AttachmentCorrupt, AttachmentTruncated, LimitReached, MalformedMessage


def _sealed(content: bytes) -> tuple[bytes, AttachmentDescriptor]:
    sealer = AttachmentSealer(random=bytes)
    sealed = sealer.feed(content) + b"".join(sealer.finish())
    return sealed, sealer.descriptor(mime_type="image/webp", name="a.webp")


_SEALED, _DESCRIPTOR = _sealed(b"content")
SEEDS: list[bytes] = [_DESCRIPTOR.encode(), _SEALED, _SEALED[:4] + b"\x0c" + _SEALED[5:]]


def one_input(data: bytes) -> None:
    """Read ``data`` as a descriptor, as a stream of known length by both readers, and as one of unknown length."""
    try:
        assert AttachmentDescriptor.parse(data).encode() == data
    except MalformedMessage:
        pass
    opener = AttachmentOpener(_DESCRIPTOR)
    unknown = ChunkOpener(bytes(32), max_bytes=10_000)
    for stream in (opener, unknown):
        try:
            stream.feed(data[:700])
            stream.feed(data[700:])
            stream.finish()
        except (AttachmentCorrupt, AttachmentTruncated, LimitReached):
            pass
    try:
        file = OpenedFile(io.BytesIO(data), _DESCRIPTOR)
        file.verify()
        file.readall()
    except (AttachmentCorrupt, AttachmentTruncated):
        pass
