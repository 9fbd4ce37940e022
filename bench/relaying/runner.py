"""The measurement: each library in turn through one real coturn, several rounds, CPU time of this process alone."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from bench.coturn import Coturn, CoturnOptions
from bench.relaying.contender import PEERS, Address, Contender, Relay, own
from bench.report import BenchReport, Figure, Rounds, figure, ratio_figures
from salam import ConfigError, ResourceError
from turn_client import MessageClass, Method, StunError
from turn_client.stun import parse_message

__all__ = ["FLOORS", "measure_relaying"]

# A video packet; a voice packet costs the same but for the copy.
_PAYLOAD_BYTES = 1_000
# What one turn of the loop sends at most: a keyframe's packets to a few peers.
_SENDS_PER_TURN = 32
_BURST = 100
# Datagrams that wait when the loop turns to them: as many as the socket of a system with its default limits holds.
_WAITING = 64
# The server needs some 10 us for each; more on a busy machine.
_THROUGH_S = 0.02
# A loop that has found nothing so often has nothing.
_IDLE_TURNS = 5
# Datagrams that make the channel, spread over the time that it takes.
_CALLS = 4
_REFRESH_AFTER_S = 1
# Enough for the answers to come on the loopback of a busy machine; a second would only make the rounds longer.
_QUIET_S = 0.3
_FRAME_BYTES = 1_204
_SMALL_READ, _LARGE_READ = 4 * 1024, 4 * 1024 * 1024
_PARSED_BYTES = 4 * 1024 * 1024

FLOORS: dict[str, dict[str, float]] = {"aioice": {"send_us": 0.25, "recv_us": 0.25}}
"""At most this share of the peer's cost."""
# How much dearer a frame may be in one read of 4 MB than in reads of 4 KB: a parser that is not linear is some fifty times dearer.
_LINEAR = 1.5
_MAX_REFRESHES = 1


class _CountingPath(asyncio.DatagramProtocol):
    """Stands between a client and its server, and counts the requests that keep a peer reachable."""

    def __init__(self, server: Address) -> None:
        self.refreshes = 0
        self._server = server
        self._client: Address | None = None
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: Address) -> None:
        if addr == self._server:
            if self._client is not None:
                self._transport.sendto(data, self._client)
            return
        self._client = addr
        try:
            message = parse_message(data)
        except StunError:
            pass
        else:
            wanted = message.method in (Method.CHANNEL_BIND, Method.CREATE_PERMISSION)
            self.refreshes += wanted and message.message_class is MessageClass.REQUEST
        self._transport.sendto(data, self._server)


@asynccontextmanager
async def _counted(server: Address) -> AsyncIterator[tuple[Address, _CountingPath]]:
    loop = asyncio.get_running_loop()
    transport, path = await loop.create_datagram_endpoint(lambda: _CountingPath(server), local_addr=("127.0.0.1", 0))
    try:
        host, port = transport.get_extra_info("sockname")
        yield (host, port), path
    finally:
        transport.close()


class _Flood:
    """The peer in its own process. It is talked to with the loop standing still, so that what it sends waits in the socket."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self.address: Address = ("127.0.0.1", port)

    def send(self, to: Address, count: int) -> None:
        """Let it send that many datagrams, and wait until they have had the time to come through the server."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{to[0]} {to[1]} {count} {_PAYLOAD_BYTES}\n")
        self._process.stdin.flush()
        self._process.stdout.readline()
        time.sleep(_THROUGH_S)


@contextmanager
def _flooding() -> Iterator[_Flood]:
    command = [sys.executable, "-m", "bench.relaying.flood.runner"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield _Flood(process, int(process.stdout.readline()))
        finally:
            process.stdin.close()


async def _reached(relay: Relay, peer: socket.socket) -> None:
    """Send until the peer has got something: then the relay's channel is bound, or on its way."""
    loop = asyncio.get_running_loop()
    waiting = asyncio.ensure_future(loop.sock_recv(peer, 2048))
    while not waiting.done():
        relay.send(b"first", peer.getsockname())
        await asyncio.wait([waiting], timeout=0.05)
    waiting.result()


async def _setup_ms(relay: Relay) -> float:
    """From the first datagram for a new peer until that peer has it."""
    with _sink() as peer:
        started = time.perf_counter()
        waiting = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(peer, 2048))
        relay.send(b"first", peer.getsockname())
        await asyncio.wait_for(waiting, 10)
        return 1e3 * (time.perf_counter() - started)


