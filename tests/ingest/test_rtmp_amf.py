"""AMF0: known bytes, round trips, and bounds."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.rtmp.amf import decode, encode
from salam import ProtocolError

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(min_size=1, max_size=8).filter(bool), inner, max_size=4)
    ),
    max_leaves=12,
)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@settings(deadline=None)
@given(st.lists(VALUES.filter(lambda value: depth(value) <= 8), max_size=4))
def test_values_survive_encoding(values: list[Any]) -> None:
    assert decode(encode(*values)) == values


def test_known_bytes() -> None:
    wire = b"\x02\x00\x07connect\x00\x3f\xf0\x00\x00\x00\x00\x00\x00\x03\x00\x03app\x02\x00\x04live\x00\x00\x09"
    assert encode("connect", 1, {"app": "live"}) == wire
    assert decode(wire) == ["connect", 1.0, {"app": "live"}]


@pytest.mark.parametrize(
    ("wire", "value"),
    [
        (b"\x06", None),
        (b"\x0d", None),
        (b"\x0b" + struct.pack(">d", 86_400_000.0) + b"\x00\x3c", 86_400_000.0),
        (b"\x0c\x00\x00\x00\x02hi", "hi"),
        (b"\x0f\x00\x00\x00\x04<a/>", "<a/>"),
        (b"\x10\x00\x05Point\x00\x01x\x01\x01\x00\x00\x09", {"x": True}),
        (b"\x08\x00\x00\x00\x63\x00\x01k\x05\x00\x00\x09", {"k": None}),
        (b"\x02\x00\x02\xff\xfe", "��"),
    ],
)
def test_the_rarer_markers(wire: bytes, value: object) -> None:
    assert decode(wire) == [value]


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(b"\x00\x3f", id="number cut short"),
        pytest.param(b"\x02\x00\x05ab", id="string cut short"),
        pytest.param(b"\x03\x00\x01a", id="object cut short"),
        pytest.param(b"\x03", id="object without end"),
        pytest.param(b"\x0a\xff\xff\xff\xff", id="array longer than its message"),
        pytest.param(b"\x07\x00\x00", id="reference"),
        pytest.param(b"\x11\x01", id="AMF3"),
        pytest.param(b"\xff", id="unknown marker"),
        pytest.param(b"\x03\x00\x01a" * 20 + b"\x05", id="too deep"),
        pytest.param(b"\x0a\x00\x00\x13\x88" + b"\x05" * 5000, id="too many values"),
    ],
)
def test_malformed_values_are_refused(wire: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(wire)


def test_what_amf0_has_no_place_for() -> None:
    with pytest.raises(ValueError, match="65535"):
        encode("x" * 70_000)
    with pytest.raises(ValueError, match="empty key"):
        encode({"": 1})
    with pytest.raises(TypeError):
        encode(b"bytes")
