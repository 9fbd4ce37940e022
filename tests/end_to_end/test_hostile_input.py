"""Garbage, truncated and oversized input to every port, while a call and a livestream run in the same process."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from itertools import islice
from pathlib import Path

import aiohttp
import pytest

from bench import Broadcaster, GeneratedMedia, Robot
from fuzz.mutate import cases
from tests.support.browser import until
from tests.support.process import ServerProcess

pytestmark = pytest.mark.timeout(600)

CASES = 10_000
SEED = 7
# A first part of the cases fills caches, pools and the allocator; what counts is whether memory grows after that.
WARM_UP = 1_500
# The transcoder that runs beside keeps frames in flight; its resident memory breathes by some tens of megabytes.
BREATHING_BYTES = 48_000_000
# Connections at a time: enough to be a crowd, few enough for a machine of two cores.
CROWD = 16

STUN_BINDING = struct.pack(">HHI", 1, 0, 0x2112A442) + bytes(12)
RTP = struct.pack(">BBHII", 0x90, 96, 1, 90_000, 0x1234) + struct.pack(">HH", 0xBEDE, 1) + b"\x10\x30\x00\x00" + bytes(40)
RTCP = struct.pack(">BBHI", 0x80, 201, 1, 0x1234) + struct.pack(">BBHII", 0x81, 206, 2, 1, 2)
DTLS = bytes.fromhex("16feff0000000000000000002e") + bytes(46)
RTMP_HELLO = b"\x03" + bytes(1536)
RTMP_CONNECT = RTMP_HELLO + bytes(1536) + bytes.fromhex("03000000000027140000000002000763") + b"onnect" + bytes(20)

SEEDS: dict[str, list[bytes]] = {
    "udp": [b"", b"\x00", STUN_BINDING, RTP, RTCP, DTLS, b"\xff" * 1_500, bytes(65_000)],
    "ice_tcp": [struct.pack(">H", len(body)) + body for body in (STUN_BINDING, RTP, DTLS)] + [b"\xff\xff" + bytes(70_000)],
    "rtmp": [RTMP_HELLO, RTMP_CONNECT, b"GET / HTTP/1.1\r\n\r\n", b"\x03" * 5_000, b"\x06", b""],
    "http": [
        b"GET /api/v1/server HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /dev/token HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        b"GET /web/sdk/../../salam/errors.py HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /live/%2e%2e/index.m3u8 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 20_000 + b"\r\n\r\n",
        b"POST /dev/token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n",
    ],
    "ws": [
        b'{"t":"hello","id":1}',
        b'{"t":"join","id":2,"room":"call","name":"x"}',
        b'{"t":"publish_offer","id":3,"sdp":"v=0\\r\\n","tracks":[{"mid":"0","source":"camera"}]}',
        b'{"t":"chat","id":4,"chat_id":"a","text":"hi"}',
        b"[" * 5_000,
        b"\xff\xfe\x00",
    ],
}


async def stream_attack(port: int, inputs: Iterable[bytes]) -> int:
    """Send each input over a TCP connection of its own, read what comes for a moment, and close."""
    gate = asyncio.Semaphore(CROWD)

    async def one(data: bytes) -> None:
        async with gate:
            with contextlib.suppress(OSError, TimeoutError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(data)
                    writer.write_eof()
                    async with asyncio.timeout(2.0):
                        while await reader.read(65_536):
                            pass
                finally:
                    writer.transport.abort()

    count = 0
    async with asyncio.TaskGroup() as group:
        for data in inputs:
            count += 1
            group.create_task(one(data))
            if count % CROWD == 0:
                await asyncio.sleep(0)
    return count


async def datagram_attack(port: int, inputs: Iterable[bytes]) -> int:
    """Send each input as one datagram; every hundred come from a new address."""
    count = 0
    loop = asyncio.get_running_loop()
    sender = _datagram_socket()
    try:
        for data in inputs:
            count += 1
            if count % 100 == 0:
                sender.close()
                sender = _datagram_socket()
            await loop.sock_sendto(sender, data[:65_000], ("127.0.0.1", port))
            if count % 20 == 0:
                # The kernel drops what nobody reads in time, and then nothing would be tested.
                await asyncio.sleep(0.002)
    finally:
        sender.close()
    return count


def _datagram_socket() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made


async def websocket_attack(url: str, inputs: Iterable[bytes]) -> int:
    """Send each input as a message, of the type of the subprotocol or of the other; reconnect whenever the server hangs up."""
    count = 0
    pending = iter(inputs)
    async with aiohttp.ClientSession() as http:
        while batch := list(islice(pending, 50)):
            protocol = ("salam.v1.json", "salam.v1.msgpack")[count // 50 % 2]
            with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                async with http.ws_connect(url, protocols=[protocol]) as ws:
                    await ws.send_str('{"t":"hello","id":0}')
                    for number, data in enumerate(batch):
                        if ws.closed:
                            break
                        if number % 2:
                            await ws.send_bytes(data)
                        else:
                            await ws.send_str(data.decode("latin-1"))
            count += len(batch)
    return count


@contextlib.asynccontextmanager
async def call_and_stream(server: ServerProcess) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Run a call of two robots and a livestream; yields a check that both still go on."""
    broadcaster = Broadcaster(f"rtmp://127.0.0.1:{server.rtmp_port}/live/show", width=426, height=240, fps=15)
    broadcaster.start()
    media = GeneratedMedia(width=320, height=180, fps=10)
    try:
        async with (
            Robot(f"{server.url}/ws", room="call", name="Amal", publish=media) as one,
            Robot(f"{server.url}/ws", room="call", name="Badr", publish=media) as two,
            aiohttp.ClientSession() as http,
        ):

            async def packets() -> int:
                return min(sum(track.packets for track in robot.stats().received) for robot in (one, two))

            async def playlist() -> str:
                async with http.get(f"{server.url}/live/show/index.m3u8") as response:
                    if response.status != 200:
                        return ""
                    variant = (await response.text()).strip().splitlines()[-1]
                async with http.get(f"{server.url}/live/show/{variant}") as response:
                    return await response.text()

            async def still_running() -> None:
                seen, listed = await packets(), await playlist()

                async def goes_on() -> bool:
                    return await packets() > seen + 50 and await playlist() not in ("", listed)

                await until(goes_on, "the call and the stream go on")

            await still_running()
            yield still_running
            assert broadcaster.error is None
    finally:
        await broadcaster.stop()


