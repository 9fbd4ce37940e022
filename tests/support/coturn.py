"""A real TURN server for tests: coturn on free ports of the loopback, with a configuration of its own, ended by its process id."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import random
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.browser import until
from tests.support.engine import free_port

__all__ = ["Coturn", "CoturnOptions", "EchoPeer", "StartCoturn", "coturn", "echo_peer", "echo_peer_v6"]

REALM = "salam.test"
USER = "alice"
PASSWORD = "secret-of-alice"
# A Binding request, all of it fixed: asked until the server answers.
_BINDING = bytes.fromhex("000100002112a442") + b"coturn-ready"
# Relay ports are taken from a window of this size, placed by chance, so that servers of tests that run side by side rarely meet.
_RELAY_WINDOW = 400


@dataclass(frozen=True, slots=True)
class CoturnOptions:
    """What a test asks of its server; the defaults are a plain server for UDP and TCP with one long-term user."""

    tls: bool = False
    ipv6: bool = False
    secret: str | None = None
    """Turns REST credentials on, in place of the long-term user."""
    users: tuple[tuple[str, str], ...] = ((USER, PASSWORD),)
    alternate_server: str | None = None
    """``host:port`` that every Allocate is redirected to."""
    user_quota: int | None = None
    mobility: bool = False
    permission_lifetime_s: int | None = None
    channel_lifetime_s: int | None = None
    allocate_lifetime_s: int | None = None
    nonce_lifetime_s: int | None = None
    udp: bool = True
    behaviour_discovery: bool = False
    """Listens on 127.0.0.2 and on the following port too, which is what RFC 5780 asks of a server."""
    port: int | None = None
    """Taken again by a server that replaces another one."""
    extra: tuple[str, ...] = field(default=())


class Coturn:
    """One running server; ``async with`` starts and stops it."""

    def __init__(self, program: str, folder: Path, options: CoturnOptions) -> None:
        self.options = options
        self.port = options.port or free_port()
        self.tls_port = free_port()
        self.realm = REALM
        self.username, self.password = options.users[0]
        self._program = program
        self._folder = folder
        self._log_path = folder / "turnserver.log"

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens over IPv4 for UDP and TCP."""
        return "127.0.0.1", self.port

    def uri(self, transport: str = "udp", *, host: str = "127.0.0.1") -> str:
        """Return the TURN URI for ``udp``, ``tcp`` or ``tls``."""
        shown = f"[{host}]" if ":" in host else host
        if transport == "tls":
            return f"turns:{shown}:{self.tls_port}?transport=tcp"
        return f"turn:{shown}:{self.port}?transport={transport}"

    def trust(self) -> ssl.SSLContext:
        """Return a TLS context that trusts this server's certificate and nothing else."""
        return ssl.create_default_context(cafile=str(self._folder / "cert.pem"))

    async def __aenter__(self) -> Coturn:
        with self._log_path.open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                self._program, *self._arguments(), cwd=self._folder, stdout=log, stderr=log
            )
        try:
            await until(self._answers, "coturn answers", timeout_s=30.0)
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.kill()

    async def kill(self) -> None:
        """End the process at once, as a crash would; safe to call twice."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                # A stopped process takes SIGKILL all the same.
                self.process.kill()
            await self.process.wait()

    def freeze(self) -> None:
        """Stop the process where it stands: its sockets stay open and say nothing any more."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self.process.send_signal(signal.SIGCONT)

    def log(self) -> str:
        """Return everything that the server has printed."""
        return self._log_path.read_text(errors="replace")

    def _arguments(self) -> list[str]:
        options = self.options
        low = random.randrange(20_000, 32_000 - _RELAY_WINDOW)
        arguments = [
            *("-n", "--no-cli", "--simple-log", "--log-file=stdout", "-v", "--relay-threads=1"),
            *("--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--allow-loopback-peers"),
            *(f"--listening-port={self.port}", f"--tls-listening-port={self.tls_port}"),
            *(f"--min-port={low}", f"--max-port={low + _RELAY_WINDOW}", f"--realm={REALM}"),
            *(f"--pidfile={self._folder / 'turnserver.pid'}", f"--userdb={self._folder / 'turndb'}"),
        ]
        if options.ipv6:
            arguments += ["--listening-ip=::1", "--relay-ip=::1"]
        if options.behaviour_discovery:
            arguments += ["--listening-ip=127.0.0.2", "--relay-ip=127.0.0.2"]
        else:
            # Otherwise two addresses are taken for a wish to discover NATs, which takes the port after each port too.
            arguments.append("--no-rfc5780")
        if options.tls:
            certificate, key = self._folder / "cert.pem", self._folder / "key.pem"
            write_certificate(certificate, key)
            arguments += [f"--cert={certificate}", f"--pkey={key}", "--no-dtls"]
        else:
            arguments += ["--no-tls", "--no-dtls"]
        if options.secret is not None:
            arguments += ["--use-auth-secret", f"--static-auth-secret={options.secret}"]
        else:
            arguments += ["--lt-cred-mech", *(f"--user={name}:{password}" for name, password in options.users)]
        return [*arguments, *self._rare_arguments(), *options.extra]

    def _rare_arguments(self) -> list[str]:
        options = self.options
        # Each is written with the equals sign: without it, `--stale-nonce 6` means 600 seconds.
        valued = {
            "--alternate-server": options.alternate_server,
            "--user-quota": options.user_quota,
            "--permission-lifetime": options.permission_lifetime_s,
            "--channel-lifetime": options.channel_lifetime_s,
            "--max-allocate-lifetime": options.allocate_lifetime_s,
            "--stale-nonce": options.nonce_lifetime_s,
        }
        arguments = [f"{flag}={value}" for flag, value in valued.items() if value is not None]
        if options.mobility:
            arguments.append("--mobility")
        if not options.udp:
            arguments.append("--no-udp")
        return arguments

    async def _answers(self) -> bool:
        assert self.process.returncode is None, self.log()
        try:
            _, writer = await asyncio.open_connection(*self.address)
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        if not self.options.udp:
            return True
        return await binding_answered(self.address) and (not self.options.ipv6 or await binding_answered(("::1", self.port)))


