"""TCP connections through the relay (RFC 6062): the control side, and the binding of data connections."""

import pytest

from salam import SalamError
from tests.support.turn_server import StrictTurnServer
from tests.support.turn_world import CLIENT, CREDENTIALS, PEER, TurnWorld
from turn_client.config import AllocationConfig
from turn_client.credentials import PasswordAlgorithm
from turn_client.errors import BadPeer, NotAllocated, PeerRefused, ServerRefused, TransactionTimeout, TransportFailed
from turn_client.events import ConnectionAttempt, ConnectionFailed, ConnectionReady, PeerReady
from turn_client.stun import Attribute, MessageClass, Method, build_message, encode_error_code, parse_message
from turn_client.tcp_relay import BinderState, ConnectionBinder

CONFIG = AllocationConfig(CREDENTIALS, reliable=True, tcp_relay=True)


class TestControl:
    def test_connect(self) -> None:
        world = TurnWorld(CONFIG).start()
        world.allocation.connect(PEER, world.now)
        world.allocation.connect(PEER, world.now)
        world.run(1)
        assert world.of(ConnectionReady) == [ConnectionReady(PEER, 1)]
        assert world.server.requests["CONNECT"] == 1

    @pytest.mark.parametrize("code", [403, 446, 447, 500])
    def test_refused(self, code: int) -> None:
        world = TurnWorld(CONFIG, setup=lambda server: server.refused_hosts.update({PEER[0]: code})).start()
        world.allocation.connect(PEER, world.now)
        world.run(1)
        [failed] = world.of(ConnectionFailed)
        assert isinstance(failed, ConnectionFailed)
        assert isinstance(failed.error, PeerRefused)
        assert (failed.error.peer, failed.error.error_code) == (PEER, code)

    def test_no_answer(self) -> None:
        world = TurnWorld(CONFIG).start()
        world.server.silent = True
        world.allocation.connect(PEER, world.now)
        world.run(40)
        [failed] = world.of(ConnectionFailed)
        assert isinstance(failed, ConnectionFailed)
        assert isinstance(failed.error, TransactionTimeout)

    def test_peers_connect_to_us(self) -> None:
        world = TurnWorld(CONFIG).start()
        world.allocation.bind(PEER, world.now)
        world.run(1)
        assert world.of(PeerReady) == [PeerReady(PEER, None)]
        assert world.server.requests["CHANNEL_BIND"] == 0
        world.server.attempt(CLIENT, PEER, world.now)
        world.run(1)
        assert world.of(ConnectionAttempt) == [ConnectionAttempt(PEER, 1)]
        world.run(1000)
        world.server.attempt(CLIENT, PEER, world.now)
        world.run(1)
        assert len(world.of(ConnectionAttempt)) == 2

    def test_the_allocation_ends_under_it(self) -> None:
        world = TurnWorld(CONFIG).start()
        world.allocation.connect(PEER, world.now)
        world.allocation.transport_failed("reset by peer", world.now)
        world.run(0)
        assert len(world.of(ConnectionFailed)) == 1

    def test_misuse(self) -> None:
        world = TurnWorld(CONFIG)
        with pytest.raises(NotAllocated):
            world.allocation.connect(PEER, world.now)
        world.start()
        with pytest.raises(BadPeer):
            world.allocation.connect(("224.0.0.1", 1), world.now)
        with pytest.raises(NotAllocated):
            world.allocation.send(PEER, b"x", world.now)


def answer(request: bytes, code: int = 0, *extra: tuple[int, bytes], key: bytes | None = None) -> bytes:
    message = parse_message(request)
    attributes = list(extra)
    if code:
        attributes.insert(0, (Attribute.ERROR_CODE, encode_error_code(code, "no")))
    message_class = MessageClass.ERROR if code else MessageClass.SUCCESS
    return build_message(message.method, message_class, message.transaction_id, attributes, integrity_key=key)


class TestBinder:
    def binder(self) -> tuple[TurnWorld, ConnectionBinder, bytes, bytes]:
        """A binder that has sent its request, and the key that signs."""

        def setup(server: StrictTurnServer) -> None:
            server.nonce_lifetime_s = 1e9

        world = TurnWorld(CONFIG, setup=setup).start()
        binder = world.allocation.connection_binder(77)
        assert binder.state is BinderState.IDLE
        binder.start(world.now)
        [request] = binder.take_outgoing()
        message = parse_message(request)
        assert message.method == Method.CONNECTION_BIND
        assert message.get(Attribute.CONNECTION_ID) == (77).to_bytes(4, "big")
        return world, binder, request, CREDENTIALS.key("salam.test", PasswordAlgorithm.MD5)

    @pytest.mark.parametrize("step", [1, 7, 1000])
    def test_bound_and_the_rest_is_the_peers(self, step: int) -> None:
        world, binder, request, key = self.binder()
        stream = answer(request, key=key) + b"hello from the peer"
        out = b"".join(binder.receive(stream[at : at + step], world.now) for at in range(0, len(stream), step))
        assert out == b"hello from the peer"
        assert binder.state is BinderState.BOUND
        assert binder.receive(b"more", world.now) == b"more"
        assert binder.deadline == float("inf")

    def test_a_nonce_of_its_own(self) -> None:
        world, binder, request, key = self.binder()
        stale = answer(request, 438, (Attribute.NONCE, b"fresh"), (Attribute.REALM, b"salam.test"))
        assert binder.receive(stale, world.now) == b""
        [again] = binder.take_outgoing()
        assert parse_message(again).get(Attribute.NONCE) == b"fresh"
        assert binder.receive(answer(again, key=key) + b"x", world.now) == b"x"
        # The control connection keeps its own.
        world.allocation.bind(PEER, world.now)
        world.run(1)
        assert world.server.errors[438] == 0

    def test_refused(self) -> None:
        world, binder, request, key = self.binder()
        assert binder.receive(answer(request, 400, key=key) + b"x", world.now) == b""
        assert binder.state is BinderState.FAILED
        assert isinstance(binder.error, ServerRefused)
        assert binder.receive(b"x", world.now) == b""

    @pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x40\0\0\0\x21\x12\xa4\x42" + bytes(12)])
    def test_garbage(self, garbage: bytes) -> None:
        world, binder, _, _ = self.binder()
        assert binder.receive(garbage, world.now) == b""
        assert binder.state is BinderState.FAILED
        assert isinstance(binder.error, TransportFailed)
        assert isinstance(binder.error, SalamError)

    def test_no_answer(self) -> None:
        world, binder, _, _ = self.binder()
        assert binder.deadline == pytest.approx(world.now + 39.5)
        binder.tick(binder.deadline)
        assert isinstance(binder.error, TransactionTimeout)
