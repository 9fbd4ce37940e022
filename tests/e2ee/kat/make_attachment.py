"""Writes attachment.json: ``python -m tests.e2ee.kat.make_attachment``. All of it follows from names.

Types of cases. ``content_size`` stands for that many bytes of which byte i is ``(7 i + i div 256) mod 256``:

- ``seal``: ``content`` or ``content_size`` with ``random`` gives ``sealed`` (or its ``sealed_sha256`` and ``sealed_size``) and,
  with ``mime_type`` and ``file_name``, ``descriptor``.
- ``open``: ``sealed`` with ``descriptor`` gives ``content_size``; ``reads`` are ranges [offset, length] of it and what they hold.
- ``open_refused``: the stream of the case ``of`` after ``edit``, or one of its own, gives ``error``; ``chunk`` is the number of the
  chunk that is to blame, or null.
- ``descriptor``: what ``encoded`` says. ``descriptor_refused``: ``encoded`` gives ``error``.
- ``padded``: sizes and what they are padded to.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from e2ee.attachment import AttachmentDescriptor, AttachmentOpener, AttachmentSealer, padded_size
from e2ee.chunk_stream import ChunkCipher, StreamHeader
from e2ee.errors import E2EEError
from tests.support.e2ee import edited, flip, write_kat
from tests.support.kat import Case, Named, append, cut, pattern, refusal, seeded

# Up to here a sealed stream is written out.
_WRITTEN_BYTES = 3_000


def _seal(name: str, content: bytes, *, written: bool, mime_type: str = "text/plain", file_name: str = "a.txt") -> Case:
    random = Named(f"seal {name}")
    sealer = AttachmentSealer(random=random)
    sealed = sealer.feed(content) + b"".join(sealer.finish())
    case: Case = {"type": "seal", "name": name, "random": random.drawn.hex()}
    case |= {"content": content.hex()} if written else {"content_size": len(content)}
    case |= {"mime_type": mime_type, "file_name": file_name, "sealed_size": len(sealed)}
    case["sealed_sha256"] = hashlib.sha256(sealed).hexdigest()
    if len(sealed) <= _WRITTEN_BYTES:
        case["sealed"] = sealed.hex()
    return case | {"descriptor": sealer.descriptor(mime_type=mime_type, name=file_name).encode().hex()}


def stream(name: str, size: int, chunk_log2: int, *, padding: bytes = b"\0", wrong_last: bool = False) -> tuple[str, bytes]:
    """Descriptor and stream with chunks of another size than a writer takes, or with other faults that only a writer could make."""
    key = seeded(f"{name} key")
    header = StreamHeader(chunk_log2=chunk_log2, salt=seeded(f"{name} salt", 16), prefix=seeded(f"{name} prefix", 7))
    cipher = ChunkCipher(key, header)
    plain = pattern(size).ljust(padded_size(size), padding)
    pieces = [plain[at : at + header.chunk_bytes] for at in range(0, len(plain), header.chunk_bytes)]
    last = len(pieces) - 1
    sealed = header.encode() + b"".join(
        cipher.seal(number, (number == last) != wrong_last, piece) for number, piece in enumerate(pieces)
    )
    digest = hashlib.sha256(sealed).digest()
    described = AttachmentDescriptor(key=key, digest=digest, size=size, mime_type="audio/ogg", name="صوت.ogg")
    return described.encode().hex(), sealed


def _open(name: str, size: int, chunk_log2: int, *, padding: bytes = b"\0") -> Case:
    descriptor, sealed = stream(name, size, chunk_log2, padding=padding)
    content = pattern(size)
    ranges = [(0, 1), (size - 1, 1), (size // 2, 40), ((1 << chunk_log2) - 3, 6), (size - 5, 99), (size, 1)]
    reads = [[at, length, content[at : at + length].hex()] for at, length in ranges if at >= 0]
    return {
        "type": "open",
        "name": name,
        "descriptor": descriptor,
        "sealed": sealed.hex(),
        "content_size": size,
        "reads": reads,
    }


def _refused(name: str, descriptor: str, sealed: bytes, of: str | None = None, edit: list[Case] | None = None) -> Case:
    case: Case = {"type": "open_refused", "name": name, "descriptor": descriptor}
    case |= {"of": of, "edit": edit or []} if of else {"sealed": sealed.hex()}
    try:
        opener = AttachmentOpener(AttachmentDescriptor.parse(bytes.fromhex(descriptor)))
        opener.feed(edited(sealed, edit or []))
        opener.finish()
    except E2EEError as error:
        return case | refusal(error)
    raise AssertionError(f"{name} was not refused")


def _with_size(descriptor: str, size: int) -> str:
    return replace(AttachmentDescriptor.parse(bytes.fromhex(descriptor)), size=size).encode().hex()


def _refusals(of: Case) -> list[Case]:
    descriptor, sealed = of["descriptor"], bytes.fromhex(of["sealed"])
    third = 28 + 2 * 4112

    def refused(name: str, edit: Case) -> Case:
        return _refused(name, descriptor, sealed, of["name"], [edit])

    lengths = (0, 27, 28, 29, 44, 4139, 4140, third, len(sealed) - 1)
    cases = [refused(f"the stream ends after {length} bytes", cut(sealed, length)) for length in lengths]
    flips = {"magic": 0, "chunk size": 4, "salt": 5, "prefix": 21, "chunk 0": 28, "tag of chunk 0": 4139, "chunk 1": 4140}
    flips |= {"chunk 2": third, "last tag": len(sealed) - 1}
    cases += [refused(f"a bit of {what} is changed", flip(sealed, at)) for what, at in flips.items()]
    cases += [refused(f"chunks of 2^{log2} bytes", {"at": 4, "delete": 1, "insert": f"{log2:02x}"}) for log2 in (11, 16, 21)]
    cases.append(refused("a byte follows", append(sealed, b"\0")))
    swapped = sealed[:28] + sealed[4140:third] + sealed[28:4140] + sealed[third:]
    cases.append(_refused("chunks 0 and 1 change places", descriptor, swapped))
    raw = bytearray.fromhex(descriptor)
    for name, at in (("another digest", 33), ("another key", 1)):
        other = raw.copy()
        other[at] ^= 1
        cases.append(_refused(name, other.hex(), sealed, of["name"]))
    for size in (9_000 + 4_096, 100):
        cases.append(_refused(f"a size of {size}", _with_size(descriptor, size), sealed, of["name"]))
    for size in (5 * 1024**3 + 1, 2**64 - 1):
        cases.append(_refused(f"{size} bytes are too many", _with_size(descriptor, size), b""))
    cases.append(_refused("the last flag is turned", *stream("turned", 500, 12, wrong_last=True)))
    return cases


def _descriptors() -> list[Case]:
    plain = AttachmentDescriptor(key=seeded("k"), digest=seeded("d"), size=5 * 1024**3, mime_type="", name="")
    other = AttachmentDescriptor(key=seeded("k"), digest=seeded("d"), size=7, mime_type="image/webp", name="صورة.webp")
    cases: list[Case] = [
        {
            "type": "descriptor",
            "name": f"descriptor of {one.size} bytes",
            "encoded": one.encode().hex(),
            "key": one.key.hex(),
            "digest": one.digest.hex(),
            "size": one.size,
            "mime_type": one.mime_type,
            "file_name": one.name,
        }
        for one in (plain, other)
    ]
    encoded = other.encode()
    faults = {
        "empty": b"",
        "version 2": b"\2" + encoded[1:],
        "cut": encoded[:-1],
        "a byte follows": encoded + b"\0",
        "a type that is not UTF-8": encoded.replace(b"image/webp", b"image/\xff\xfebp"),
        "a name that is not UTF-8": encoded[:-1] + b"\xff",
    }
    for name, data in faults.items():
        try:
            AttachmentDescriptor.parse(data)
        except E2EEError as error:
            cases.append({"type": "descriptor_refused", "name": name, "encoded": data.hex()} | refusal(error))
    return cases


def cases() -> list[Case]:
    small = [_seal("empty", b"", written=True), _seal("short", "سلام".encode(), written=True, file_name="سلام.txt")]
    sizes = (1_023, 1_024, 1_025, 65_535, 65_536, 65_537, 131_072, 200_000)
    large = [_seal(f"{size} bytes", pattern(size), written=False, mime_type="application/x", file_name="") for size in sizes]
    opened = [_open("three chunks of 4 KiB", 9_000, 12), _open("one chunk of 1 MiB", 500, 20), _open("nothing", 0, 12)]
    opened += [_open("padding of ones", 2_000, 12, padding=b"\1")]
    checked = [0, 1, 1_024, 1_025, 1_152, 1_153, 4_096, 65_536, 1_000_000, 10**9, 5 * 1024**3]
    padded: Case = {"type": "padded", "name": "padded", "sizes": [[size, padded_size(size)] for size in checked]}
    return [*small, *large, *opened, *_refusals(opened[0]), *_descriptors(), padded]


if __name__ == "__main__":
    write_kat("attachment", "Types of cases as in make_attachment.py.", cases())
