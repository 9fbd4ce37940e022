"""NAT discovery against a model server behind simulated NATs of each kind; loss, servers that cannot help, and garbage."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.nat_model import AD, APD, EI, Nat, Network, StunServer
from turn_client.attributes import encode_address
from turn_client.discovery import Behaviour, Discovery, LocalSocket, NatReport
from turn_client.errors import Address
from turn_client.stun import Attribute, MessageClass, Method, build_message, encode_xor_address

SERVER = StunServer().first
LOCAL: tuple[Address, Address] = (("10.0.0.2", 5000), ("10.0.0.2", 5001))


def discover(network: Network, *, seed: int = 1, **options: float) -> tuple[NatReport, Discovery, float]:
    """Run a discovery through ``network``; returns what it found and how long that took."""
    machine = Discovery(SERVER, LOCAL, random=random.Random(seed).randbytes, **options)
    began = network.now

    def flush() -> None:
        for outgoing in machine.take_outgoing():
            network.send(LOCAL[outgoing.local_socket], outgoing.destination, outgoing.data)

    def deliver(inside: Address, source: Address, data: bytes) -> None:
        machine.receive(LocalSocket(LOCAL.index(inside)), source, data, network.now)
        flush()

    machine.start(network.now)
    flush()
    while not machine.done:
        assert machine.deadline < math.inf
        assert machine.deadline >= network.now
        arrival = network.next_s
        if arrival is not None and arrival <= machine.deadline:
            network.run_until(arrival, deliver)
        else:
            network.run_until(machine.deadline, deliver)
            machine.tick(network.now)
            flush()
    assert machine.deadline == math.inf
    return machine.report, machine, network.now - began


@pytest.mark.parametrize(("mapping", "filtering", "hairpins"), list(itertools.product((EI, AD, APD), (EI, AD, APD), (False, True))))
def test_each_kind_of_nat(mapping: Behaviour, filtering: Behaviour, hairpins: bool) -> None:
    report, machine, took_s = discover(Network(StunServer(), Nat(mapping, filtering, hairpins=hairpins)))
    assert (report.mapping, report.filtering) == (mapping, filtering)
    assert (report.reachable, report.behind_nat, report.complete_server, report.port_preserved) == (True, True, True, False)
    assert report.mapped is not None
    assert report.mapped[0] == "203.0.113.7"
    assert report.rtt_s == pytest.approx(0.04)
    # The outer address that the server told us is good for others only where mappings do not depend on who is talked to.
    assert report.hairpinning is (hairpins and (mapping is EI or filtering is EI))
    assert took_s <= 0.04 + 0.04 + 7.5 + 1e-9
    # The answers that were needed no more when they came: of a filtering test, and of the other hairpin.
    assert machine.dropped <= 2


@pytest.mark.parametrize(
    ("nat", "name"),
    [
        (Nat(EI, EI), "full-cone"),
        (Nat(EI, AD), "restricted-cone"),
        (Nat(EI, APD), "port-restricted-cone"),
        (Nat(AD, APD), "symmetric"),
        (Nat(APD, APD), "symmetric"),
        (Nat(APD, APD, blocks_udp=True), "blocked"),
        (None, "open"),
    ],
)
def test_the_names_that_people_know(nat: Nat | None, name: str) -> None:
    assert discover(Network(StunServer(), nat))[0].nat_name == name


def test_without_silence_it_takes_three_round_trips() -> None:
    assert discover(Network(StunServer(), Nat(EI, EI, hairpins=True)))[2] == pytest.approx(0.04 + 0.04 + 0.02)
    assert discover(Network(StunServer()))[2] == pytest.approx(0.08)


def test_no_nat_and_a_firewall() -> None:
    report, _, _ = discover(Network(StunServer(), firewall=APD))
    assert (report.behind_nat, report.mapped, report.mapping, report.filtering) == (False, LOCAL[0], EI, APD)
    assert (report.hairpinning, report.port_preserved, report.nat_name) == (None, True, "firewall")


def test_a_nat_that_keeps_ports() -> None:
    assert discover(Network(StunServer(), Nat(EI, APD, preserves_port=True)))[0].port_preserved is True


def test_blocked_udp_is_found_out_in_bounded_time() -> None:
    report, _, took_s = discover(Network(StunServer(), Nat(EI, EI, blocks_udp=True)))
    assert report == NatReport(reachable=False)
    assert took_s == pytest.approx(7.5)


def test_how_long_silence_is_waited_for_is_the_callers_choice() -> None:
    assert discover(Network(StunServer(), Nat(EI, APD)), patience_s=1.0)[2] == pytest.approx(0.04 + 0.04 + 1.0, abs=0.05)


@pytest.mark.parametrize("seed", range(12))
def test_loss_does_not_change_the_result(seed: int) -> None:
    network = Network(StunServer(), Nat(EI, AD, hairpins=True), loss=0.2, seed=seed)
    report, _, _ = discover(network, patience_s=39.5)
    assert (report.mapping, report.filtering, report.hairpinning) == (EI, AD, True)


def test_the_socket_whose_filter_is_judged_sends_to_one_address_of_the_server_alone() -> None:
    network = Network(StunServer(), Nat(EI, APD))
    discover(network)
    remotes = {remote for inside, remote in network.sent if inside == LOCAL[0] and remote[0] != "203.0.113.7"}
    assert remotes == {SERVER}


@pytest.mark.parametrize("mapping", [EI, APD])
def test_a_server_with_one_address_tells_the_mapped_address_and_no_more(mapping: Behaviour) -> None:
    report, _, _ = discover(Network(StunServer(knows_rfc5780=False), Nat(mapping, APD)))
    assert (report.reachable, report.complete_server, report.behind_nat) == (True, False, True)
    assert (report.mapping, report.filtering, report.nat_name) == (Behaviour.UNKNOWN, Behaviour.UNKNOWN, "unknown")


@pytest.mark.parametrize(
    "second",
    [
        ("198.51.100.1", 3479),
        ("198.51.100.2", 3478),
        ("0.0.0.0", 3479),
        ("224.0.0.1", 3479),
        ("2001:db8::1", 3479),
        ("198.51.100.2", 0),
    ],
)
def test_a_second_address_that_is_none_is_not_asked(second: Address) -> None:
    network = Network(StunServer(second=second), Nat(EI, EI))
    report, _, _ = discover(network)
    assert not report.complete_server
    assert {remote for _, remote in network.sent} <= {SERVER, report.mapped, ("203.0.113.7", 20_001)}


@pytest.mark.parametrize("server", [StunServer(honours_change=False), StunServer(refuses_change=True)])
def test_a_server_that_cannot_answer_from_elsewhere_leaves_filtering_open(server: StunServer) -> None:
    report, _, _ = discover(Network(server, Nat(EI, APD)))
    assert (report.mapping, report.filtering) == (EI, Behaviour.UNKNOWN)


def test_a_server_that_refuses_is_reachable() -> None:
    report, _, _ = discover(Network(StunServer(refuses_all=True), Nat(EI, APD)))
    assert report == NatReport(reachable=True)
    assert report.nat_name == "unknown"


def test_an_old_server() -> None:
    report, _, _ = discover(Network(StunServer(old=True), Nat(EI, APD)))
    assert (report.mapping, report.filtering) == (EI, APD)


def test_an_unreachable_second_address_is_not_taken_for_a_mapping() -> None:
    report, _, _ = discover(Network(StunServer(), Nat(EI, EI), unreachable=("198.51.100.2",)))
    assert report.mapping is Behaviour.UNKNOWN


def started() -> tuple[Discovery, bytes]:
    machine = Discovery(SERVER, LOCAL, random=random.Random(1).randbytes)
    machine.start(0.0)
    (outgoing,) = machine.take_outgoing()
    return machine, outgoing.data[8:20]


def success(transaction_id: bytes, **attributes: bytes) -> bytes:
    given = [(Attribute[name], value) for name, value in attributes.items()]
    return build_message(Method.BINDING, MessageClass.SUCCESS, transaction_id, given)


@pytest.mark.parametrize(
    ("local_socket", "source", "make"),
    [
        (0, SERVER, lambda _: b"garbage"),
        (0, SERVER, lambda _: success(bytes(12))),
        (0, ("192.0.2.66", 3478), success),
        (1, SERVER, success),
        (0, SERVER, lambda tid: build_message(Method.ALLOCATE, MessageClass.SUCCESS, tid)),
        (0, SERVER, lambda tid: build_message(Method.BINDING, MessageClass.INDICATION, tid)),
        (1, SERVER, lambda tid: build_message(Method.BINDING, MessageClass.REQUEST, tid)),
    ],
)
def test_what_is_no_answer_is_counted(local_socket: int, source: Address, make: Callable[[bytes], bytes]) -> None:
    machine, transaction_id = started()
    machine.receive(LocalSocket(local_socket), source, make(transaction_id), 0.1)
    assert machine.dropped == 1
    assert not machine.done


def test_an_answer_without_an_address_is_a_refusal() -> None:
    machine, transaction_id = started()
    machine.receive(LocalSocket.FIRST, SERVER, success(transaction_id), 0.1)
    assert machine.done
    assert machine.report == NatReport(reachable=True)


def test_a_strangers_answer_does_not_end_a_test() -> None:
    machine, transaction_id = started()
    value = encode_xor_address("192.0.2.1", 1, transaction_id)
    machine.receive(LocalSocket.FIRST, ("192.0.2.66", 1), success(transaction_id, XOR_MAPPED_ADDRESS=value), 0.1)
    assert not machine.done
    machine.receive(LocalSocket.FIRST, SERVER, success(transaction_id, XOR_MAPPED_ADDRESS=value), 0.1)
    assert machine.report.mapped == ("192.0.2.1", 1)


addresses = st.tuples(st.sampled_from(["198.51.100.1", "198.51.100.2", "203.0.113.7", "10.0.0.2"]), st.integers(1, 65535))


@settings(deadline=None)
@given(st.data())
def test_any_answers_in_any_order_end_the_run(data: st.DataObject) -> None:
    machine = Discovery(SERVER, LOCAL, random=random.Random(1).randbytes)
    now = 0.0
    machine.start(now)
    sent = machine.take_outgoing()
    for _ in range(40):
        if machine.done:
            break
        if data.draw(st.booleans()):
            now = max(now, machine.deadline)
            machine.tick(now)
        else:
            outgoing = data.draw(st.sampled_from(sent))
            transaction_id = outgoing.data[8:20]
            attributes = []
            if data.draw(st.booleans()):
                value = encode_xor_address(*data.draw(addresses), transaction_id)
                attributes.append((Attribute.XOR_MAPPED_ADDRESS, value))
            if data.draw(st.booleans()):
                attributes.append((Attribute.OTHER_ADDRESS, encode_address(data.draw(addresses))))
            kind = data.draw(st.sampled_from([MessageClass.SUCCESS, MessageClass.REQUEST, MessageClass.INDICATION]))
            source = data.draw(st.one_of(st.just(outgoing.destination), addresses))
            answer = build_message(Method.BINDING, kind, transaction_id, attributes)
            machine.receive(LocalSocket(data.draw(st.integers(0, 1))), source, answer, now)
        sent += machine.take_outgoing()
        # Eight tests, each sent seven times at most.
        assert len(sent) <= 56
        _ = machine.report.nat_name
    while not machine.done:
        assert machine.deadline >= now
        now = machine.deadline
        machine.tick(now)
    assert machine.report.nat_name
