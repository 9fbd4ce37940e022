"""The laboratory itself: its NATs are what they are called, and nothing of it is left behind."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.nat_lab import Namespace, NatLab, NatMode, refuse_without_lab

PORT = 5000
INNER_PORT = 4000
# Nothing in the laboratory takes longer than a moment; what does not come by then is not on its way.
MOMENT_S = 0.5


@pytest.fixture(autouse=True)
def _lab_allowed(need_program: Callable[..., str]) -> None:
    refuse_without_lab(need_program)


@pytest.fixture
def sockets() -> Iterator[Callable[[Namespace, str, int], socket.socket]]:
    """Return a function that opens a UDP socket in a namespace; all are closed after the test."""
    opened: list[socket.socket] = []

    def open_one(namespace: Namespace, host: str, port: int) -> socket.socket:
        made = namespace.open_socket(address=(host, port))
        made.settimeout(MOMENT_S)
        opened.append(made)
        return made

    yield open_one
    for made in opened:
        made.close()


OpenSocket = Callable[[Namespace, str, int], socket.socket]


def heard(receiver: socket.socket) -> tuple[bytes, tuple[str, int]] | None:
    """Return the next datagram and where it came from; None when there is none."""
    try:
        data, address = receiver.recvfrom(2048)
    except TimeoutError:
        return None
    return data, address


@pytest.mark.parametrize(
    ("mode", "maps_alike", "lets_anybody_in"),
    [
        (NatMode.FULL_CONE, True, True),
        (NatMode.PORT_RESTRICTED, True, False),
        (NatMode.SYMMETRIC, False, False),
    ],
)
def test_a_nat_maps_and_filters_as_its_name_says(
    sockets: OpenSocket, mode: NatMode, maps_alike: bool, lets_anybody_in: bool
) -> None:
    with NatLab(mode, NatMode.PORT_RESTRICTED) as lab:
        inner = sockets(lab.a.host, lab.a.address, INNER_PORT)
        servers = [
            sockets(lab.public, lab.public_address, PORT),
            sockets(lab.public, lab.public_address, PORT + 1),
            sockets(lab.public, lab.second_address, PORT),
        ]
        mapped = []
        for server in servers:
            inner.sendto(b"out", server.getsockname())
            seen = heard(server)
            assert seen is not None
            mapped.append(seen[1])
            server.sendto(b"back", seen[1])
            assert heard(inner) == (b"back", server.getsockname())
        assert {host for host, _ in mapped} == {lab.a.public_address}
        assert (len(set(mapped)) == 1) is maps_alike
        if not maps_alike:
            assert len(set(mapped)) == len(servers)
        stranger = sockets(lab.public, lab.second_address, PORT + 1)
        stranger.sendto(b"stranger", mapped[0])
        assert (heard(inner) is not None) is lets_anybody_in


def test_where_udp_is_blocked_only_tcp_gets_through(sockets: OpenSocket) -> None:
    with NatLab(NatMode.UDP_BLOCKED, NatMode.PORT_RESTRICTED) as lab:
        inner = sockets(lab.a.host, lab.a.address, INNER_PORT)
        server = sockets(lab.public, lab.public_address, PORT)
        inner.sendto(b"out", server.getsockname())
        assert heard(server) is None
        with (
            lab.public.open_socket(socket.SOCK_STREAM, (lab.public_address, PORT)) as listener,
            lab.a.host.open_socket(socket.SOCK_STREAM) as client,
        ):
            listener.listen()
            client.settimeout(MOMENT_S * 10)
            client.connect((lab.public_address, PORT))
            assert client.getpeername() == (lab.public_address, PORT)


def test_an_early_packet_does_not_take_the_way_of_the_late_one(sockets: OpenSocket) -> None:
    """Both sides send to one another's mapping, one of them too early: the hole is there for it once the other one has sent."""
    with NatLab(NatMode.PORT_RESTRICTED, NatMode.PORT_RESTRICTED) as lab:
        a = sockets(lab.a.host, lab.a.address, INNER_PORT)
        b = sockets(lab.b.host, lab.b.address, INNER_PORT)
        a.sendto(b"too early", (lab.b.public_address, INNER_PORT))
        assert heard(b) is None
        b.sendto(b"from b", (lab.a.public_address, INNER_PORT))
        assert heard(a) == (b"from b", (lab.b.public_address, INNER_PORT))
        a.sendto(b"from a", (lab.b.public_address, INNER_PORT))
        assert heard(b) == (b"from a", (lab.a.public_address, INNER_PORT))


def test_a_cut_ends_the_direct_path_and_nothing_else(sockets: OpenSocket) -> None:
    with NatLab(NatMode.FULL_CONE, NatMode.FULL_CONE) as lab:
        a = sockets(lab.a.host, lab.a.address, INNER_PORT)
        b = sockets(lab.b.host, lab.b.address, INNER_PORT)
        server = sockets(lab.public, lab.public_address, PORT)
        a.sendto(b"one", (lab.b.public_address, INNER_PORT))
        assert heard(b) is not None
        lab.cut_direct_path()
        a.sendto(b"two", (lab.b.public_address, INNER_PORT))
        assert heard(b) is None
        b.sendto(b"three", (lab.a.public_address, INNER_PORT))
        assert heard(a) is None
        a.sendto(b"four", server.getsockname())
        assert heard(server) == (b"four", (lab.a.public_address, INNER_PORT))


def test_nothing_is_left_after_a_failure() -> None:
    """A process of the laboratory ignores every polite signal, and the test fails: both are gone all the same."""
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(600)"
    lab = NatLab(NatMode.FULL_CONE, NatMode.FULL_CONE)
    names = [part.name for part in (lab.public, lab.a.host, lab.a.nat, lab.b.host, lab.b.nat)]
    processes: list[subprocess.Popen[bytes]] = []

    def fail() -> None:
        with lab:
            assert all(Path("/run/netns", name).exists() for name in names)
            processes.append(subprocess.Popen(lab.a.host.command(sys.executable, "-c", stubborn), stdout=subprocess.PIPE))
            assert processes[0].stdout is not None
            assert processes[0].stdout.readline() == b"here\n"
            raise RuntimeError("the test fails")

    with pytest.raises(RuntimeError, match="the test fails"):
        fail()
    with processes[0] as process:
        assert process.wait() == -signal.SIGKILL
    assert not any(Path("/run/netns", name).exists() for name in names)


def test_what_a_killed_run_left_is_taken_away() -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    pid = int(gone.stdout)
    assert not psutil.pid_exists(pid)
    name = f"salam-lab-{pid}-1-public"
    subprocess.run(["ip", "netns", "add", name], check=True)
    with NatLab(NatMode.FULL_CONE, NatMode.FULL_CONE):
        assert not Path("/run/netns", name).exists()


@pytest.mark.parametrize(("ci", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_without_root_it_says_so(
    need_program: Callable[..., str], monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[Exception]
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(outcome, match="network namespaces need root"):
        refuse_without_lab(need_program)