async def attack(server: ServerProcess, *, seed: int, count: int) -> dict[str, int]:
    """Send ``count`` cases to each port, one port after the other."""

    def inputs(port: str) -> Iterable[bytes]:
        return islice(cases(SEEDS[port], seed=seed), count)

    return {
        "udp": await datagram_attack(server.media_port, inputs("udp")),
        "ice_tcp": await stream_attack(server.media_port, inputs("ice_tcp")),
        "rtmp": await stream_attack(server.rtmp_port, inputs("rtmp")),
        "http": await stream_attack(server.http_port, inputs("http")),
        "ws": await websocket_attack(f"{server.url}/ws", inputs("ws")),
    }


async def test_ten_thousand_cases_to_every_port(tmp_path: Path) -> None:
    async with ServerProcess(tmp_path) as server, call_and_stream(server) as still_running:
        await attack(server, seed=SEED + 1, count=WARM_UP)
        await still_running()
        memory_before, files_before = server.memory_bytes(), server.open_files()
        drops_before = await server.drops()
        sent = await attack(server, seed=SEED, count=CASES)
        assert set(sent.values()) == {CASES}
        await still_running()

        async def settled() -> bool:
            return server.open_files() <= files_before + CROWD and server.memory_bytes() <= memory_before + BREATHING_BYTES

        await until(settled, "memory and files are back to where they were")
        dropped: dict[str, int] = {}
        for (port, reason), number in (await server.drops()).items():
            dropped[port] = dropped.get(port, 0) + number - drops_before.get((port, reason), 0)
        # Not every case is invalid, and a connection that ends counts once however much rubbish it carried.
        for port in ("media_udp", "media_tcp", "rtmp", "http", "ws"):
            assert dropped.get(port, 0) > CASES // 100, dropped
