"""The RTMP server over real sockets, with our own client: names, deadlines, drops, shutdown, hostile input."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fuzz.fuzz_rtmp import SEEDS
from fuzz.mutate import cases
from ingest import AccessUnit, RtmpLimits, RtmpServer, StreamInfo, StreamSink
from ingest.rtmp import HANDSHAKE_NONCE_BYTES, ChunkWriter, Message, MessageType, PublisherState, RtmpPublisher
from salam import AuthError, ConflictError, LimitError, Metrics, ResourceError, SimulatedClock

AVCC = bytes.fromhex("014d400cffe10019674d400ceca0a0cfcf8088000003000800000300f078a14cb001000468ce0fc8")
CONFIGS = (
    Message(MessageType.VIDEO, 0, 0, b"\x17\x00\x00\x00\x00" + AVCC),
    Message(MessageType.AUDIO, 0, 0, b"\xaf\x00\x11\x88"),
)
Eventually = Callable[..., object]


def keyframe(timestamp_ms: int) -> Message:
    return Message(MessageType.VIDEO, 0, timestamp_ms, b"\x17\x01\x00\x00\x00\x00\x00\x00\x02\x65\x88")


class Recorder:
    """A sink that keeps what it is given."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.infos: list[StreamInfo] = []
        self.units: list[AccessUnit] = []
        self.ends: list[str] = []

    def on_info(self, info: StreamInfo) -> None:
        self.infos.append(info)

    def on_unit(self, unit: AccessUnit) -> None:
        assert self.infos, "a unit came before the description"
        self.units.append(unit)

    def on_end(self, reason: str) -> None:
        self.ends.append(reason)


class Rig:
    """A server whose sinks are kept, and what it refuses."""

    def __init__(self, **options: object) -> None:
        self.metrics = Metrics()
        self.sinks: list[Recorder] = []
        self.refuse_with: Exception | None = None
        self.server = RtmpServer(
            host="127.0.0.1",
            port=0,
            authorize=self.authorize,
            open_sink=self.open_sink,
            metrics=self.metrics,
            **options,  # type: ignore[arg-type]
        )

    def authorize(self, name: str, token: str) -> None:
        if token == "wrong":
            raise AuthError(f"the token does not allow publishing {name}")

    def open_sink(self, name: str) -> StreamSink:
        if self.refuse_with is not None:
            raise self.refuse_with
        self.sinks.append(Recorder(name))
        return self.sinks[-1]

    def url(self, name: str) -> str:
        return f"rtmp://127.0.0.1:{self.server.port}/live/{name}"


@asynccontextmanager
async def running(**options: object) -> AsyncIterator[Rig]:
    rig = Rig(**options)
    await rig.server.start()
    try:
        yield rig
    finally:
        await rig.server.close()


class Client:
    """A publisher on a real socket."""

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        self.sock = socket.socket()
        self.session = RtmpPublisher(url, nonce=os.urandom(HANDSHAKE_NONCE_BYTES))
        self._tls = tls

    async def __aenter__(self) -> Client:
        self.sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(self.sock, (self.session.host, self.session.port))
        name = "localhost" if self._tls is not None else None
        self.reader, self.writer = await asyncio.open_connection(sock=self.sock, ssl=self._tls, server_hostname=name)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def negotiate(self) -> None:
        """Go on until the server has accepted or refused."""
        while self.session.state not in (PublisherState.PUBLISHING, PublisherState.CLOSED):
            self.writer.write(self.session.data_to_send())
            data = await self.reader.read(65_536)
            assert data, "the server hung up without a word"
            self.session.receive_data(data)

    def send(self, *messages: Message) -> None:
        for message in messages:
            self.session.send(message)
        self.writer.write(self.session.data_to_send())


@asynccontextmanager
async def publishing(rig: Rig, name: str) -> AsyncIterator[Client]:
    async with Client(rig.url(name)) as client:
        await client.negotiate()
        assert client.session.state is PublisherState.PUBLISHING, client.session.refusal
        client.send(*CONFIGS, keyframe(0))
        yield client


async def refusal(rig: Rig, name: str) -> str | None:
    async with Client(rig.url(name)) as client:
        await client.negotiate()
        assert await client.reader.read() == b"", "the server keeps a refused client"
        return client.session.refusal


