"""STUN: the vectors of RFC 5769, round trips, and refusal of everything malformed."""

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turn_client import (
    Attribute,
    MessageClass,
    Method,
    StunError,
    build_message,
    decode_xor_address,
    encode_error_code,
    encode_xor_address,
    parse_message,
)

TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
# RFC 5769 sections 2.1 to 2.3; the password of all three is the same.
PASSWORD = b"VOkJxbRl1RmTxUk/WvJxBt"
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff80290008932ff9b151263b36"
    "000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"
)
RESPONSE_IPV4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643000800142b91f599fd9e90c3"
    "8c7489f92af9ba53f06be7d780280004c07d4c96"
)
RESPONSE_IPV6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)
# RFC 8489 appendix B.1 with its verified erratum: MESSAGE-INTEGRITY-SHA256 under a long-term key.
REQUEST_SHA256 = bytes.fromhex(
    "000100902112a44278ad3433c6ad72c029da412e001e00204a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704001500"
    "296f624d61744a6f733241414143662f2f3439396b39353464364f4c33346f4c394653547679363473410000000014000b6578616d706c652e6f72"
    "6700001d000400020000001c0020b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65"
)


def test_rfc5769_request() -> None:
    message = parse_message(REQUEST)
    assert (message.method, message.message_class) == (Method.BINDING, MessageClass.REQUEST)
    assert message.transaction_id == TRANSACTION
    assert message.username == "evtj:h6vY"
    assert message.priority == 0x6E0001FF
    assert message.get(Attribute.ICE_CONTROLLED) == bytes.fromhex("932ff9b151263b36")
    assert message.get(Attribute.SOFTWARE) == b"STUN test client"
    assert message.check_integrity(PASSWORD)
    assert not message.check_integrity(PASSWORD + b"x")
    assert not message.use_candidate
    assert message.unknown_required() == ()


@pytest.mark.parametrize(
    ("data", "address"), [(RESPONSE_IPV4, ("192.0.2.1", 32853)), (RESPONSE_IPV6, ("2001:db8:1234:5678:11:2233:4455:6677", 32853))]
)
def test_rfc5769_responses(data: bytes, address: tuple[str, int]) -> None:
    message = parse_message(data)
    assert message.message_class is MessageClass.SUCCESS
    assert message.mapped_address == address
    assert message.check_integrity(PASSWORD)


def test_rfc8489_sha256() -> None:
    message = parse_message(REQUEST_SHA256)
    assert message.get(Attribute.REALM) == b"example.org"
    assert message.get(Attribute.USERHASH) is not None
    assert not message.check_integrity(b"anything")
    assert not message.check_integrity_sha256(b"anything")
    # PASSWORD-ALGORITHM says SHA-256, so the long-term key is the hash of user, realm and password (RFC 8489 section 9.2.2).
    assert message.check_integrity_sha256(hashlib.sha256("マトリックス:example.org:TheMatrIX".encode()).digest())


@given(
    method=st.sampled_from(list(Method)),
    message_class=st.sampled_from(list(MessageClass)),
    transaction=st.binary(min_size=12, max_size=12),
    extra=st.lists(st.tuples(st.integers(0xC100, 0xCFFF), st.binary(max_size=40)), max_size=8),
    key=st.none() | st.binary(min_size=1, max_size=40),
    fingerprint=st.booleans(),
)
def test_round_trip(
    method: Method,
    message_class: MessageClass,
    transaction: bytes,
    extra: list[tuple[int, bytes]],
    key: bytes | None,
    *,
    fingerprint: bool,
) -> None:
    data = build_message(method, message_class, transaction, extra, integrity_key=key, fingerprint=fingerprint)
    message = parse_message(data)
    assert (message.method, message.message_class, message.transaction_id) == (method, message_class, transaction)
    assert message.attributes[: len(extra)] == tuple(extra)
    assert message.check_integrity(key or b"none") is (key is not None)


@given(address=st.ip_addresses().map(str), port=st.integers(0, 65535), transaction=st.binary(min_size=12, max_size=12))
def test_address_round_trip(address: str, port: int, transaction: bytes) -> None:
    decoded = decode_xor_address(encode_xor_address(address, port, transaction), transaction)
    assert decoded in ((address, port), (address.removeprefix("::ffff:"), port)) or address.startswith("::ffff:")


