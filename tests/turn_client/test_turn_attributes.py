"""The attributes of TURN, mobility, TCP relays and NAT discovery: what is read, and what is refused while parsing."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turn_client.attributes import (
    Icmp,
    alternate_server,
    canonical_peer,
    decode_address,
    decode_icmp,
    encode_address,
    encode_icmp,
    lifetime_of,
    unknown_attributes,
    xor_addresses,
)
from turn_client.errors import BadPeer
from turn_client.stun import (
    Attribute,
    MessageClass,
    Method,
    StunError,
    StunMessage,
    build_message,
    encode_xor_address,
    parse_message,
)

TRANSACTION = b"0123456789ab"
ADDRESS = st.tuples(st.ip_addresses().map(str), st.integers(0, 65535))


def message(*attributes: tuple[int, bytes]) -> StunMessage:
    return parse_message(build_message(Method.ALLOCATE, MessageClass.SUCCESS, TRANSACTION, attributes))


GOOD_LENGTHS: dict[Attribute, set[int]] = {
    Attribute.CHANGE_REQUEST: {4},
    Attribute.CHANNEL_NUMBER: {4},
    Attribute.LIFETIME: {4},
    Attribute.REQUESTED_ADDRESS_FAMILY: {4},
    Attribute.EVEN_PORT: {1},
    Attribute.REQUESTED_TRANSPORT: {4},
    Attribute.DONT_FRAGMENT: {0},
    Attribute.USERHASH: {32},
    Attribute.RESERVATION_TOKEN: {8},
    Attribute.RESPONSE_PORT: {2, 4},
    Attribute.CONNECTION_ID: {4},
    Attribute.ADDITIONAL_ADDRESS_FAMILY: {4},
    Attribute.ICMP: {8},
    Attribute.CACHE_TIMEOUT: {4},
    Attribute.ICE_CONTROLLED: {8},
    Attribute.ICE_CONTROLLING: {8},
    Attribute.PRIORITY: {4},
    Attribute.USE_CANDIDATE: {0},
}


@pytest.mark.parametrize("kind", GOOD_LENGTHS)
def test_lengths(kind: Attribute) -> None:
    for length in range(40):
        if length in GOOD_LENGTHS[kind]:
            assert message((kind, bytes(length))).get(kind) == bytes(length)
        else:
            with pytest.raises(StunError, match="malformed"):
                message((kind, bytes(length)))


@pytest.mark.parametrize(
    "kind",
    [
        Attribute.MAPPED_ADDRESS,
        Attribute.XOR_MAPPED_ADDRESS,
        Attribute.XOR_PEER_ADDRESS,
        Attribute.XOR_RELAYED_ADDRESS,
        Attribute.ALTERNATE_SERVER,
        Attribute.RESPONSE_ORIGIN,
        Attribute.OTHER_ADDRESS,
    ],
)
@pytest.mark.parametrize("value", [b"", bytes(8), b"\0\2" + bytes(6), b"\0\1" + bytes(18), b"\0\1" + bytes(5), b"\0\2" + bytes(19)])
def test_malformed_addresses(kind: Attribute, value: bytes) -> None:
    with pytest.raises(StunError, match="malformed"):
        message((kind, value))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Attribute.REALM, b"\xff"),
        (Attribute.REALM, b"r" * 764),
        (Attribute.NONCE, b""),
        (Attribute.NONCE, b"n" * 764),
        (Attribute.USERNAME, b"u" * 509),
        (Attribute.ALTERNATE_DOMAIN, b"d" * 256),
        (Attribute.ALTERNATE_DOMAIN, b"\xc3"),
        (Attribute.PASSWORD_ALGORITHMS, b""),
        (Attribute.PASSWORD_ALGORITHMS, b"\0\1\0"),
        (Attribute.PASSWORD_ALGORITHMS, b"\0\1\0\4ab"),
        (Attribute.PASSWORD_ALGORITHMS, b"\0\1\0\1a"),
        (Attribute.PASSWORD_ALGORITHM, b"\0\1\0\0x"),
        (Attribute.UNKNOWN_ATTRIBUTES, b"\0\1\0"),
        (Attribute.ADDRESS_ERROR_CODE, b"\2\0\4"),
        (Attribute.ADDRESS_ERROR_CODE, b"\2\0\2\0"),
        (Attribute.ERROR_CODE, b"\0\0\4\x64"),
        (Attribute.ERROR_CODE, b"\0\0\4\1" + b"r" * 764),
        (Attribute.MESSAGE_INTEGRITY_SHA256, bytes(12)),
    ],
)
def test_malformed_values(kind: Attribute, value: bytes) -> None:
    with pytest.raises(StunError, match="malformed"):
        message((kind, value))


@given(address=ADDRESS)
def test_plain_addresses(address: tuple[str, int]) -> None:
    assert decode_address(encode_address(address)) == (str(ipaddress.ip_address(address[0])), address[1])


@given(kind=st.integers(0, 127), code=st.integers(0, 511), data=st.integers(0, 2**32 - 1))
def test_icmp(kind: int, code: int, data: int) -> None:
    icmp = Icmp(kind, code, data)
    assert decode_icmp(encode_icmp(icmp)) == icmp


def test_icmp_bits() -> None:
    # "Fragmentation needed", MTU 1400: seven bits of type, nine of code (RFC 8656 section 18.13).
    assert encode_icmp(Icmp(3, 4, 1400)) == bytes.fromhex("0000 0604 00000578")


def test_readers() -> None:
    peers = [("192.0.2.7", 1), ("2001:db8::7", 65535)]
    parsed = message(
        *((Attribute.XOR_RELAYED_ADDRESS, encode_xor_address(*peer, TRANSACTION)) for peer in peers),
        (Attribute.LIFETIME, (600).to_bytes(4, "big")),
        (Attribute.UNKNOWN_ATTRIBUTES, b"\0\x1a\x80\x30"),
    )
    assert xor_addresses(parsed, Attribute.XOR_RELAYED_ADDRESS) == tuple(peers)
    assert xor_addresses(parsed, Attribute.XOR_PEER_ADDRESS) == ()
    assert lifetime_of(parsed) == 600
    assert lifetime_of(message()) is None
    assert unknown_attributes(parsed) == (Attribute.DONT_FRAGMENT, Attribute.MOBILITY_TICKET)
    assert unknown_attributes(message()) == ()


def test_alternate_server_is_of_our_family() -> None:
    v4, v6 = ("192.0.2.9", 3478), ("2001:db8::9", 3479)
    parsed = message(*((Attribute.ALTERNATE_SERVER, encode_address(address)) for address in (v6, v4)))
    assert alternate_server(parsed, "198.51.100.1") == v4
    assert alternate_server(parsed, "2001:db8::1") == v6
    assert alternate_server(message(), "198.51.100.1") is None


@given(host=st.text(max_size=30), port=st.integers(-5, 70_000))
def test_any_peer_is_canonical_or_refused(host: str, port: int) -> None:
    try:
        peer, _ = canonical_peer((host, port))
    except BadPeer:
        return
    assert canonical_peer(peer)[0] == peer


@given(
    kind=st.sampled_from(list(Attribute)),
    value=st.binary(max_size=50),
    more=st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=20))),
)
def test_readers_never_fail_on_what_was_parsed(kind: Attribute, value: bytes, more: list[tuple[int, bytes]]) -> None:
    try:
        parsed = message((kind, value), *more)
    except StunError:
        return
    for address in (Attribute.XOR_PEER_ADDRESS, Attribute.XOR_RELAYED_ADDRESS):
        xor_addresses(parsed, address)
    lifetime_of(parsed)
    unknown_attributes(parsed)
    alternate_server(parsed, "192.0.2.1")
    icmp = parsed.get(Attribute.ICMP)
    assert icmp is None or encode_icmp(decode_icmp(icmp))[2:] == icmp[2:]