def _sink() -> socket.socket:
    """A peer that reads nothing by itself: what it cannot hold is dropped by the system, at no cost to this process."""
    peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    peer.setblocking(False)
    peer.bind(("127.0.0.1", 0))
    return peer


async def _send_us(relay: Relay, packets: int) -> float:
    payload = bytes(_PAYLOAD_BYTES)
    with _sink() as peer:
        await _reached(relay, peer)
        for _ in range(2 * _SENDS_PER_TURN):
            relay.send(payload, peer.getsockname())
        await asyncio.sleep(_QUIET_S)
        address = peer.getsockname()
        started = time.process_time()
        for done in range(0, packets, _SENDS_PER_TURN):
            for _ in range(min(_SENDS_PER_TURN, packets - done)):
                relay.send(payload, address)
            await relay.settle()
        return 1e6 * (time.process_time() - started) / packets


async def _recv_us(relay: Relay, flood: _Flood, packets: int) -> float:
    """CPU of a datagram that comes, where a loop that is busy finds some at once."""
    for _ in range(_CALLS):
        relay.send(b"hello", flood.address)
        await asyncio.sleep(_QUIET_S / _CALLS)
    before, cpu_s = relay.received, 0.0
    for _ in range(-(-packets // _WAITING)):
        flood.send(relay.address, _WAITING)
        started = time.process_time()
        await _take(relay, relay.received + _WAITING)
        cpu_s += time.process_time() - started
    received = relay.received - before
    if received < packets / 2:
        raise ResourceError(f"only {received} of {packets} datagrams came through the relay: this machine is too busy to measure")
    return 1e6 * cpu_s / received


async def _take(relay: Relay, wanted: int) -> None:
    """Let the loop turn until all have come, or until nothing comes any more: what was lost is not waited for."""
    idle = 0
    while relay.received < wanted and idle < _IDLE_TURNS:
        before = relay.received
        await asyncio.sleep(0)
        idle = 0 if relay.received > before else idle + 1


async def _refreshes(contender: Contender, server: Coturn) -> float:
    """Requests that a burst of sends in one turn of the loop leads to, while the peer is due for its refresh."""
    async with (
        _counted(server.address) as (address, path),
        contender.open(address, server.username, server.password, refresh_after_s=_REFRESH_AFTER_S) as relay,
    ):
        with _sink() as peer:
            await _reached(relay, peer)
            relay.send(b"second", peer.getsockname())
            await asyncio.sleep(_QUIET_S)
            # The loop stands still meanwhile, so that no timer has refreshed before the burst.
            time.sleep(_REFRESH_AFTER_S + 0.1)  # noqa: ASYNC251
            before = path.refreshes
            for _ in range(_BURST):
                relay.send(b"burst", peer.getsockname())
            await asyncio.sleep(_QUIET_S)
            return path.refreshes - before


def _parse_us(parser: Callable[[bytes], object], read_bytes: int) -> float:
    """CPU of one ChannelData frame out of a stream that is read in pieces of that size."""
    frame = b"\x40\x00" + (_FRAME_BYTES - 4).to_bytes(2, "big") + bytes(_FRAME_BYTES - 4)
    frames = _PARSED_BYTES // len(frame)
    stream = frame * frames
    reads = [stream[at : at + read_bytes] for at in range(0, len(stream), read_bytes)]
    started = time.process_time()
    for read in reads:
        parser(read)
    return 1e6 * (time.process_time() - started) / frames


async def _round(contender: Contender, server: Coturn, flood: _Flood, packets: int) -> dict[str, float]:
    async with contender.open(server.address, server.username, server.password) as relay:
        figures = {
            "channel_setup_ms": await _setup_ms(relay),
            "send_us": await _send_us(relay, packets),
            "recv_us": await _recv_us(relay, flood, packets),
        }
    figures["refreshes_per_burst"] = await _refreshes(contender, server)
    figures["tcp_parse_us_4k"] = _parse_us(contender.parser(), _SMALL_READ)
    figures["tcp_parse_us_4m"] = _parse_us(contender.parser(), _LARGE_READ)
    return figures


async def _rounds(contenders: list[Contender], rounds: int, packets: int) -> dict[str, list[dict[str, float]]]:
    program = shutil.which("turnserver")
    if program is None:
        raise ResourceError("coturn is not installed here; `apt-get install coturn` brings it", code="peer_missing")
    measured: dict[str, list[dict[str, float]]] = {contender.name: [] for contender in contenders}
    with tempfile.TemporaryDirectory() as folder, _flooding() as flood:
        async with Coturn(program, Path(folder), CoturnOptions()) as server:
            for number in range(rounds):
                # A/B, then B/A: what warms up or wears off meets both alike.
                for contender in contenders if number % 2 == 0 else reversed(contenders):
                    measured[contender.name].append(await _round(contender, server, flood, packets))
    return measured


def _peer(name: str) -> Contender:
    if name not in PEERS:
        raise ConfigError(f"--against names {name!r}; it may name {', '.join(PEERS)}")
    try:
        return PEERS[name]()
    except PackageNotFoundError:
        raise ResourceError(f"{name} is not installed here; pip install {name} brings it", code="peer_missing") from None


def _figures(rounds: Rounds) -> dict[str, Figure]:
    return {name: figure([taken[name] for taken in rounds], _unit(name)) for name in rounds[0]}


def _unit(name: str) -> str:
    return "ms" if name.endswith("_ms") else "us" if "_us" in name else "requests"


def _failures(metrics: dict[str, Figure], ratios: dict[str, dict[str, Figure]]) -> list[str]:
    failed = [
        f"{name} is {ratios[peer][name].value} of {peer}'s, above {limit}"
        for peer, limits in FLOORS.items()
        if peer in ratios
        for name, limit in limits.items()
        if ratios[peer][name].value > limit
    ]
    small, large = metrics["tcp_parse_us_4k"].value, metrics["tcp_parse_us_4m"].value
    if large > _LINEAR * small:
        failed.append(f"a frame out of 4 MB costs {large} us, out of 4 KB {small} us: the parser is not linear")
    if metrics["refreshes_per_burst"].value > _MAX_REFRESHES:
        failed.append(f"a burst leads to {metrics['refreshes_per_burst'].value} refreshes, above {_MAX_REFRESHES}")
    return failed


def measure_relaying(against: Iterable[str] = (), *, rounds: int = 5, packets: int = 4_000) -> BenchReport:
    """Measure our TURN client, and those of the libraries named in ``against``, through one coturn on the loopback.

    Each of ``rounds`` sends and receives ``packets`` datagrams of 1,000 bytes per library. CPU time, user and system, is that of
    this process: the server and the peer run in their own. Raises `salam.ConfigError` for a name that is unknown or a count below
    1, and `salam.ResourceError` where coturn or a library is not installed.
    """
    if rounds < 1 or packets < 1:
        raise ConfigError(f"rounds is {rounds} and packets {packets}; both must be at least 1")
    contenders = [own(), *(_peer(name) for name in dict.fromkeys(against))]
    measured = asyncio.run(_rounds(contenders, rounds, packets))
    taken = measured.pop("salam")
    metrics = _figures(taken)
    ratios = {
        name: ratio_figures(taken, theirs, {figure_name: figure_name for figure_name in theirs[0]})
        for name, theirs in measured.items()
    }
    return BenchReport(
        scenario="turn",
        title="Through coturn over UDP: CPU per datagram and per parsed frame, and requests",
        metrics=metrics,
        versions={contender.name: contender.version for contender in contenders},
        method={"rounds": rounds, "packets": packets, "payload_bytes": _PAYLOAD_BYTES, "order": "in turns, one process"},
        peers={name: _figures(theirs) for name, theirs in measured.items()},
        ratios=ratios,
        floors={**FLOORS, "refreshes_per_burst": _MAX_REFRESHES, "tcp_parse_us_4m to tcp_parse_us_4k": _LINEAR},
        failed=_failures(metrics, ratios),
    )
