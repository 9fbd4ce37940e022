"""What a device's steps take and give: addresses, messages, and who is told of them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from e2ee.content import Content
from e2ee.errors import E2EEError
from e2ee.records import Peer
from e2ee.store.interface import Transaction

__all__ = ["Address", "Contact", "Follower", "Incoming", "Outgoing", "Received", "hand_over"]

R = TypeVar("R")

# A device: user id and device id.
Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message of type 1 or 2 for one device. It may go out once the transaction that made it is committed."""

    user_id: str
    device_id: int
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message and the device that the server names as its sender."""

    user_id: str
    device_id: int
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Received:
    """What one device said.

    ``signing`` is the public key by which the session knows that device. ``started``: this message began a session. A `Reset` as
    ``content`` says that the other side lost its state: what it was sent lately may have to be sent again. ``refused``: why the
    sender key or the operations in ``content`` do not count; the message itself is read all the same.
    """

    user_id: str
    device_id: int
    content: Content
    signing: bytes
    started: bool = False
    refused: E2EEError | None = None


@dataclass(frozen=True, slots=True)
class Contact:
    """A user that is known, and the hash of the newest device list, 32 zero bytes before the first."""

    user_id: str
    peer: Peer
    list_hash: bytes


class Follower(Protocol):
    """What is built on a device's sessions and has to change with them, in the same transaction."""

    def received(self, tx: Transaction, received: Received) -> E2EEError | None:
        """A message was read; the error, which is not raised, says why its content does not count."""

    def devices_left(self, tx: Transaction, user_id: str, gone: Collection[int]) -> None:
        """These devices of the user are no longer known."""


def hand_over(tx: Transaction, received: R, on_plaintext: Callable[[Transaction, R], None] | None) -> None:
    """Give to the application what was read, in the transaction that moves the keys; `TypeError` for a coroutine function."""
    if on_plaintext is not None:
        returned: object = on_plaintext(tx, received)
        if returned is not None:
            raise TypeError("on_plaintext must be a plain function that returns nothing; a coroutine would never run")
