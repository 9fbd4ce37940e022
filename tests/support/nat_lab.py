"""A laboratory of NATs: two homes behind a NAT of their own each, and a public network between them, in network namespaces.

::

    home_a ── nat_a ──┐                     ┌── nat_b ── home_b
    10.1.0.2          └──── public bridge ──┘          10.2.0.2
                       198.51.100.1 and .2

Nothing of it is in the machine's own network: each wire is made with both of its ends in namespaces of the laboratory.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil
import pytest

__all__ = ["Home", "NatLab", "NatMode", "Namespace", "refuse_without_lab"]

# 198.51.100.0/24 is for documentation (RFC 5737), so no real network is meant by it.
_PUBLIC_NET = "198.51.100"
# Bridge ports take about a second to come up, more on a busy machine; this bounds a hang.
_UP_WITHIN_S = 30.0
_DEAD_WITHIN_S = 10.0
_CLONE_NEWNET = 0x40000000
_NETNS_FOLDER = Path("/run/netns")
_NAME = re.compile(r"salam-lab-(\d+)-\d+-\w+")
_counter = itertools.count(1)


class NatMode(enum.Enum):
    """What a NAT does with UDP; the value is what an nft table of it holds."""

    FULL_CONE = "full cone"
    """One public port for one inner port, and whoever knows it gets in."""
    PORT_RESTRICTED = "port restricted"
    """One public port for one inner port, but only those get in who were sent to before."""
    SYMMETRIC = "symmetric"
    """Another public port for each destination, and only that destination gets in."""
    UDP_BLOCKED = "udp blocked"
    """Nothing but TCP passes, and that through a symmetric NAT."""


class LabUnavailable(Exception):
    """Namespaces cannot be made here; the text says why."""


class Namespace:
    """One network namespace."""

    def __init__(self, name: str) -> None:
        self.name = name

    def command(self, *words: str) -> list[str]:
        """Return the command line that runs ``words`` in here; the process keeps the id that it is started with."""
        return ["ip", "netns", "exec", self.name, *words]

    def ip(self, command: str) -> str:
        """Run ``ip`` on this namespace and return what it prints."""
        return _run("ip", "-n", self.name, *command.split())

    def nft(self, script: str) -> None:
        """Load rules."""
        _run(*self.command("nft", "-f", "-"), stdin=script)

    def set(self, key: str, value: str) -> None:
        """Set one value of the kernel's, named as below /proc/sys."""
        _run(*self.command("sh", "-c", f"echo {value} > /proc/sys/{key}"))

    def open_socket(self, kind: socket.SocketKind = socket.SOCK_DGRAM, address: tuple[str, int] | None = None) -> socket.socket:
        """Return a socket of this namespace, bound to ``address``, for use from anywhere in this process."""
        made: list[socket.socket | Exception] = []
        # A thread of its own goes over and ends there: the rest of the process stays where it is.
        thread = threading.Thread(target=self._make_socket, args=(kind, address, made))
        thread.start()
        thread.join()
        (result,) = made
        if isinstance(result, Exception):
            raise result
        return result

    def _make_socket(self, kind: socket.SocketKind, address: tuple[str, int] | None, made: list[socket.socket | Exception]) -> None:
        try:
            with (_NETNS_FOLDER / self.name).open() as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"cannot go to the namespace {self.name}")
            opened = socket.socket(socket.AF_INET, kind)
            if address is not None:
                opened.bind(address)
            made.append(opened)
        except OSError as error:
            made.append(error)


@dataclass(frozen=True, slots=True)
class Home:
    """A host behind a NAT."""

    host: Namespace
    nat: Namespace
    address: str
    """Of the host, private."""
    public_address: str
    """Of the NAT."""
    mode: NatMode


