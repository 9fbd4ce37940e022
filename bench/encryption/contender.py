"""What a library must be able to do to be measured beside another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Contender", "Setup", "Talker"]


class Talker(Protocol):
    """One side of a session. Messages are what the library itself hands over, so that no serialization is charged to one alone."""

    def encrypt(self, plaintext: bytes) -> Any:
        """The message for the other side."""

    def decrypt(self, message: Any) -> bytes:
        """What the other side said."""


# One complete set-up with keys made before: verify the bundle, agree, encrypt the first message, read it on the other side.
Setup = Callable[[bytes], tuple[Talker, Talker]]


class Contender(Protocol):
    """A library under measurement."""

    name: str
    version: str

    def prepare(self, post_quantum: bool) -> Setup | None:
        """Make a fresh responder's keys, outside of the measured time; None where the library has no such handshake."""

    def forge(self, message: Any) -> Any:
        """The message with its last byte changed: well formed, and not from the other side."""

    def refuses(self, talker: Talker, message: Any) -> bool:
        """Whether the talker refuses the message with the error that the library has for that."""
