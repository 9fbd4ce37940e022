"""Fixed binary layouts: a reader that never runs past the end, and the small pieces that every layout shares.

All parsing in this package goes through `Reader`, so that it raises one exception type (`MalformedMessage`) on any input.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from e2ee.errors import MalformedMessage

__all__ = ["MAX_USER_BYTES", "Reader", "check_device_id", "fixed", "lp", "u8", "u16", "u32", "u64", "user_bytes"]

MAX_USER_BYTES = 255


def u8(value: int) -> bytes:
    """``value`` in one byte; `OverflowError` for one that does not fit, which is the caller's mistake."""
    return value.to_bytes(1, "big")


def u16(value: int) -> bytes:
    """``value`` in two bytes; `OverflowError` for one that does not fit, which is the caller's mistake."""
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    """``value`` in four bytes; `OverflowError` for one that does not fit, which is the caller's mistake."""
    return value.to_bytes(4, "big")


def u64(value: int) -> bytes:
    """``value`` in eight bytes; `OverflowError` for one that does not fit, which is the caller's mistake."""
    return value.to_bytes(8, "big")


def lp(value: bytes) -> bytes:
    """``value`` behind its length in two bytes; at most 65,535 bytes."""
    return len(value).to_bytes(2, "big") + value


def fixed(value: bytes, length: int) -> bytes:
    """``value`` itself; `MalformedMessage` unless it has ``length`` bytes."""
    if len(value) != length:
        raise MalformedMessage(f"a field has {len(value)} bytes; it must have {length}")
    return value


def user_bytes(user_id: str) -> bytes:
    """A user id as the profile writes it; `MalformedMessage` unless it has 1 to 255 bytes of UTF-8."""
    try:
        encoded = user_id.encode()
    except UnicodeEncodeError:
        raise MalformedMessage("a user id must be text that UTF-8 can carry") from None
    if not 1 <= len(encoded) <= MAX_USER_BYTES:
        raise MalformedMessage(f"a user id has {len(encoded)} bytes; it must have 1 to {MAX_USER_BYTES}")
    return encoded


def check_device_id(device_id: int) -> int:
    """The device id itself; `MalformedMessage` unless it is a u32 from 1 on."""
    if not 1 <= device_id < 2**32:
        raise MalformedMessage(f"a device id is {device_id}; it must be from 1 to {2**32 - 1}")
    return device_id


class Reader:
    """Takes fields from the front of ``data``; every method raises `MalformedMessage` where the bytes run out."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def position(self) -> int:
        """How many bytes have been taken."""
        return self._position

    @property
    def left(self) -> int:
        """How many bytes have not been taken."""
        return len(self._data) - self._position

    def take(self, length: int) -> bytes:
        end = self._position + length
        if end > len(self._data):
            raise MalformedMessage(f"the data ends {end - len(self._data)} bytes too early")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def fields(self, layout: Struct) -> tuple[Any, ...]:
        """The fields of a fixed layout at once, which costs no more than `take` of one of them."""
        return layout.unpack(self.take(layout.size))

    def rest(self) -> bytes:
        return self.take(self.left)

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def lp(self) -> bytes:
        return self.take(self.u16())

    def user(self) -> str:
        """A user id behind its length: 1 to 255 bytes of UTF-8."""
        raw = self.lp()
        if not 1 <= len(raw) <= MAX_USER_BYTES:
            raise MalformedMessage(f"a user id has {len(raw)} bytes; it must have 1 to {MAX_USER_BYTES}")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise MalformedMessage("a user id is not UTF-8") from None

    def device_id(self) -> int:
        return check_device_id(self.u32())

    def done(self) -> None:
        """Nothing may be left over."""
        if self.left:
            raise MalformedMessage(f"{self.left} bytes are left over at the end")
