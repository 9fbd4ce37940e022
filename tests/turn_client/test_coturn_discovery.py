"""NAT discovery against a real coturn with two addresses, over real sockets."""

from __future__ import annotations

import math
import socket

import pytest

from salam.errors import ConfigError
from tests.support.coturn import StartCoturn
from turn_client.discovery import Behaviour, NatReport
from turn_client.errors import TransportFailed
from turn_client.nat import discover_binding_lifetime, discover_nat
from turn_client.resolution import ResolutionFailed


async def test_a_server_with_two_addresses_tells_everything(coturn: StartCoturn) -> None:
    server = await coturn(behaviour_discovery=True)
    report = await discover_nat(f"stun:127.0.0.1:{server.port}", patience_s=30.0)
    assert (report.mapping, report.filtering) == (Behaviour.ENDPOINT_INDEPENDENT, Behaviour.ENDPOINT_INDEPENDENT)
    assert (report.behind_nat, report.complete_server, report.nat_name) == (False, True, "open")
    assert report.mapped is not None
    assert report.mapped[0] == "127.0.0.1"
    assert report.rtt_s is not None


async def test_without_a_nat_a_mapping_outlives_every_silence(coturn: StartCoturn) -> None:
    server = await coturn(behaviour_discovery=True)
    report = await discover_binding_lifetime(f"stun:127.0.0.1:{server.port}", longest_s=0.5, patience_s=30.0)
    assert (report.outlived_s, report.forgotten_s) == (0.5, math.inf)


async def test_our_own_address_can_be_chosen(coturn: StartCoturn) -> None:
    server = await coturn()
    report = await discover_nat(server.uri(), local_host="127.0.0.3", patience_s=30.0)
    assert report.mapped is not None
    assert (report.mapped[0], report.behind_nat) == ("127.0.0.3", False)


async def test_a_server_with_one_address_tells_the_mapped_address(coturn: StartCoturn) -> None:
    server = await coturn(ipv6=True)
    for uri in (f"stun:127.0.0.1:{server.port}", f"stun:[::1]:{server.port}"):
        report = await discover_nat(uri, patience_s=30.0)
        assert (report.reachable, report.behind_nat, report.complete_server) == (True, False, False)
        assert (report.mapping, report.filtering) == (Behaviour.UNKNOWN, Behaviour.UNKNOWN)


async def test_nobody_there() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        report = await discover_nat(f"stun:127.0.0.1:{silent.getsockname()[1]}", patience_s=0.3)
    assert report == NatReport(reachable=False)


async def test_what_cannot_be_asked() -> None:
    with pytest.raises(ConfigError):
        await discover_nat("stun.example.org")
    with pytest.raises(ResolutionFailed):
        await discover_nat("turns:127.0.0.1")
    with pytest.raises(TransportFailed):
        await discover_nat("stun:127.0.0.1", local_host="192.0.2.1")
