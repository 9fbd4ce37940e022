"""What a device's groups take and give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from e2ee.device_messages import Address, Outgoing
from e2ee.group_operation import Member

__all__ = ["GroupChain", "GroupReceived", "GroupSent", "GroupView"]


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group as this device sees it after operation ``epoch``; ``hash`` is that of its state, the same for all who agree.

    ``is_member``: whether this device's user is in it, under this device's account key.
    """

    group_id: bytes
    epoch: int
    hash: bytes
    members: Mapping[str, Member]
    is_member: bool


@dataclass(frozen=True, slots=True)
class GroupSent:
    """A message for a group, once the transaction that made it is committed.

    ``message`` is for every device of every member. ``keys`` go first, each to the device that it names: they carry the sender key.
    ``left_out`` cannot read the message, for want of a session, and get the key with a later one; members in ``unreachable`` have
    no known devices, or an account key in doubt; those in ``withheld`` have another account key than the group knows (renew).
    """

    group_id: bytes
    epoch: int
    message: bytes = field(repr=False)
    keys: tuple[Outgoing, ...] = ()
    left_out: tuple[Address, ...] = ()
    unreachable: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupReceived:
    """What one device said to a group, when that was at operation ``epoch``."""

    group_id: bytes
    epoch: int
    user_id: str
    device_id: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class GroupChain:
    """All operations of a group, and the certificates of the devices that signed them, also of those that were removed since."""

    group_id: bytes
    operations: tuple[bytes, ...]
    certificates: tuple[bytes, ...]
