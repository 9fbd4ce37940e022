"""How the makers of known-answer files get bytes and randomness that follow from names, and how their tests choose cases."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from e2ee.errors import AttachmentCorrupt, E2EEError
from tests.support.e2ee import read_kat

__all__ = ["Case", "Named", "append", "chosen", "cut", "pattern", "refusal", "seeded"]

Case = dict[str, Any]
_PATTERN = bytes((7 * i + (i >> 8)) & 0xFF for i in range(256 * 1024))


def seeded(name: str, length: int = 32) -> bytes:
    """Bytes that follow from a name."""
    return hashlib.shake_256(name.encode()).digest(length)


def pattern(length: int) -> bytes:
    """Content too long to be written down: byte i is ``(7 i + i div 256) mod 256``; at most 256 KiB of it."""
    assert length <= len(_PATTERN)
    return _PATTERN[:length]


class Named:
    """A source of randomness that follows from a name and keeps what it gave."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.drawn = b""

    def __call__(self, length: int) -> bytes:
        taken = seeded(f"{self.name} {len(self.drawn)}", length)
        self.drawn += taken
        return taken


def cut(data: bytes, length: int) -> Case:
    """The edit that leaves the first ``length`` bytes."""
    return {"at": length, "delete": len(data) - length, "insert": ""}


def append(data: bytes, more: bytes) -> Case:
    """The edit that puts ``more`` at the end."""
    return {"at": len(data), "delete": 0, "insert": more.hex()}


def refusal(error: E2EEError) -> Case:
    """What a case says of a refusal: the code, and the chunk where one is to blame."""
    return {"error": error.code} | ({"chunk": error.chunk} if isinstance(error, AttachmentCorrupt) else {})


def chosen(kind: str, type_: str) -> list[Any]:
    """The cases of one type as parameters of a test."""
    found = [pytest.param(case, id=case["name"]) for case in read_kat(kind) if case["type"] == type_]
    assert found, f"{kind} has no cases of type {type_}"
    return found
