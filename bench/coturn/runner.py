"""A real TURN server as a peer: coturn on free ports of the loopback, with a configuration of its own, ended by its process id."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import random
import signal
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BufferedWriter
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from salam import ResourceError

__all__ = ["Coturn", "CoturnOptions", "binding_answered", "write_certificate"]

# A Binding request, all of it fixed: asked until the server answers.
_BINDING = bytes.fromhex("000100002112a442") + b"coturn-ready"
_REALM = "salam.test"
# A cold start on a machine that is busy with other things takes a few seconds.
_START_TIMEOUT_S = 30.0
_POLL_S = 0.1
# Relay ports are taken from a window of this size, placed by chance, so that servers that run side by side rarely meet.
_RELAY_WINDOW = 400


@dataclass(frozen=True, slots=True)
class CoturnOptions:
    """What is asked of the server; the defaults are a plain server for UDP and TCP with one long-term user."""

    tls: bool = False
    ipv6: bool = False
    secret: str | None = None
    """Turns REST credentials on, in place of the long-term user."""
    users: tuple[tuple[str, str], ...] = (("alice", "secret-of-alice"),)
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
    """One running server; ``async with`` starts and stops it.

    ``program`` is the path of ``turnserver``, ``folder`` a place for its files. Raises ResourceError when it does not start.
    """

    def __init__(self, program: str, folder: Path, options: CoturnOptions) -> None:
        self.options = options
        self.port = options.port or _free_port()
        self.tls_port = _free_port()
        self.realm = _REALM
        self.username, self.password = options.users[0]
        self._program = program
        self._folder = folder
        self._log_path = folder / "turnserver.log"
        self._certificate, self._key = folder / "cert.pem", folder / "key.pem"

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
        return ssl.create_default_context(cafile=str(self._certificate))

    async def __aenter__(self) -> Coturn:
        log = await asyncio.to_thread(self._write_files)
        with log:
            self.process = await asyncio.create_subprocess_exec(
                self._program, *self._arguments(), cwd=self._folder, stdout=log, stderr=log
            )
        try:
            await self._wait_until_it_answers()
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.kill()

    def _write_files(self) -> BufferedWriter:
        """Write what the server reads, and open its log."""
        if self.options.tls:
            write_certificate(self._certificate, self._key)
        return self._log_path.open("wb")

    async def _wait_until_it_answers(self) -> None:
        for _ in range(round(_START_TIMEOUT_S / _POLL_S)):
            if await self._answers():
                return
            await asyncio.sleep(_POLL_S)
        raise ResourceError(f"the TURN server did not answer within {_START_TIMEOUT_S:.0f} s:\n{await self.log()}")

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

    async def log(self) -> str:
        """Return everything that the server has printed."""
        return await asyncio.to_thread(self._log_path.read_text, errors="replace")

    def _arguments(self) -> list[str]:
        options = self.options
        low = random.randrange(20_000, 32_000 - _RELAY_WINDOW)
        arguments = [
            *("-n", "--no-cli", "--simple-log", "--log-file=stdout", "-v", "--relay-threads=1"),
            *("--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", "--allow-loopback-peers"),
            *(f"--listening-port={self.port}", f"--tls-listening-port={self.tls_port}"),
            *(f"--min-port={low}", f"--max-port={low + _RELAY_WINDOW}", f"--realm={_REALM}"),
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
            arguments += [f"--cert={self._certificate}", f"--pkey={self._key}", "--no-dtls"]
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
        if self.process.returncode is not None:
            raise ResourceError(f"the TURN server ended at its start:\n{await self.log()}")
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


def _free_port() -> int:
    """A port that is free for UDP and TCP now; coturn has to be told its ports before it opens them."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
            datagram.bind(("127.0.0.1", 0))
            port = int(datagram.getsockname()[1])
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream, contextlib.suppress(OSError):
                stream.bind(("127.0.0.1", port))
                return port
