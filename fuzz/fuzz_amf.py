"""Fuzz target: the AMF0 decoder raises ProtocolError or nothing."""

from ingest.rtmp.amf import decode, encode
from salam import ProtocolError

SEEDS: list[bytes] = [
    encode("connect", 1, {"app": "live", "tcUrl": "rtmp://127.0.0.1/live", "fpad": False, "capsEx": 15}),
    encode("@setDataFrame", "onMetaData", {"width": 1280.0, "framerate": 29.97, "nested": {"list": [1, "two", None, True]}}),
    # ECMA array, date, long string, typed object, undefined, strict array.
    b"\x08\x00\x00\x00\x01\x00\x01a\x00" + bytes(8) + b"\x00\x00\x09",
    b"\x0b" + bytes(10) + b"\x0c\x00\x00\x00\x02hi" + b"\x10\x00\x01T\x00\x01k\x05\x00\x00\x09" + b"\x06",
    b"\x0a\x00\x00\x00\x02\x05\x06",
]


def one_input(data: bytes) -> None:
    """Decode ``data``."""
    try:
        decode(data)
    except ProtocolError:
        return
