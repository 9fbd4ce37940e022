"""How long a NAT keeps a mapping: bracketed in simulated time, whatever it filters, and unknown where the server cannot help."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.nat_model import AD, APD, EI, Nat, Network, StunServer
from turn_client.binding_lifetime import BindingLifetime, LifetimeReport
from turn_client.discovery import Behaviour, LocalSocket
from turn_client.errors import Address
from turn_client.stun import MessageClass, Method, build_message

SERVER = StunServer().first
LOCAL: tuple[Address, Address] = (("10.0.0.2", 5000), ("10.0.0.2", 5001))


def measure(network: Network, **options: float) -> tuple[LifetimeReport, float]:
    machine = BindingLifetime(SERVER, random=random.Random(1).randbytes, **options)
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
        arrival = network.next_s
        network.run_until(min(machine.deadline, math.inf if arrival is None else arrival), deliver)
        machine.tick(network.now)
        flush()
    assert machine.deadline == math.inf
    return machine.report, network.now - began


@settings(deadline=None)
@given(st.floats(6.0, 595.0), st.sampled_from([EI, AD, APD]))
def test_the_truth_is_between_the_bounds(lifetime_s: float, filtering: Behaviour) -> None:
    report, took_s = measure(Network(StunServer(), Nat(EI, filtering, lifetime_s=lifetime_s)))
    # The silence is measured at our end: a packet that is under way has been silent for longer by its delay.
    assert report.outlived_s <= lifetime_s <= report.forgotten_s + 0.1
    assert 0 < report.forgotten_s - report.outlived_s <= 5.0
    assert report.known
    assert took_s < 12 * max(lifetime_s, 30.0)


def test_a_mapping_that_stays() -> None:
    report, _ = measure(Network(StunServer(), Nat(EI, APD, lifetime_s=1e9)), longest_s=100.0)
    assert (report.outlived_s, report.forgotten_s) == (100.0, math.inf)


def test_loss_is_not_taken_for_the_end_of_a_mapping() -> None:
    network = Network(StunServer(), Nat(EI, APD, lifetime_s=60.0), loss=0.1, seed=3)
    report, _ = measure(network, patience_s=39.5)
    # A silence that was bridged by retransmissions was longer than planned, never shorter.
    assert report.outlived_s <= 60.0


@pytest.mark.parametrize(
    "network",
    [
        Network(StunServer(), Nat(EI, EI, blocks_udp=True)),
        Network(StunServer(refuses_all=True), Nat(EI, EI)),
        Network(StunServer(knows_response_port=False), Nat(EI, EI)),
    ],
)
def test_without_help_nothing_is_known(network: Network) -> None:
    report, took_s = measure(network)
    assert report == LifetimeReport()
    assert not report.known
    assert took_s <= 7.5 + 1e-9


@pytest.mark.parametrize(
    ("source", "make"),
    [
        (SERVER, lambda _: b"garbage"),
        (SERVER, lambda _: build_message(Method.BINDING, MessageClass.SUCCESS, bytes(12))),
        (("192.0.2.66", 3478), lambda tid: build_message(Method.BINDING, MessageClass.SUCCESS, tid)),
        (SERVER, lambda tid: build_message(Method.BINDING, MessageClass.INDICATION, tid)),
        (SERVER, lambda tid: build_message(Method.ALLOCATE, MessageClass.ERROR, tid)),
    ],
)
def test_what_is_no_answer_is_counted(source: Address, make: Callable[[bytes], bytes]) -> None:
    machine = BindingLifetime(SERVER, random=random.Random(1).randbytes)
    machine.start(0.0)
    (outgoing,) = machine.take_outgoing()
    machine.receive(LocalSocket.FIRST, source, make(outgoing.data[8:20]), 0.1)
    assert machine.dropped == 1
    assert not machine.done
