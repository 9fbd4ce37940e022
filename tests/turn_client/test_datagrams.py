"""The UDP socket of the TURN client: many datagrams in one call, what the system refuses, and a socket that is full."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator

import pytest

from turn_client.datagrams import DatagramSocket

Datagrams = list[bytes]


class User:
    """Notes everything."""

    def __init__(self) -> None:
        self.received: Datagrams = []
        self.errors: list[OSError] = []
        self.refused: Datagrams = []
        self.wanted = asyncio.Event()
        self.arrived = asyncio.Event()

    def datagram_received(self, data: bytes) -> None:
        self.received.append(data)
        self.arrived.set()

    def datagram_error(self, error: OSError) -> None:
        self.errors.append(error)
        self.arrived.set()

    def datagrams_refused(self, datagrams: Datagrams) -> None:
        self.refused += datagrams

    def datagrams_wanted(self) -> None:
        self.wanted.set()


class Spy(socket.socket):
    """A real socket that notes how it was asked to send, and may refuse as a system does."""

    calls: list[int]
    refuse: Callable[[int], OSError | None]

    def sendmsg(self, buffers, ancdata=(), flags=0, address=None):  # type: ignore[no-untyped-def]
        parts = list(buffers)
        self._count(len(parts))
        return super().sendmsg(parts, ancdata)

    def send(self, data, flags=0):  # type: ignore[no-untyped-def]
        self._count(1)
        return super().send(data)

    def _count(self, datagrams: int) -> None:
        error = self.refuse(datagrams)
        if error is not None:
            raise error
        self.calls.append(datagrams)


@pytest.fixture
def far() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.setblocking(False)
        made.bind(("127.0.0.1", 0))
        yield made


def near(far: socket.socket, refuse: Callable[[int], OSError | None] = lambda _: None) -> Spy:
    spy = Spy(socket.AF_INET, socket.SOCK_DGRAM)
    spy.calls, spy.refuse = [], refuse
    spy.setblocking(False)
    spy.connect(far.getsockname())
    return spy


async def arriving(far: socket.socket, count: int) -> Datagrams:
    loop = asyncio.get_running_loop()
    return [await asyncio.wait_for(loop.sock_recv(far, 65_536), 10) for _ in range(count)]


@pytest.mark.parametrize(
    ("lengths", "calls"),
    [
        ([100], [1]),
        ([100] * 5, [5]),
        ([1200] * 3 + [700, 1200], [4, 1]),
        ([100, 200, 200, 50, 50], [1, 3, 1]),
        ([100] * 70, [64, 6]),
        # More than fits the link in one piece goes by itself, and so does what is empty.
        ([1401, 1401, 0, 0], [1, 1, 1, 1]),
    ],
)
async def test_what_one_turn_sends_goes_out_in_order(far: socket.socket, lengths: list[int], calls: list[int]) -> None:
    spy, user = near(far), User()
    sender = DatagramSocket(spy, user)
    sent = [bytes([number % 256]) * length for number, length in enumerate(lengths)]
    for datagram in sent:
        sender.send(datagram)
    assert await arriving(far, len(sent)) == sent
    assert spy.calls == calls
    sender.close()
    assert not user.errors
    assert not user.refused


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EIO])
async def test_a_system_that_cannot_cut_gets_them_one_by_one(far: socket.socket, code: int) -> None:
    spy, user = near(far, lambda datagrams: OSError(code, "") if datagrams > 1 else None), User()
    sender = DatagramSocket(spy, user)
    for _ in range(2):
        for number in range(3):
            sender.send(bytes([number]) * 10)
        assert await arriving(far, 3) == [bytes([number]) * 10 for number in range(3)]
    assert spy.calls == [1] * 6
    sender.close()
    assert not user.errors


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOBUFS])
async def test_what_a_full_socket_refuses_comes_back(far: socket.socket, code: int) -> None:
    full = [False, False]
    spy, user = near(far, lambda _: OSError(code, "") if full[0] else None), User()
    sender = DatagramSocket(spy, user)
    sent = [b"a" * 10, b"b" * 10, b"c" * 20]
    full[0] = True
    for datagram in sent:
        sender.send(datagram)
    sender.flush()
    assert user.refused == sent
    sender.send_now(b"lost")
    full[0] = False
    await asyncio.wait_for(user.wanted.wait(), 10)
    for datagram in user.refused:
        sender.send(datagram)
    assert await arriving(far, 3) == sent
    sender.close()
    assert not user.errors


async def test_many_wait_and_come_in_order(far: socket.socket) -> None:
    user = User()
    receiver = DatagramSocket(near(far), user)
    sent = [bytes([number]) * number for number in range(80)]
    for datagram in sent:
        far.sendto(datagram, receiver.local_address)
    while len(user.received) < len(sent):
        user.arrived.clear()
        await asyncio.wait_for(user.arrived.wait(), 10)
    assert user.received == sent
    receiver.close()


async def test_icmp_is_told_and_the_socket_goes_on() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()
    user = User()
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    plain.setblocking(False)
    plain.connect(nobody)
    sender = DatagramSocket(plain, user)
    sender.send(b"is anybody there")
    await asyncio.wait_for(user.arrived.wait(), 10)
    assert isinstance(user.errors[0], ConnectionRefusedError)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(nobody)
        opened.setblocking(False)
        sender.send(b"and now")
        assert await arriving(opened, 1) == [b"and now"]
    sender.close()


async def test_closing_sends_what_is_left_and_may_be_repeated(far: socket.socket) -> None:
    user = User()
    sender = DatagramSocket(near(far), user)
    sender.send(b"last")
    sender.close()
    sender.close()
    assert await arriving(far, 1) == [b"last"]
    sender.send(b"too late")
    sender.send_now(b"too late")
    await asyncio.sleep(0)
    with pytest.raises(BlockingIOError):
        far.recv(100)