def test_mapped_ipv4_is_written_as_ipv4() -> None:
    assert decode_xor_address(encode_xor_address("::ffff:192.0.2.7", 9, TRANSACTION), TRANSACTION) == ("192.0.2.7", 9)


def test_error_code() -> None:
    data = build_message(1, MessageClass.ERROR, TRANSACTION, [(Attribute.ERROR_CODE, encode_error_code(487, "Role Conflict"))])
    assert parse_message(data).error == (487, "Role Conflict")


def test_attributes_after_integrity_are_ignored() -> None:
    inner = build_message(1, MessageClass.REQUEST, TRANSACTION, [(Attribute.USERNAME, b"a:b")], integrity_key=b"key")
    tail = struct.pack("!HH", Attribute.USE_CANDIDATE, 0)
    data = inner[:2] + struct.pack("!H", len(inner) - 20 + len(tail)) + inner[4:] + tail
    message = parse_message(data)
    assert message.check_integrity(b"key")
    assert not message.use_candidate


def _with_attribute(kind: int, value: bytes) -> bytes:
    return build_message(1, MessageClass.REQUEST, TRANSACTION, [(kind, value)])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        REQUEST[:19],
        b"\x40" + REQUEST[1:],
        REQUEST[:4] + b"\x00" + REQUEST[5:],
        REQUEST[:-4],
        REQUEST + b"\0\0\0\0",
        REQUEST[:-1] + b"\0",
        b"\0\1\0\2" + REQUEST[4:20] + b"\0\0",
        b"\0\1\0\4" + REQUEST[4:20] + b"\x80\x22\0\1",
        _with_attribute(Attribute.PRIORITY, b"123"),
        _with_attribute(Attribute.USE_CANDIDATE, b"x"),
        _with_attribute(Attribute.USERNAME, b"\xff\xfe"),
        _with_attribute(Attribute.USERNAME, b"u" * 509),
        _with_attribute(Attribute.ERROR_CODE, b"\0\0\7\0"),
        _with_attribute(Attribute.ERROR_CODE, b"\0\0"),
        _with_attribute(Attribute.XOR_MAPPED_ADDRESS, b"\0\1" + bytes(18)),
        _with_attribute(Attribute.XOR_MAPPED_ADDRESS, b"\0\3" + bytes(6)),
        _with_attribute(Attribute.MESSAGE_INTEGRITY, bytes(8)),
        _with_attribute(Attribute.MESSAGE_INTEGRITY_SHA256, bytes(18)),
        build_message(1, MessageClass.REQUEST, TRANSACTION, [(0x8022, b"")] * 33),
        build_message(1, MessageClass.REQUEST, TRANSACTION, fingerprint=True)[:2]
        + b"\0\x0c"
        + build_message(1, MessageClass.REQUEST, TRANSACTION, fingerprint=True)[4:]
        + b"\x80\x22\0\0",
    ],
)
def test_malformed_is_refused(data: bytes) -> None:
    with pytest.raises(StunError):
        parse_message(data)


@given(st.binary(max_size=200))
def test_garbage_raises_only_our_type(data: bytes) -> None:
    length = struct.pack("!H", len(data) & ~3)
    for candidate in (data, REQUEST[:8] + data, REQUEST[:20] + data, b"\0\1" + length + REQUEST[4:20] + data):
        try:
            parse_message(candidate)
        except StunError:
            continue


# The last eight bytes are FINGERPRINT itself: without it, the message is still a message.
@given(st.integers(0, len(REQUEST) - 9), st.integers(1, 255))
def test_any_flipped_byte_breaks_the_fingerprint_or_the_form(position: int, change: int) -> None:
    data = bytearray(REQUEST)
    data[position] ^= change
    try:
        message = parse_message(bytes(data))
    except StunError:
        return
    pytest.fail(f"accepted {message}")


def test_build_refuses_bad_arguments() -> None:
    with pytest.raises(ValueError):
        build_message(1, MessageClass.REQUEST, b"short")
    with pytest.raises(ValueError):
        build_message(1, MessageClass.REQUEST, TRANSACTION, [(0x8022, bytes(40_000))] * 2)
