"""The UDP relay with real sockets: both directions, many clients, changes while running, and nothing left behind."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from bench.netem import LinkConfig
from bench.netem_proxy import UdpProxy
from salam import ResourceError

Eventually = Callable[[Callable[[], bool]], Awaitable[None]]


class _Echo:
    """Sends every datagram back; on a plain socket, because asyncio's transports swallow empty datagrams."""

    def __init__(self, opened: socket.socket) -> None:
        self.seen: dict[tuple[str, int], list[bytes]] = {}
        self._socket = opened

    def read(self) -> None:
        data, address = self._socket.recvfrom(2048)
        self.seen.setdefault(address, []).append(data)
        self._socket.sendto(data, address)


@asynccontextmanager
async def _echo_server() -> AsyncIterator[tuple[_Echo, tuple[str, int]]]:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        opened.bind(("127.0.0.1", 0))
        echo = _Echo(opened)
        loop.add_reader(opened, echo.read)
        yield echo, opened.getsockname()
        loop.remove_reader(opened)


def _client(proxy: UdpProxy) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.bind(("127.0.0.1", 0))
    opened.connect(proxy.address)
    return opened


async def _receive(client: socket.socket, count: int) -> list[bytes]:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        return [await loop.sock_recv(client, 2048) for _ in range(count)]


async def test_datagrams_go_both_ways_and_every_client_has_its_own_address() -> None:
    async with _echo_server() as (echo, target), UdpProxy(target) as proxy:
        clients = [_client(proxy) for _ in range(3)]
        for index, client in enumerate(clients):
            client.send(b"from %d" % index)
        for index, client in enumerate(clients):
            assert await _receive(client, 1) == [b"from %d" % index]
        assert len(echo.seen) == 3
        stats = proxy.stats()
        assert (stats.clients, stats.up.delivered, stats.down.delivered) == (3, 3, 3)
        for client in clients:
            client.close()


async def test_an_empty_datagram_is_relayed_like_any_other() -> None:
    async with _echo_server() as (_, target), UdpProxy(target) as proxy:
        with _client(proxy) as client:
            client.send(b"")
            client.send(b"after")
            assert await _receive(client, 2) == [b"", b"after"]


async def test_loss_is_the_relays_own_and_is_reported(eventually: Eventually) -> None:
    async with _echo_server() as (_, target), UdpProxy(target, up=LinkConfig(loss=0.3), seed=1) as proxy:
        with _client(proxy) as client:
            for number in range(300):
                client.send(number.to_bytes(2, "big"))
            await eventually(lambda: proxy.stats().up.offered == 300)
            lost = proxy.stats().up.lost
            received = await _receive(client, 300 - lost)
            assert 50 < lost < 130
            assert len(set(received)) == 300 - lost


async def test_links_can_be_changed_while_running(eventually: Eventually) -> None:
    async with _echo_server() as (_, target), UdpProxy(target, down=LinkConfig(loss=1.0)) as proxy:
        with _client(proxy) as client:
            client.send(b"gone")
            await eventually(lambda: proxy.stats().down.lost == 1)
            proxy.configure(down=LinkConfig(latency_s=0.01))
            client.send(b"arrives")
            assert await _receive(client, 1) == [b"arrives"]


async def test_a_client_beyond_the_limit_takes_the_place_of_the_quietest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.netem_proxy.runner._MAX_CLIENTS", 2)
    async with _echo_server() as (_, target), UdpProxy(target) as proxy:
        clients = [_client(proxy) for _ in range(3)]
        for client in clients:
            client.send(b"x")
            await _receive(client, 1)
        stats = proxy.stats()
        assert (stats.clients, stats.evicted_clients, stats.up.delivered) == (2, 1, 3)
        for client in clients:
            client.close()


async def test_a_dead_server_does_not_end_the_relay() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        target = unused.getsockname()
    async with UdpProxy(target) as proxy:
        with _client(proxy) as client:
            async with asyncio.timeout(10):
                while not proxy.stats().socket_errors:
                    client.send(b"anybody?")
                    await asyncio.sleep(0.001)
        assert proxy.stats().clients == 1


async def test_a_taken_port_is_a_resource_error_and_closing_frees_the_port() -> None:
    async with UdpProxy(("127.0.0.1", 9)) as proxy:
        port = proxy.port
        with pytest.raises(ResourceError, match=str(port)):
            async with UdpProxy(("127.0.0.1", 9), port=port):
                pass
    assert proxy.port == 0
    proxy.close()
    async with UdpProxy(("127.0.0.1", 9), port=port) as again:
        assert again.port == port
