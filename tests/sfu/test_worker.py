"""The worker's sockets: taken ports, strangers, broken TCP peers, a clean end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from salam import ClosedError, ConfigError, ConflictError, Metrics, ResourceError
from sfu import Transport, Worker
from sfu.tcp_framing import FrameDecoder, encode_frame
from turn_client import Attribute, MessageClass, Method, build_message, parse_message

Eventually = Callable[..., Awaitable[Any]]


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker(port=0)
    await worker.start()
    yield worker
    await worker.close()


def check_for(transport: Transport) -> bytes:
    local = transport.local("passive")
    return build_message(
        Method.BINDING,
        MessageClass.REQUEST,
        b"transaction!",
        [(Attribute.USERNAME, f"{local.ufrag}:peer".encode()), (Attribute.USE_CANDIDATE, b"")],
        integrity_key=local.password.encode(),
        fingerprint=True,
    )


async def test_a_taken_port_is_named(worker: Worker) -> None:
    second = Worker(port=worker.port)
    with pytest.raises(ResourceError, match=str(worker.port)) as caught:
        await second.start()
    assert caught.value.code == "port_unavailable"
    await second.close()


async def test_a_taken_tcp_port_is_named_and_the_udp_socket_is_given_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ResourceError, match="tcp"):
            await Worker(port=port).start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free_again:
            free_again.bind(("127.0.0.1", port))


async def test_bad_settings() -> None:
    with pytest.raises(ConfigError):
        Worker(port=70_000)
    with pytest.raises(ResourceError):
        await Worker("192.0.2.1", 0).start()


async def test_a_check_over_udp_is_answered(worker: Worker) -> None:
    transport = worker.create_router("room").create_transport()
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.setblocking(False)
        await loop.sock_connect(peer, ("127.0.0.1", worker.port))
        await loop.sock_sendall(peer, check_for(transport))
        answer = parse_message(await asyncio.wait_for(loop.sock_recv(peer, 2048), 20))
        assert answer.mapped_address == peer.getsockname()


async def test_garbage_over_udp_is_counted(eventually: Eventually) -> None:
    metrics = Metrics()
    worker = Worker(port=0, metrics=metrics)
    await worker.start()
    transport = worker.create_router("room").create_transport()
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.setblocking(False)
        await loop.sock_connect(peer, ("127.0.0.1", worker.port))
        for data in (b"", b"\x00", b"\x16" * 50, b"\x80" * 50, bytes(3000), b"\x00\x01" + bytes(30)):
            peer.send(data)
        await eventually(lambda: metrics.dropped("media_udp") >= 5, what="garbage is counted")
        await loop.sock_sendall(peer, check_for(transport))
        assert parse_message(await asyncio.wait_for(loop.sock_recv(peer, 2048), 20)).message_class is MessageClass.SUCCESS
    await worker.close()


async def test_a_check_over_tcp_is_answered_and_the_end_is_noticed(worker: Worker, eventually: Eventually) -> None:
    transport = worker.create_router("room").create_transport()
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
    frame = encode_frame(check_for(transport))
    for byte in frame:
        writer.write(bytes([byte]))
        await writer.drain()
    decoder = FrameDecoder()
    packets: list[bytes] = []
    while not packets:
        packets += decoder.feed(await asyncio.wait_for(reader.read(100), 20))
    assert parse_message(packets[0]).mapped_address == writer.get_extra_info("sockname")
    assert transport.stats().tcp
    assert worker.stats().tcp_connections == 1
    writer.close()
    await writer.wait_closed()
    await eventually(lambda: worker.stats().tcp_connections == 0, what="the connection is forgotten")
    assert not transport.stats().tcp


async def test_another_protocol_over_tcp_is_cut_off(worker: Worker) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
    try:
        answer = await asyncio.wait_for(reader.read(), 20)
    except ConnectionError:
        answer = b""
    assert answer == b""
    assert worker.metrics.dropped("media_tcp", "bad_framing") == 1
    writer.close()


async def test_drops_count_for_the_port_they_came_to(worker: Worker, eventually: Eventually) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", worker.port)
    # Media from a stranger, DTLS from a stranger, and a broken check.
    for packet in (b"\x80" * 50, b"\x16" * 50, b"\x00\x01" + bytes(30)):
        writer.write(encode_frame(packet))
    dropped = worker.metrics.dropped
    await eventually(lambda: dropped("media_tcp") == 3, what="all three are counted")
    assert [dropped("media_tcp", reason) for reason in ("unknown_path", "dtls_unknown_path", "stun_malformed")] == [1, 1, 1]
    assert dropped("media_udp") == 0
    writer.close()


async def test_a_stranger_over_tcp_is_cut_off_however_much_it_says(eventually: Eventually, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfu.worker._TCP_STRANGER_S", 0.2)
    monkeypatch.setattr("sfu.worker._HOUSEKEEPING_S", 0.01)
    worker = Worker(port=0)
    await worker.start()
    _, writer = await asyncio.open_connection("127.0.0.1", worker.port)

    def noticed() -> bool:
        # Empty frames are legal and say nothing.
        writer.write(encode_frame(b""))
        return worker.metrics.dropped("media_tcp", "idle") == 1

    await eventually(noticed, what="the stranger is noticed")
    writer.close()
    await eventually(lambda: worker.stats().tcp_connections == 0, what="the connection is forgotten")
    await worker.close()


async def test_strangers_over_tcp_make_way(monkeypatch: pytest.MonkeyPatch, worker: Worker, eventually: Eventually) -> None:
    monkeypatch.setattr("sfu.worker._MAX_TCP_CONNECTIONS", 2)
    transport = worker.create_router("room").create_transport()

    async def connect() -> asyncio.StreamWriter:
        return (await asyncio.open_connection("127.0.0.1", worker.port))[1]

    peer = await connect()
    peer.write(encode_frame(check_for(transport)))
    await eventually(lambda: transport.stats().tcp, what="the peer is known")
    strangers = [await connect() for _ in range(3)]
    await eventually(lambda: worker.metrics.dropped("media_tcp", "too_many_connections") == 2, what="two strangers made way")
    assert worker.stats().tcp_connections == 2
    assert transport.stats().tcp
    for writer in (peer, *strangers):
        writer.close()


async def test_too_many_peers_over_tcp(monkeypatch: pytest.MonkeyPatch, worker: Worker, eventually: Eventually) -> None:
    monkeypatch.setattr("sfu.worker._MAX_TCP_CONNECTIONS", 1)
    transport = worker.create_router("room").create_transport()
    _, peer = await asyncio.open_connection("127.0.0.1", worker.port)
    peer.write(encode_frame(check_for(transport)))
    await eventually(lambda: transport.stats().tcp, what="the peer is known")
    _, late = await asyncio.open_connection("127.0.0.1", worker.port)
    await eventually(lambda: worker.metrics.dropped("media_tcp", "too_many_connections") == 1, what="the next one is refused")
    assert worker.stats().tcp_connections == 1
    assert transport.stats().tcp
    for writer in (peer, late):
        writer.close()


async def test_candidates_follow_the_settings() -> None:
    worker = Worker("127.0.0.1", 0, announced_addresses=("203.0.113.1",), announced_port=41_000)
    await worker.start()
    local = worker.create_router("room").create_transport().local("passive")
    assert [(one.protocol, one.address, one.port) for one in local.candidates] == [
        ("udp", "203.0.113.1", 41_000),
        ("tcp", "203.0.113.1", 41_000),
    ]
    await worker.close()


async def test_every_address_is_a_candidate_when_listening_on_all() -> None:
    worker = Worker("0.0.0.0", 0, include_loopback=True)
    await worker.start()
    local = worker.create_router("room").create_transport().local("passive")
    addresses = {one.address for one in local.candidates}
    assert "127.0.0.1" in addresses
    assert "0.0.0.0" not in addresses
    assert not any(":" in address for address in addresses)
    await worker.close()


async def test_names_are_unique_and_closing_is_final(worker: Worker) -> None:
    router = worker.create_router("room")
    transport = router.create_transport()
    with pytest.raises(ConflictError):
        worker.create_router("room")
    assert worker.stats().transports == 1
    await worker.close()
    await worker.close()
    assert (router.close_reason, transport.close_reason) == ("worker_closed", "router_closed")
    with pytest.raises(ClosedError):
        worker.create_router("other")
    with pytest.raises(ClosedError):
        await worker.start()


async def test_the_port_is_free_after_closing() -> None:
    worker = Worker(port=0)
    await worker.start()
    port = worker.port
    await worker.close()
    again = Worker(port=port)
    await again.start()
    await again.close()


async def test_many_workers_leave_no_descriptors_behind() -> None:
    async def cycle() -> None:
        worker = Worker(port=0)
        await worker.start()
        _, writer = await asyncio.open_connection("127.0.0.1", worker.port)
        worker.create_router("room").create_transport()
        await worker.close()
        writer.close()
        await asyncio.sleep(0)

    await cycle()
    first = socket.socket()
    lowest = first.fileno()
    first.close()
    for _ in range(20):
        await cycle()
    await asyncio.sleep(0)
    last = socket.socket()
    assert last.fileno() <= lowest + 4
    last.close()
