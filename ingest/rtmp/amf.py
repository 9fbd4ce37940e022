"""AMF0: the values inside RTMP's commands and metadata (AMF0 specification of 2007).

Only what RTMP needs. Values map to plain Python: number to float, boolean, string, null and undefined to None, objects and ECMA
arrays to dict, strict arrays to list, dates to milliseconds since 1970. References are refused: no encoder sends them, and
following them lets a few bytes stand for an endless value.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TypeAlias

from salam import ProtocolError

__all__ = ["AmfInput", "AmfValue", "decode", "encode"]

AmfValue: TypeAlias = None | bool | float | str | dict[str, "AmfValue"] | list["AmfValue"]
"""What `decode` returns."""

AmfInput: TypeAlias = None | bool | float | str | Mapping[str, "AmfInput"] | Sequence["AmfInput"]
"""What `encode` takes: the same, read-only and with integers allowed."""

# Metadata nests two levels deep at most (fourCc maps, track lists); 8 leaves room and keeps recursion harmless.
_MAX_DEPTH = 8
# The longest metadata seen (seekable files with keyframe tables) has about a thousand values; each value costs us an object.
_MAX_VALUES = 4096
# Longer strings than a short string's 65,535 bytes need the long-string marker, which nothing in a publish session needs.
_SHORT_STRING_BYTES = 0xFFFF


class _Marker(IntEnum):
    NUMBER = 0x00
    BOOLEAN = 0x01
    STRING = 0x02
    OBJECT = 0x03
    NULL = 0x05
    UNDEFINED = 0x06
    ECMA_ARRAY = 0x08
    OBJECT_END = 0x09
    STRICT_ARRAY = 0x0A
    DATE = 0x0B
    LONG_STRING = 0x0C
    UNSUPPORTED = 0x0D
    XML_DOCUMENT = 0x0F
    TYPED_OBJECT = 0x10


class _Decoder:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._values = 0

    @property
    def at_end(self) -> bool:
        return self._at >= len(self._data)

    def value(self, depth: int = 0) -> AmfValue:
        self._values += 1
        if depth > _MAX_DEPTH or self._values > _MAX_VALUES:
            raise ProtocolError(f"an AMF value deeper than {_MAX_DEPTH} levels or with more than {_MAX_VALUES} parts")
        marker = self._take(1)[0]
        match marker:
            case _Marker.NUMBER:
                return self._number()
            case _Marker.BOOLEAN:
                return self._take(1) != b"\x00"
            case _Marker.STRING:
                return self._text(2)
            case _Marker.NULL | _Marker.UNDEFINED | _Marker.UNSUPPORTED:
                return None
            case _Marker.OBJECT:
                return self._members(depth)
            case _Marker.ECMA_ARRAY:
                # The count is a hint only (section 2.10): files written live carry zero. The end marker decides.
                self._take(4)
                return self._members(depth)
            case _Marker.TYPED_OBJECT:
                self._text(2)
                return self._members(depth)
            case _Marker.STRICT_ARRAY:
                return self._elements(depth)
            case _Marker.DATE:
                milliseconds = self._number()
                # The time zone that follows is reserved and must be ignored (section 2.13).
                self._take(2)
                return milliseconds
            case _Marker.LONG_STRING | _Marker.XML_DOCUMENT:
                return self._text(4)
        raise ProtocolError(f"AMF0 marker {marker:#04x} is unknown or not taken here")

    def _take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if len(taken) < count:
            raise ProtocolError("an AMF value ends too early")
        self._at += count
        return taken

    def _number(self) -> float:
        number: float = struct.unpack(">d", self._take(8))[0]
        return number

    def _text(self, length_bytes: int) -> str:
        raw = self._take(int.from_bytes(self._take(length_bytes), "big"))
        # Old encoders send titles in local code pages. A wrong character in a title is no reason to refuse a stream.
        return raw.decode("utf-8", "replace")

    def _members(self, depth: int) -> dict[str, AmfValue]:
        members: dict[str, AmfValue] = {}
        while True:
            key = self._text(2)
            if not key and self._data[self._at : self._at + 1] == bytes((_Marker.OBJECT_END,)):
                self._at += 1
                return members
            members[key] = self.value(depth + 1)

    def _elements(self, depth: int) -> list[AmfValue]:
        count = int.from_bytes(self._take(4), "big")
        # Every element takes a byte at least, so a count beyond the data is a lie that need not be followed to its end.
        if count > len(self._data) - self._at:
            raise ProtocolError("an AMF array is longer than its message")
        return [self.value(depth + 1) for _ in range(count)]


def decode(data: bytes) -> list[AmfValue]:
    """Return the AMF0 values that follow one another in ``data``.

    Raises ProtocolError when a value is cut short, unknown, nested more than 8 deep or has more than 4096 parts.
    """
    decoder = _Decoder(data)
    values: list[AmfValue] = []
    while not decoder.at_end:
        values.append(decoder.value())
    return values


def encode(*values: AmfInput) -> bytes:
    """Return ``values`` one after another in AMF0; integers become numbers, mappings objects, sequences strict arrays.

    Raises ValueError for a string or key longer than 65,535 bytes and TypeError for a value AMF0 has no place for.
    """
    out = bytearray()
    for value in values:
        _encode_value(out, value)
    return bytes(out)


def _encode_value(out: bytearray, value: AmfInput) -> None:
    if value is None:
        out.append(_Marker.NULL)
    elif isinstance(value, bool):
        out += bytes((_Marker.BOOLEAN, value))
    elif isinstance(value, (int, float)):
        out.append(_Marker.NUMBER)
        out += struct.pack(">d", value)
    elif isinstance(value, str):
        out.append(_Marker.STRING)
        _encode_text(out, value)
    elif isinstance(value, Mapping):
        out.append(_Marker.OBJECT)
        for key, member in value.items():
            if not key:
                raise ValueError("an AMF object has no place for an empty key")
            _encode_text(out, key)
            _encode_value(out, member)
        out += bytes((0, 0, _Marker.OBJECT_END))
    elif isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        out.append(_Marker.STRICT_ARRAY)
        out += len(value).to_bytes(4, "big")
        for element in value:
            _encode_value(out, element)
    else:
        raise TypeError(f"AMF0 has no place for {type(value).__name__}")


def _encode_text(out: bytearray, text: str) -> None:
    raw = text.encode("utf-8")
    if len(raw) > _SHORT_STRING_BYTES:
        raise ValueError(f"a string of {len(raw)} bytes; {_SHORT_STRING_BYTES} are allowed")
    out += len(raw).to_bytes(2, "big") + raw