async def test_finish_and_drop_are_told_apart(eventually: Eventually) -> None:
    async with running() as rig:
        async with publishing(rig, "one") as client:
            await eventually(lambda: rig.sinks[0].units)  # type: ignore[misc]
            (stats,) = rig.server.stats().publications
            assert (stats.name, stats.video_units, stats.info) == ("one", 1, rig.sinks[0].infos[0])
            assert stats.received_bytes > 0
            client.session.finish()
            client.writer.write(client.session.data_to_send())
            await eventually(lambda: rig.sinks[0].ends == ["finished"])  # type: ignore[misc]
        async with publishing(rig, "one") as client:
            await eventually(lambda: rig.sinks[1].units)  # type: ignore[misc]
            client.writer.transport.abort()
            await eventually(lambda: rig.sinks[1].ends == ["dropped"])  # type: ignore[misc]
        assert rig.server.stats().publications == ()


async def test_refusals_are_explained(eventually: Eventually) -> None:
    async with running() as rig, publishing(rig, "taken") as first:
        assert await refusal(rig, "taken?token=wrong") == "the token does not allow publishing taken"
        assert await refusal(rig, "taken") == "taken is being published already"
        rig.refuse_with = ConflictError("somebody publishes it over WHIP")
        assert await refusal(rig, "other") == "somebody publishes it over WHIP"
        rig.refuse_with = LimitError("100 streams are taken")
        assert await refusal(rig, "other") == "100 streams are taken"
        rig.refuse_with = None
        async with Client(rig.url("show").replace("/live/", "/other/")) as stray:
            await stray.negotiate()
            assert "no such application" in str(stray.session.refusal)
        first.send(keyframe(40))
        await eventually(lambda: len(rig.sinks[0].units) == 2)  # type: ignore[misc]
        assert rig.metrics.dropped("rtmp", "wrong_application") == 1
        assert rig.metrics.dropped("rtmp", "not_authorized") == 1
        assert rig.metrics.dropped("rtmp", "conflict") == 2


async def test_a_failing_callback_refuses_one_publisher_only(eventually: Eventually) -> None:
    async with running() as rig, publishing(rig, "good") as good:
        rig.refuse_with = ZeroDivisionError("a bug")
        assert "try again" in str(await refusal(rig, "bad"))
        good.send(keyframe(40))
        await eventually(lambda: len(rig.sinks[0].units) == 2)  # type: ignore[misc]


async def test_a_failing_sink_ends_its_own_publication_only(eventually: Eventually, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running() as rig, publishing(rig, "good") as good, publishing(rig, "bad") as bad:
        await eventually(lambda: len(rig.sinks) == 2 and all(sink.units for sink in rig.sinks))  # type: ignore[misc]

        def fail(_: AccessUnit) -> None:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(rig.sinks[1], "on_unit", fail)
        bad.send(keyframe(40))
        good.send(keyframe(40))
        await eventually(lambda: rig.sinks[1].ends == ["dropped"])  # type: ignore[misc]
        await eventually(lambda: len(rig.sinks[0].units) == 2)  # type: ignore[misc]
        assert rig.sinks[0].ends == []


async def test_a_silent_publisher_gives_way_and_a_dead_one_is_dropped(eventually: Eventually) -> None:
    clock = SimulatedClock()
    async with running(clock=clock) as rig:
        async with publishing(rig, "show"):
            await eventually(lambda: rig.sinks and rig.sinks[0].units)  # type: ignore[misc]
            await clock.advance(2.0)
            assert "already" in str(await refusal(rig, "show"))
            await clock.advance(0.1)
            async with publishing(rig, "show"):
                assert rig.sinks[0].ends == ["dropped"]
                await eventually(lambda: rig.sinks[1].units)  # type: ignore[misc]
                await clock.advance(9.7)
                assert rig.sinks[1].ends == []
                await clock.advance(0.5)
                assert rig.sinks[1].ends == ["dropped"]
        assert rig.server.stats().publications == ()


async def test_a_publisher_of_unknown_codecs_is_refused(eventually: Eventually) -> None:
    clock = SimulatedClock()
    async with running(clock=clock) as rig, Client(rig.url("old")) as client:
        await client.negotiate()
        client.send(Message(MessageType.VIDEO, 0, 0, b"\x12\x00"))
        await eventually(lambda: rig.metrics.dropped("rtmp", "unsupported_codec"))  # type: ignore[misc]
        await clock.advance(10.3)
        client.session.receive_data(await client.reader.read(65_536))
        assert "video codec id 2 is not taken" in str(client.session.refusal)
        assert rig.sinks[0].ends == ["refused"]
        assert rig.sinks[0].infos == []


async def test_strangers_that_say_nothing_are_gone_after_ten_seconds(eventually: Eventually) -> None:
    clock = SimulatedClock()
    async with running(clock=clock) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.server.port)
        await eventually(lambda: rig.server.stats().connections == 1)  # type: ignore[misc]
        await clock.advance(9.5)
        assert rig.server.stats().connections == 1
        await clock.advance(1.0)
        assert await reader.read() == b""
        # It does not hang up either, so it is cut.
        await clock.advance(3.0)
        await eventually(lambda: rig.server.stats().connections == 0)  # type: ignore[misc]
        writer.close()


