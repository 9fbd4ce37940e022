"""URIs of servers: the examples of RFC 7064 and 7065, a round trip of whatever is allowed, and refusal of the rest."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salam.errors import ConfigError
from turn_client.uri import ServerScheme, ServerUri, UriTransport, parse_server_uri

STUN, STUNS, TURN, TURNS = ServerScheme


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # The examples in the appendices of RFC 7064 and RFC 7065.
        ("stun:example.org", ServerUri(STUN, "example.org")),
        ("stuns:example.org", ServerUri(STUNS, "example.org")),
        ("stun:example.org:8000", ServerUri(STUN, "example.org", 8000)),
        ("turn:example.org", ServerUri(TURN, "example.org")),
        ("turns:example.org", ServerUri(TURNS, "example.org")),
        ("turn:example.org:8000", ServerUri(TURN, "example.org", 8000)),
        ("turn:example.org?transport=udp", ServerUri(TURN, "example.org", None, UriTransport.UDP)),
        ("turn:example.org?transport=tcp", ServerUri(TURN, "example.org", None, UriTransport.TCP)),
        ("turns:example.org?transport=tcp", ServerUri(TURNS, "example.org", None, UriTransport.TCP)),
        # Case, final dot, addresses.
        ("TURNS:Example.ORG.:443?transport=TCP", ServerUri(TURNS, "example.org", 443, UriTransport.TCP)),
        ("turn:192.0.2.1:3478", ServerUri(TURN, "192.0.2.1", 3478)),
        ("turn:[2001:DB8:0::1]", ServerUri(TURN, "2001:db8::1")),
        ("turn:[2001:db8::1]:1?transport=udp", ServerUri(TURN, "2001:db8::1", 1, UriTransport.UDP)),
        ("stun:localhost", ServerUri(STUN, "localhost")),
        ("stun:_relay.xn--bcher-kva.example", ServerUri(STUN, "_relay.xn--bcher-kva.example")),
        ("stun:3com.example", ServerUri(STUN, "3com.example")),
    ],
)
def test_what_is_allowed(text: str, expected: ServerUri) -> None:
    uri = parse_server_uri(text)
    assert uri == expected
    assert parse_server_uri(str(uri)) == uri


def test_what_follows_from_the_scheme() -> None:
    seen = {scheme: (uri.secure, uri.is_turn, uri.default_port) for scheme in ServerScheme for uri in [ServerUri(scheme, "a")]}
    assert seen == {
        STUN: (False, False, 3478),
        STUNS: (True, False, 5349),
        TURN: (False, True, 3478),
        TURNS: (True, True, 5349),
    }


def test_addresses_are_told_from_names() -> None:
    assert parse_server_uri("turn:[::1]").ip_address == ipaddress.IPv6Address("::1")
    assert parse_server_uri("turn:127.0.0.1").ip_address == ipaddress.IPv4Address("127.0.0.1")
    assert parse_server_uri("turn:localhost").ip_address is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "scheme"),
        ("example.org", "scheme"),
        ("http://example.org", "scheme"),
        ("turn", "no colon"),
        ("ſtun:example.org", "scheme"),
        ("turn:", "no host"),
        ("turn:.", "no host"),
        ("turn::3478", "no host"),
        ("turn://example.org", "without //"),
        ("turn:user@example.org", "no user"),
        ("turn:example.org/path", "no path"),
        ("turn:example.org:", "port"),
        ("turn:example.org:0", "port"),
        ("turn:example.org:65536", "port"),
        ("turn:example.org:+1", "port"),
        ("turn:example.org:3478#x", "port"),
        ("turn:example.org:٣", "port"),
        ("turn:2001:db8::1", "brackets"),
        ("turn:[2001:db8::1", "not closed"),
        ("turn:[2001:db8::1]3478", "only a port"),
        ("turn:[2001:db8::1]:", "port"),
        ("turn:[fe80::1%25eth0]", "zone"),
        ("turn:[192.0.2.1]", "not an IPv6 address"),
        ("turn:[v1.fe80]", "not an IPv6 address"),
        ("turn:256.0.0.1", "not an IPv4 address"),
        ("turn:127.1", "not an IPv4 address"),
        ("turn:0x7f.0x1", "not an IPv4 address"),
        ("turn:a..b", "neither"),
        ("turn:-a.example", "neither"),
        ("turn:" + "a" * 64 + ".example", "neither"),
        ("turn:" + ".".join(["a" * 60] * 5), "neither"),
        ("turn:exa mple.org", "neither"),
        ("turn:exa%20mple.org", "neither"),
        ("turn:exam\x00ple.org", "neither"),
        ("turn:example.org\n", "neither"),
        ("turn:bücher.example", "xn--"),
        ("turn:example.org?", "only transport"),
        ("turn:example.org?foo=bar", "only transport"),
        ("turn:example.org?transport=", "udp and tcp"),
        ("turn:example.org?transport=sctp", "udp and tcp"),
        ("turn:example.org?transport=udp&transport=tcp", "udp and tcp"),
        ("stun:example.org?transport=udp", "question mark"),
        ("stuns:example.org?", "question mark"),
        ("turn:" + "a" * 600, "512 characters"),
    ],
)
def test_what_is_refused_and_why(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_server_uri(text)
    assert says in caught.value.message
    assert caught.value.code == "bad_server_uri"
    assert len(caught.value.message) < 700


def test_a_password_that_does_not_belong_there_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="no user") as caught:
        parse_server_uri("turn:alice:hunter2@example.org")
    assert "hunter2" not in caught.value.message


@settings(deadline=None)
@given(st.one_of(st.text(max_size=60), st.text("turns:[]0123456789abcdef.?=%@/-", max_size=60).map(lambda rest: f"turn:{rest}")))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        uri = parse_server_uri(text)
    except ConfigError:
        return
    assert parse_server_uri(str(uri)) == uri
