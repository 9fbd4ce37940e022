"""The known answers of attachments, by all three interfaces."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pytest

from e2ee.attachment import AttachmentDescriptor, AttachmentOpener, AttachmentSealer, padded_size
from e2ee.attachment_file import OpenedFile, SealedFile
from e2ee.errors import E2EEError
from tests.e2ee.kat import make_attachment
from tests.support.e2ee import Recorded, edited, read_kat
from tests.support.kat import chosen, pattern, refusal


def test_the_file_is_what_the_maker_writes() -> None:
    assert read_kat("attachment") == make_attachment.cases()


def content_of(case: dict[str, Any]) -> bytes:
    return bytes.fromhex(case["content"]) if "content" in case else pattern(case["content_size"])


@pytest.mark.parametrize("case", chosen("attachment", "seal"))
def test_seal(case: dict[str, Any]) -> None:
    content, random = content_of(case), Recorded(bytes.fromhex(case["random"]))
    sealer = AttachmentSealer(random=random)
    sealed = b"".join([sealer.feed(content[:100]), sealer.feed(content[100:]), *sealer.finish()])
    assert not random.left
    assert hashlib.sha256(sealed).hexdigest() == case["sealed_sha256"]
    assert len(sealed) == case["sealed_size"]
    assert sealed.hex() == case.get("sealed", sealed.hex())
    descriptor = sealer.descriptor(mime_type=case["mime_type"], name=case["file_name"])
    assert descriptor.encode().hex() == case["descriptor"]
    file = SealedFile(io.BytesIO(content), random=Recorded(bytes.fromhex(case["random"])))
    assert file.readall() == sealed
    assert file.descriptor(mime_type=case["mime_type"], name=case["file_name"]) == descriptor


@pytest.mark.parametrize("case", chosen("attachment", "open"))
def test_open(case: dict[str, Any]) -> None:
    descriptor, sealed = AttachmentDescriptor.parse(bytes.fromhex(case["descriptor"])), bytes.fromhex(case["sealed"])
    content = pattern(case["content_size"])
    opener = AttachmentOpener(descriptor)
    assert b"".join(opener.feed(sealed[at : at + 700]) for at in range(0, len(sealed), 700)) == content
    opener.finish()
    file = OpenedFile(io.BytesIO(sealed), descriptor)
    file.verify()
    for at, length, expected in case["reads"]:
        file.seek(at)
        assert file.read(length).hex() == expected
    file.seek(0)
    assert file.readall() == content


def stream(descriptor: AttachmentDescriptor, sealed: bytes) -> None:
    opener = AttachmentOpener(descriptor)
    for at in range(0, len(sealed), 997):
        opener.feed(sealed[at : at + 997])
    opener.finish()


@pytest.mark.parametrize("case", chosen("attachment", "open_refused"))
def test_open_refused(case: dict[str, Any]) -> None:
    if "of" in case:
        of = next(one for one in read_kat("attachment") if one["name"] == case["of"])
        sealed = edited(bytes.fromhex(of["sealed"]), case["edit"])
    else:
        sealed = bytes.fromhex(case["sealed"])
    expected = {name: case[name] for name in ("error", "chunk") if name in case}
    descriptor = AttachmentDescriptor.parse(bytes.fromhex(case["descriptor"]))
    with pytest.raises(E2EEError) as streamed:
        stream(descriptor, sealed)
    assert refusal(streamed.value) == expected
    with pytest.raises(E2EEError) as read:
        OpenedFile(io.BytesIO(sealed), descriptor).readall()
    assert refusal(read.value) == expected


@pytest.mark.parametrize("case", chosen("attachment", "descriptor"))
def test_descriptor(case: dict[str, Any]) -> None:
    descriptor = AttachmentDescriptor.parse(bytes.fromhex(case["encoded"]))
    assert (descriptor.key.hex(), descriptor.digest.hex(), descriptor.size) == (case["key"], case["digest"], case["size"])
    assert (descriptor.mime_type, descriptor.name) == (case["mime_type"], case["file_name"])
    assert descriptor.encode().hex() == case["encoded"]


@pytest.mark.parametrize("case", chosen("attachment", "descriptor_refused"))
def test_descriptor_refused(case: dict[str, Any]) -> None:
    with pytest.raises(E2EEError) as refused:
        AttachmentDescriptor.parse(bytes.fromhex(case["encoded"]))
    assert refused.value.code == case["error"]


@pytest.mark.parametrize("case", chosen("attachment", "padded"))
def test_padded(case: dict[str, Any]) -> None:
    assert [[size, padded_size(size)] for size, _ in case["sizes"]] == case["sizes"]