class NatLab:
    """Makes the laboratory on entering and takes it away on leaving, with all processes in it, whatever happened.

    Raises LabUnavailable when this machine does not allow it.
    """

    public_address = f"{_PUBLIC_NET}.1"
    """Where servers listen."""
    second_address = f"{_PUBLIC_NET}.2"
    """For servers that need another one."""

    def __init__(self, mode_a: NatMode, mode_b: NatMode) -> None:
        prefix = f"salam-lab-{os.getpid()}-{next(_counter)}"
        self._prefix = prefix
        self.public = Namespace(f"{prefix}-public")
        self.a = self._home("a", 1, mode_a)
        self.b = self._home("b", 2, mode_b)
        self._cuts = 0

    def __enter__(self) -> NatLab:
        _check_machine()
        _sweep()
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Take everything away; idempotent."""
        for name in _namespaces():
            if name.startswith(f"{self._prefix}-"):
                _remove(name)

    def cut_direct_path(self) -> None:
        """Let nothing pass any more between the two homes themselves; each still reaches the public servers."""
        other = self.b.public_address
        self.a.nat.nft(f"""
            table ip cut {{
                chain between {{
                    type filter hook forward priority -10
                    ip daddr {other} drop
                    ip saddr {other} drop
                }}
            }}
        """)

    def block(self, home: Home, what: str) -> None:
        """Let nothing pass the NAT of a home from now on that fits this expression of nft, as firewalls do."""
        home.nat.nft(f"""
            table ip firewall {{
                chain through {{
                    type filter hook forward priority -20
                    {what} drop
                }}
            }}
        """)

    def _home(self, letter: str, number: int, mode: NatMode) -> Home:
        return Home(
            host=Namespace(f"{self._prefix}-{letter}"),
            nat=Namespace(f"{self._prefix}-nat{letter}"),
            address=f"10.{number}.0.2",
            public_address=f"{_PUBLIC_NET}.{10 + number}",
            mode=mode,
        )

    def _build(self) -> None:
        homes = (self.a, self.b)
        for namespace in (self.public, *(part for home in homes for part in (home.host, home.nat))):
            _run("ip", "netns", "add", namespace.name)
            # Candidates for IPv6 would only be more of the same, without a NAT between them.
            namespace.set("net/ipv6/conf/all/disable_ipv6", "1")
            namespace.ip("link set lo up")
        self._build_public()
        for index, home in enumerate(homes):
            self._build_home(home, f"port{index}")
        _until(self._bridge_forwards, "the public bridge forwards")

    def _build_public(self) -> None:
        public = self.public
        public.ip("link add bridge type bridge stp_state 0 forward_delay 0")
        for address in (self.public_address, self.second_address):
            public.ip(f"addr add {address}/24 dev bridge")
        public.ip("link set bridge up")
        # Whatever is sent to the homes' private addresses goes here and is heard by nobody. Without a route the system call itself
        # would fail, which ends a relay of some versions of coturn.
        public.ip("link add sink type veth peer name drain")
        public.ip("link set sink arp off up")
        public.ip("link set drain up")
        public.ip("route add default dev sink")

    def _build_home(self, home: Home, port: str) -> None:
        gateway = home.address.rsplit(".", 1)[0] + ".1"
        home.host.ip(f"link add eth0 type veth peer name lan netns {home.nat.name}")
        home.host.ip(f"addr add {home.address}/24 dev eth0")
        home.nat.ip(f"addr add {gateway}/24 dev lan")
        home.nat.ip(f"link add wan type veth peer name {port} netns {self.public.name}")
        home.nat.ip(f"addr add {home.public_address}/24 dev wan")
        self.public.ip(f"link set {port} master bridge up")
        for namespace, link in ((home.host, "eth0"), (home.nat, "lan"), (home.nat, "wan")):
            namespace.ip(f"link set {link} up")
        home.host.ip(f"route add default via {gateway}")
        home.nat.ip(f"route add default via {self.public_address}")
        home.nat.set("net/ipv4/ip_forward", "1")
        home.nat.nft(_nat_rules(home))

    def _bridge_forwards(self) -> bool:
        ports = self.public.ip("-details link show master bridge")
        return ports.count("state UP") == ports.count("state forwarding") == 2


def _nat_rules(home: Home) -> str:
    """Return the rules of a NAT. Its parts stand on lines of their own: nft 1.0 does not take them in one from its input."""
    translate = {
        NatMode.FULL_CONE: f"snat to {home.public_address}",
        NatMode.PORT_RESTRICTED: "masquerade",
        NatMode.SYMMETRIC: "masquerade fully-random",
        NatMode.UDP_BLOCKED: "masquerade fully-random",
    }[home.mode]
    let_in = f'iifname "wan" meta l4proto udp dnat to {home.address}' if home.mode is NatMode.FULL_CONE else ""
    block = "meta l4proto udp drop" if home.mode is NatMode.UDP_BLOCKED else ""
    return f"""
        table ip nat {{
            chain outgoing {{
                type nat hook postrouting priority 100
                oifname "wan" {translate}
            }}
            chain incoming {{
                type nat hook prerouting priority -100
                {let_in}
            }}
        }}
        table ip filter {{
            chain own {{
                type filter hook input priority 0
                # A packet that comes too early would otherwise be noted as one for the NAT itself, and take the port of the inner
                # one that opens the way a moment later.
                iifname "wan" meta l4proto udp drop
            }}
            chain through {{
                type filter hook forward priority 0
                {block}
            }}
        }}
    """


def refuse_without_lab(need_program: Callable[..., str]) -> None:
    """End the test where no laboratory can be made: skip with the reason on a workstation, fail in CI."""
    for program in ("ip", "nft"):
        need_program(program)
    try:
        _check_machine()
    except LabUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))


def _check_machine() -> None:
    for program in ("ip", "nft"):
        if shutil.which(program) is None:
            raise LabUnavailable(f"the program {program} is not installed")
    if os.geteuid() != 0:
        raise LabUnavailable("network namespaces need root")
    probe = Namespace(f"salam-lab-{os.getpid()}-{next(_counter)}-probe")
    try:
        _run("ip", "netns", "add", probe.name)
        probe.nft("table ip probe {\n}")
    except subprocess.CalledProcessError as error:
        raise LabUnavailable(f"this system allows root no network namespaces: {error.stderr.strip()}") from error
    finally:
        _remove(probe.name)


def _sweep() -> None:
    """Take away what runs that were killed have left behind."""
    for name in _namespaces():
        found = _NAME.fullmatch(name)
        if found is not None and not psutil.pid_exists(int(found[1])):
            _remove(name)


def _namespaces() -> list[str]:
    return sorted(path.name for path in _NETNS_FOLDER.glob("salam-lab-*"))


def _remove(name: str) -> None:
    """End the processes in a namespace, then the namespace itself."""
    if not (_NETNS_FOLDER / name).exists():
        return

    def nobody_left() -> bool:
        listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
        pids = [int(word) for word in listed.stdout.split()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return all(_is_dead(pid) for pid in pids)

    try:
        _until(nobody_left, f"the processes in {name} end", timeout_s=_DEAD_WITHIN_S)
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _is_dead(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _run(*words: str, stdin: str = "") -> str:
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, words, done.stdout, done.stderr or done.stdout)
    return done.stdout


def _until(condition: Callable[[], bool], what: str, *, timeout_s: float = _UP_WITHIN_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"never came true: {what}")
        time.sleep(0.05)