async def test_a_full_server_turns_newcomers_away(eventually: Eventually) -> None:
    async with running(limits=RtmpLimits(max_connections=1)) as rig, publishing(rig, "one") as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.server.port)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        assert rig.metrics.dropped("rtmp", "too_many_connections") == 1
        client.send(keyframe(40))
        await eventually(lambda: len(rig.sinks[0].units) == 2)  # type: ignore[misc]


async def test_a_client_that_never_reads_is_cut(eventually: Eventually) -> None:
    limits = RtmpLimits(max_outbound_bytes=4096, max_messages_per_s=10**9)
    # The clock stands still, so that silence is not what ends it.
    async with running(limits=limits, clock=SimulatedClock()) as rig, Client(rig.url("one")) as client:
        # The kernel takes replies in our place, so its buffer is made small.
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await client.negotiate()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer, ping = ChunkWriter(), Message(MessageType.USER_CONTROL, 0, 0, b"\x00\x06\x00\x00\x00\x00")
        pings = b"".join(writer.write(40, ping) for _ in range(20_000))
        while not client.writer.transport.is_closing() and not rig.sinks[0].ends:
            client.writer.write(pings)
            with contextlib.suppress(ConnectionError):
                await client.writer.drain()
            await asyncio.sleep(0)
        await eventually(lambda: rig.sinks[0].ends == ["dropped"])  # type: ignore[misc]
        assert rig.metrics.dropped("rtmp", "slow_reader") == 1


async def test_closing_ends_publications_with_shutdown() -> None:
    rig = Rig(limits=RtmpLimits(linger_s=0.2))
    await rig.server.start()
    async with publishing(rig, "one") as client:
        await rig.server.close()
        await rig.server.close()
        assert rig.sinks[0].ends == ["shutdown"]
        assert rig.server.stats().connections == 0
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", client.session.port)


async def test_a_taken_port_is_named() -> None:
    async with running() as rig:
        second = RtmpServer(host="127.0.0.1", port=rig.server.port, authorize=rig.authorize, open_sink=rig.open_sink)
        with pytest.raises(ResourceError, match=f"port {rig.server.port}"):
            await second.start()
        await second.close()


async def test_hostile_bytes_leave_nothing_and_disturb_nobody(eventually: Eventually) -> None:
    handshake = b"\x03" + bytes(3072)
    rng = random.Random(7)
    async with running() as rig, publishing(rig, "calm") as client:
        inputs = list(cases(SEEDS, seed=7, count=2_000))

        async def attack(worker: int) -> None:
            for data in inputs[worker::8]:
                prefix = handshake if rng.random() < 0.9 else b""
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", rig.server.port)
                    writer.write(prefix + data)
                    writer.write_eof()
                    writer.close()
                    await writer.wait_closed()
                except OSError:
                    continue

        async def publish_on() -> None:
            for number in range(1, 200):
                client.send(keyframe(number * 40))
                await asyncio.sleep(0)

        await asyncio.gather(publish_on(), *(attack(worker) for worker in range(8)))
        await eventually(lambda: len(rig.sinks[0].units) == 200)  # type: ignore[misc]
        await eventually(lambda: rig.server.stats().connections == 1)  # type: ignore[misc]
        assert rig.sinks[0].ends == []
        assert rig.metrics.dropped("rtmp", "protocol_error") > 100
        # Whoever got as far as publishing was ended properly.
        assert all(len(sink.ends) == 1 for sink in rig.sinks[1:])


async def test_tls(tmp_path: Path, eventually: Eventually) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        + ["-subj", "/CN=localhost", "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with running(tls=context) as rig, Client(rig.url("safe"), trusting) as client:
        await client.negotiate()
        client.send(*CONFIGS, keyframe(0))
        await eventually(lambda: rig.sinks and rig.sinks[0].units)  # type: ignore[misc]
        client.session.finish()
        client.writer.write(client.session.data_to_send())
        await eventually(lambda: rig.sinks[0].ends == ["finished"])  # type: ignore[misc]