async def binding_answered(address: tuple[str, int]) -> bool:
    """Ask a server for a Binding once, and say whether it answered within a moment."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        probe.connect(address)
        try:
            async with asyncio.timeout(0.3):
                await loop.sock_sendall(probe, _BINDING)
                return (await loop.sock_recv(probe, 2048))[8:20] == _BINDING[8:20]
        except (OSError, TimeoutError):
            return False


def write_certificate(certificate: Path, key: Path) -> None:
    """Write a self-signed certificate for the loopback, good for a day."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names: Sequence[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    ]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


StartCoturn = Callable[..., Awaitable[Coturn]]


@pytest.fixture
async def coturn(need_program: Callable[..., str], tmp_path: Path) -> AsyncIterator[StartCoturn]:
    """Return a function that starts a server with the options of `CoturnOptions`; all are ended after the test."""
    program = need_program("turnserver")
    async with AsyncExitStack() as stack:
        started = 0

        async def start(**options: object) -> Coturn:
            nonlocal started
            started += 1
            folder = tmp_path / f"coturn{started}"
            folder.mkdir()
            return await stack.enter_async_context(Coturn(program, folder, CoturnOptions(**options)))  # type: ignore[arg-type]

        yield start


class EchoPeer(asyncio.DatagramProtocol):
    """A UDP peer that sends back what it gets, and remembers from whom."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, tuple[str, int]]] = []
        self.echo = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self.transport.get_extra_info("sockname")[:2]
        return host, port

    def datagram_received(self, data: bytes, address: tuple[str | int, ...]) -> None:
        self.received.append((data, (str(address[0]), int(address[1]))))
        if self.echo:
            self.transport.sendto(data, address)

    def senders(self) -> set[tuple[str, int]]:
        """Return every address that something came from."""
        return {address for _, address in self.received}


@contextlib.asynccontextmanager
async def echoing(host: str) -> AsyncIterator[EchoPeer]:
    """Run an `EchoPeer` on ``host``."""
    loop = asyncio.get_running_loop()
    transport, peer = await loop.create_datagram_endpoint(EchoPeer, local_addr=(host, 0))
    try:
        yield peer
    finally:
        transport.close()


@pytest.fixture
async def echo_peer() -> AsyncIterator[EchoPeer]:
    """Return a UDP peer on 127.0.0.1."""
    async with echoing("127.0.0.1") as peer:
        yield peer


@pytest.fixture
async def echo_peer_v6() -> AsyncIterator[EchoPeer]:
    """Return a UDP peer on ::1."""
    async with echoing("::1") as peer:
        yield peer
