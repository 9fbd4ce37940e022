"""NAT discovery against a real coturn with two addresses, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator

from tests.support.coturn import StartCoturn
from turn_client.discovery import Behaviour, Discovery, LocalSocket, NatReport
from turn_client.errors import Address


@contextlib.contextmanager
def udp_sockets(count: int) -> Iterator[list[socket.socket]]:
    """Open sockets on the loopback; they are not connected, because answers come from several addresses."""
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(count)]
        for found in opened:
            found.setblocking(False)
            found.bind(("127.0.0.1", 0))
        yield opened


async def discover(server: Address, *, patience_s: float) -> tuple[NatReport, set[Address]]:
    """Carry a discovery out; returns the report and everybody who answered."""
    loop = asyncio.get_running_loop()
    heard: set[Address] = set()
    with udp_sockets(2) as opened:
        local = (opened[0].getsockname(), opened[1].getsockname())
        machine = Discovery(server, local, random=os.urandom, patience_s=patience_s)

        def read(local_socket: LocalSocket) -> None:
            data, source = opened[local_socket].recvfrom(2048)
            heard.add(source)
            machine.receive(local_socket, source, data, loop.time())
            step.set()

        step = asyncio.Event()
        for local_socket in LocalSocket:
            loop.add_reader(opened[local_socket], read, local_socket)
        try:
            machine.start(loop.time())
            while not machine.done:
                for outgoing in machine.take_outgoing():
                    opened[outgoing.local_socket].sendto(outgoing.data, outgoing.destination)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(machine.deadline):
                        await step.wait()
                step.clear()
                machine.tick(loop.time())
        finally:
            for local_socket in LocalSocket:
                loop.remove_reader(opened[local_socket])
    return machine.report, heard


async def test_a_server_with_two_addresses_tells_everything(coturn: StartCoturn) -> None:
    server = await coturn(behaviour_discovery=True)
    report, heard = await discover(server.address, patience_s=30.0)
    assert (report.mapping, report.filtering) == (Behaviour.ENDPOINT_INDEPENDENT, Behaviour.ENDPOINT_INDEPENDENT)
    assert (report.behind_nat, report.complete_server, report.nat_name) == (False, True, "open")
    # All four combinations have spoken: the first address, the one that filtering is tried from, and two for mapping.
    assert {host for host, _ in heard} == {"127.0.0.1", "127.0.0.2"}
    assert server.address in heard
    assert len({port for _, port in heard}) == 2


async def test_a_server_with_one_address_tells_the_mapped_address(coturn: StartCoturn) -> None:
    server = await coturn()
    report, heard = await discover(server.address, patience_s=30.0)
    assert (report.reachable, report.behind_nat, report.complete_server) == (True, False, False)
    assert (report.mapping, report.filtering) == (Behaviour.UNKNOWN, Behaviour.UNKNOWN)
    assert heard == {server.address}


async def test_nobody_there() -> None:
    with udp_sockets(1) as (silent,):
        report, heard = await discover(silent.getsockname(), patience_s=0.3)
    assert report == NatReport(reachable=False)
    assert heard == set()
