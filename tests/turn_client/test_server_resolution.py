"""From a URI to endpoints: the algorithm of RFC 5928 over zones made here, and bounds for zones made by somebody hostile."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turn_client.resolution import (
    DnsRecord,
    NaptrRecord,
    Query,
    RecordType,
    Resolution,
    ResolutionFailed,
    ServerEndpoint,
    ServerTransport,
    SrvRecord,
    order_srv,
)
from turn_client.uri import parse_server_uri

UDP, TCP, TLS = ServerTransport
NAPTR, SRV, A, AAAA = RecordType
Zone = Mapping[tuple[RecordType, str], Sequence[DnsRecord]]


def run(uri: str, zone: Zone, **options: object) -> tuple[list[tuple[str, int, str]], list[set[Query]]]:
    """Resolve over ``zone``; returns the endpoints and which lookups were made side by side."""
    resolution = Resolution(parse_server_uri(uri), random=lambda: 0.5, **options)  # type: ignore[arg-type]
    rounds = []
    while queries := resolution.queries:
        rounds.append(set(queries))
        for query in queries:
            resolution.answer(query, zone.get((query.kind, query.name), ()))
    return [(*found.address, found.transport.value) for found in resolution.endpoints], rounds


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("turn:192.0.2.1", [("192.0.2.1", 3478, "udp"), ("192.0.2.1", 3478, "tcp")]),
        ("turn:192.0.2.1:80?transport=tcp", [("192.0.2.1", 80, "tcp")]),
        ("turns:[2001:db8::1]", [("2001:db8::1", 5349, "tls")]),
        ("turns:[2001:db8::1]:443?transport=tcp", [("2001:db8::1", 443, "tls")]),
        ("stun:192.0.2.1", [("192.0.2.1", 3478, "udp")]),
        ("stuns:192.0.2.1", [("192.0.2.1", 5349, "tls")]),
    ],
)
def test_an_address_needs_no_dns(uri: str, expected: list[tuple[str, int, str]]) -> None:
    assert run(uri, {}) == (expected, [])


@pytest.mark.parametrize("uri", ["turn:relay.example:8000", "turn:localhost", "turn:a.localhost"])
def test_a_port_or_localhost_means_addresses_alone(uri: str) -> None:
    host = parse_server_uri(uri).host
    port = parse_server_uri(uri).port or 3478
    found, rounds = run(uri, {(A, host): ["192.0.2.1"], (AAAA, host): ["2001:db8::1"]})
    assert found == [(ip, port, kind) for kind in ("udp", "tcp") for ip in ("2001:db8::1", "192.0.2.1")]
    assert rounds == [{Query(A, host), Query(AAAA, host)}]


def test_everything_that_may_be_needed_is_asked_at_once() -> None:
    _, rounds = run("turn:relay.example", {(A, "relay.example"): ["192.0.2.1"]})
    names = {(NAPTR, "relay.example"), (SRV, "_turn._udp.relay.example"), (SRV, "_turn._tcp.relay.example")}
    assert rounds == [{Query(*name) for name in names | {(A, "relay.example"), (AAAA, "relay.example")}}]


def test_a_transport_asks_for_its_own_srv_alone() -> None:
    zone: Zone = {(SRV, "_turns._tcp.relay.example"): [SrvRecord(0, 0, 443, "a.example")], (A, "a.example"): ["192.0.2.9"]}
    found, rounds = run("turns:relay.example?transport=tcp", zone)
    assert found == [("192.0.2.9", 443, "tls")]
    assert {query.kind for query in rounds[0]} == {SRV, A, AAAA}


def test_the_certificate_is_that_of_the_uri_whatever_dns_says() -> None:
    resolution = Resolution(parse_server_uri("turns:relay.example"), random=lambda: 0.0)
    zone: Zone = {(SRV, "_turns._tcp.relay.example"): [SrvRecord(0, 0, 443, "evil.example")], (A, "evil.example"): ["192.0.2.9"]}
    while resolution.queries:
        for query in resolution.queries:
            resolution.answer(query, zone.get((query.kind, query.name), ()))
    assert resolution.endpoints == (ServerEndpoint(("192.0.2.9", 443), TLS, "relay.example"),)


# The zone of RFC 5928 section 4, reduced to the transports of this client.
EXAMPLE: Zone = {
    (NAPTR, "example.net"): [
        NaptrRecord(100, 10, "", "RELAY:turn.udp", "", "datagram.example.net"),
        NaptrRecord(200, 10, "", "RELAY:turn.tcp:turn.tls", "", "stream.example.net"),
    ],
    (NAPTR, "datagram.example.net"): [NaptrRecord(100, 10, "s", "RELAY:turn.udp", "", "_udp.example.net")],
    (NAPTR, "stream.example.net"): [
        NaptrRecord(200, 10, "a", "RELAY:turn.tls", "", "a.example.net"),
        NaptrRecord(100, 10, "s", "RELAY:turn.tcp", "", "_tcp.example.net"),
    ],
    (SRV, "_udp.example.net"): [SrvRecord(0, 0, 3478, "a.example.net")],
    (SRV, "_tcp.example.net"): [SrvRecord(0, 0, 5000, "a.example.net")],
    (A, "a.example.net"): ["192.0.2.1"],
}


def test_the_example_of_the_rfc() -> None:
    assert run("turn:example.net", EXAMPLE)[0] == [("192.0.2.1", 3478, "udp"), ("192.0.2.1", 5000, "tcp")]
    assert run("turns:example.net", EXAMPLE)[0] == [("192.0.2.1", 5349, "tls")]


def test_naptr_orders_the_transports() -> None:
    zone: Zone = {
        (NAPTR, "relay.example"): [
            NaptrRecord(20, 1, "S", "relay:turn.udp", "", "u.example"),
            NaptrRecord(10, 9, "s", "RELAY:turn.tcp", "", "t.example"),
            NaptrRecord(10, 1, "s", "SIP+D2U", "", "sip.example"),
            NaptrRecord(10, 2, "u", "RELAY:turn.udp", "!.*!x!", ""),
        ],
        (SRV, "u.example"): [SrvRecord(0, 0, 1, "a.example")],
        (SRV, "t.example"): [SrvRecord(0, 0, 2, "a.example")],
        (A, "a.example"): ["192.0.2.1"],
    }
    assert run("turn:relay.example", zone)[0] == [("192.0.2.1", 2, "tcp"), ("192.0.2.1", 1, "udp")]


def test_srv_of_one_transport_says_that_there_is_no_other() -> None:
    zone: Zone = {
        (SRV, "_turn._tcp.relay.example"): [SrvRecord(5, 0, 2, "b.example"), SrvRecord(1, 0, 1, "a.example")],
        (A, "a.example"): ["192.0.2.1"],
        (A, "b.example"): ["192.0.2.2"],
        (A, "relay.example"): ["192.0.2.3"],
    }
    assert run("turn:relay.example", zone)[0] == [("192.0.2.1", 1, "tcp"), ("192.0.2.2", 2, "tcp")]


def test_a_service_that_is_decidedly_not_there() -> None:
    zone: Zone = {(SRV, "_turn._udp.relay.example"): [SrvRecord(0, 0, 0, "")], (A, "relay.example"): ["192.0.2.3"]}
    with pytest.raises(ResolutionFailed) as caught:
        run("turn:relay.example?transport=udp", zone)
    assert not caught.value.retryable


def test_stun_has_no_naptr() -> None:
    zone: Zone = {(SRV, "_stun._udp.relay.example"): [SrvRecord(0, 0, 19302, "a.example")], (A, "a.example"): ["192.0.2.1"]}
    found, rounds = run("stun:relay.example", zone)
    assert found == [("192.0.2.1", 19302, "udp")]
    assert NAPTR not in {query.kind for query in rounds[0]}


def test_one_family_alone() -> None:
    zone: Zone = {(A, "relay.example"): ["192.0.2.1"], (AAAA, "relay.example"): ["2001:db8::1"]}
    found, rounds = run("turn:relay.example:1", zone, ipv6=False, transports=[TCP])
    assert found == [("192.0.2.1", 1, "tcp")]
    assert rounds == [{Query(A, "relay.example")}]


@pytest.mark.parametrize(("uri", "transports"), [("turns:relay.example?transport=udp", [UDP, TCP, TLS]), ("turn:a.example", [TLS])])
def test_a_transport_that_nobody_can_speak(uri: str, transports: list[ServerTransport]) -> None:
    with pytest.raises(ResolutionFailed) as caught:
        run(uri, {}, transports=transports)
    assert (caught.value.code, caught.value.retryable) == ("turn_transport_not_supported", False)


def test_failures_are_told_from_the_answer_that_nothing_is_there() -> None:
    with pytest.raises(ResolutionFailed) as caught:
        run("turn:relay.example", {})
    assert not caught.value.retryable
    resolution = Resolution(parse_server_uri("turn:relay.example"), random=lambda: 0.0)
    with pytest.raises(RuntimeError):
        _ = resolution.endpoints
    resolution.give_up()
    with pytest.raises(ResolutionFailed) as caught:
        _ = resolution.endpoints
    assert caught.value.retryable


def test_what_is_known_is_used_when_the_rest_is_given_up() -> None:
    resolution = Resolution(parse_server_uri("turn:relay.example?transport=udp"), random=lambda: 0.0)
    resolution.answer(Query(A, "relay.example"), ["192.0.2.1"])
    resolution.answer(Query(A, "never.asked"), ["192.0.2.2"])
    resolution.give_up()
    assert [found.address for found in resolution.endpoints] == [("192.0.2.1", 3478)]


def test_answers_of_the_wrong_kind_are_left_out() -> None:
    resolution = Resolution(parse_server_uri("turn:relay.example:1?transport=udp"), random=lambda: 0.0)
    resolution.answer(Query(A, "relay.example"), ["2001:db8::1", "nonsense", SrvRecord(0, 0, 1, "x"), "192.0.2.1"])
    resolution.answer(Query(AAAA, "relay.example"), ["192.0.2.2"])
    assert [found.address for found in resolution.endpoints] == [("192.0.2.1", 1)]


def test_weights_decide_how_often_a_target_is_first() -> None:
    lot = random.Random(7)
    records = [SrvRecord(0, 3, 1, "heavy"), SrvRecord(0, 1, 1, "light"), SrvRecord(0, 0, 1, "never"), SrvRecord(1, 9, 1, "spare")]
    orders = [[record.target for record in order_srv(records, lot.random)] for _ in range(4000)]
    first = Counter(order[0] for order in orders)
    assert all(order[3] == "spare" and len(set(order)) == 4 for order in orders)
    assert 2800 < first["heavy"] < 3200
    assert 800 < first["light"] < 1200
    assert first["never"] < 40


names = st.sampled_from(["relay.example", "a.example", "b.example", "c.example", ""])
records = st.one_of(
    st.builds(SrvRecord, st.integers(0, 3), st.integers(0, 3), st.integers(0, 65536), names),
    st.builds(
        NaptrRecord,
        st.integers(0, 3),
        st.integers(0, 3),
        st.sampled_from(["", "s", "a", "u", "S"]),
        st.sampled_from(["RELAY:turn.udp", "RELAY:turn.tcp:turn.tls:turn.udp", "RELAY", "x:turn.udp"]),
        st.sampled_from(["", "!x!"]),
        names,
    ),
    st.sampled_from(["192.0.2.1", "2001:db8::1", "x"]),
)


@settings(deadline=None)
@given(st.data(), st.sampled_from(["turn:relay.example", "turns:relay.example", "stun:relay.example"]))
def test_any_zone_ends_in_a_bounded_number_of_lookups(data: st.DataObject, uri: str) -> None:
    resolution = Resolution(parse_server_uri(uri), random=random.Random(1).random)
    asked: set[Query] = set()
    while resolution.queries:
        query = data.draw(st.sampled_from(resolution.queries))
        assert query not in asked
        asked.add(query)
        assert len(asked) <= 48
        if data.draw(st.booleans()):
            resolution.answer(query, data.draw(st.lists(records, max_size=20)))
        else:
            resolution.fail(query)
    try:
        endpoints = resolution.endpoints
    except ResolutionFailed:
        return
    assert 0 < len(endpoints) <= 64
    assert len(set(endpoints)) == len(endpoints)
    assert {found.server_name for found in endpoints} == {"relay.example"}


def test_a_zone_that_multiplies_is_cut_short() -> None:
    resolution = Resolution(parse_server_uri("turn:n0.example"), random=lambda: 0.0)
    asked = 0
    while resolution.queries:
        query = resolution.queries[0]
        asked += 1
        more: list[DnsRecord] = [NaptrRecord(0, 0, "", "RELAY:turn.udp", "", f"n{asked * 20 + at}.example") for at in range(20)]
        resolution.answer(query, more if query.kind is NAPTR else ())
    assert asked == 48
