"""The ICE-lite agent under simulated time."""

from __future__ import annotations

import pytest

from sfu.ice import (
    CredentialsRetired,
    IceCredentials,
    IceDrop,
    IceLiteAgent,
    IceState,
    IceStateChanged,
    PathAdded,
    PathRemoved,
    PathSelected,
)
from sfu.paths import NetworkPath, TcpPath
from turn_client import Attribute, MessageClass, Method, StunMessage, build_message, parse_message

FIRST = IceCredentials("firstuf", "first-password-of-24-byte")
SECOND = IceCredentials("secondu", "second-password-of-24-byt")
WIFI: NetworkPath = ("192.0.2.1", 5000)
MOBILE: NetworkPath = ("198.51.100.7", 6000)
TRANSACTION = b"transaction!"


def check(
    credentials: IceCredentials = FIRST,
    *,
    remote: str = "peer",
    use_candidate: bool = False,
    password: str = "",
    extra: tuple[tuple[int, bytes], ...] = (),
) -> StunMessage:
    attributes = [(Attribute.USERNAME, f"{credentials.ufrag}:{remote}".encode()), (Attribute.PRIORITY, bytes(4)), *extra]
    if use_candidate:
        attributes.append((Attribute.USE_CANDIDATE, b""))
    key = (password or credentials.password).encode()
    return parse_message(
        build_message(Method.BINDING, MessageClass.REQUEST, TRANSACTION, attributes, integrity_key=key, fingerprint=True)
    )


def test_a_check_is_answered_with_the_mapped_address() -> None:
    agent = IceLiteAgent(FIRST)
    assert agent.receive(check(), WIFI, 10.0) is None
    ((answer, path),) = agent.take_datagrams()
    assert path == WIFI
    message = parse_message(answer)
    assert message.message_class is MessageClass.SUCCESS
    assert message.transaction_id == TRANSACTION
    assert message.mapped_address == WIFI
    assert message.check_integrity(FIRST.password.encode())
    assert agent.take_events() == [PathAdded(WIFI), PathSelected(WIFI), IceStateChanged(IceState.CONNECTED)]


def test_tcp_paths_report_the_address_of_the_connection() -> None:
    agent = IceLiteAgent(FIRST)
    path = TcpPath(7, ("192.0.2.9", 443))
    agent.receive(check(), path, 0.0)
    ((answer, _),) = agent.take_datagrams()
    assert parse_message(answer).mapped_address == ("192.0.2.9", 443)
    agent.path_closed(path)
    assert agent.state is IceState.DISCONNECTED
    assert agent.selected_path is None


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (check(password="wrong"), IceDrop.NO_INTEGRITY),
        (check(SECOND), IceDrop.WRONG_USERNAME),
        (check(remote="stranger"), IceDrop.WRONG_USERNAME),
        (parse_message(build_message(1, MessageClass.SUCCESS, TRANSACTION)), IceDrop.NOT_A_REQUEST),
        (parse_message(build_message(1, MessageClass.INDICATION, TRANSACTION)), IceDrop.NOT_A_REQUEST),
        (parse_message(build_message(1, MessageClass.REQUEST, TRANSACTION)), IceDrop.WRONG_USERNAME),
        (
            parse_message(build_message(1, MessageClass.REQUEST, TRANSACTION, [(Attribute.USERNAME, b"firstuf:peer")])),
            IceDrop.NO_INTEGRITY,
        ),
        (parse_message(build_message(Method.ALLOCATE, MessageClass.REQUEST, TRANSACTION)), IceDrop.NOT_A_REQUEST),
    ],
)
def test_what_is_not_authentic_gets_no_answer(message: StunMessage, reason: IceDrop) -> None:
    agent = IceLiteAgent(FIRST)
    agent.set_remote_ufrag("peer")
    assert agent.receive(message, WIFI, 0.0) is reason
    assert agent.take_datagrams() == []
    assert agent.take_events() == []


def test_unknown_required_attributes_are_named() -> None:
    agent = IceLiteAgent(FIRST)
    agent.receive(check(extra=((0x7F01, b""),)), WIFI, 0.0)
    ((answer, _),) = agent.take_datagrams()
    message = parse_message(answer)
    assert message.error == (420, "Unknown Attribute")
    assert message.get(Attribute.UNKNOWN_ATTRIBUTES) == b"\x7f\x01"
    assert agent.take_events() == []


def test_nomination_moves_the_path() -> None:
    agent = IceLiteAgent(FIRST)
    agent.receive(check(), WIFI, 0.0)
    agent.receive(check(), MOBILE, 0.1)
    assert agent.selected_path == WIFI
    agent.receive(check(use_candidate=True), MOBILE, 0.2)
    assert agent.selected_path == MOBILE
    agent.receive(check(), WIFI, 0.3)
    assert agent.selected_path == MOBILE


def test_silence_disconnects_and_then_expires() -> None:
    agent = IceLiteAgent(FIRST)
    agent.receive(check(use_candidate=True), WIFI, 100.0)
    agent.take_events()
    assert agent.next_deadline() == 107.0
    agent.handle_timer(107.0)
    assert agent.take_events() == [IceStateChanged(IceState.DISCONNECTED)]
    agent.receive(check(use_candidate=True), WIFI, 110.0)
    assert agent.take_events() == [IceStateChanged(IceState.CONNECTED)]
    agent.handle_timer(117.0)
    assert agent.next_deadline() == 140.0
    agent.handle_timer(140.0)
    assert agent.take_events()[-2:] == [PathRemoved(WIFI), IceStateChanged(IceState.EXPIRED)]
    assert agent.next_deadline() == float("inf")
    agent.receive(check(), MOBILE, 150.0)
    assert agent.state is IceState.CONNECTED


def test_deadlines_always_do_something() -> None:
    agent = IceLiteAgent(FIRST)
    start = 0.1 + 0.2
    agent.receive(check(use_candidate=True), WIFI, start)
    agent.receive(check(), MOBILE, start + 1e-9)
    steps = 0
    while (deadline := agent.next_deadline()) != float("inf"):
        agent.handle_timer(deadline)
        steps += 1
        assert steps < 10
    assert agent.state is IceState.EXPIRED


def test_a_restart_keeps_the_old_path_until_the_new_one_is_nominated() -> None:
    agent = IceLiteAgent(FIRST)
    agent.set_remote_ufrag("peer")
    agent.receive(check(use_candidate=True), WIFI, 0.0)
    agent.restart(SECOND)
    assert agent.credentials == SECOND
    assert agent.local_ufrags == ("firstuf", "secondu")
    agent.set_remote_ufrag("anew")
    assert agent.receive(check(use_candidate=True), WIFI, 2.0) is None
    assert agent.receive(check(SECOND, remote="peer"), MOBILE, 2.1) is IceDrop.WRONG_USERNAME
    assert agent.receive(check(SECOND, remote="anew"), MOBILE, 2.2) is None
    assert agent.selected_path == WIFI
    agent.take_events()
    agent.receive(check(SECOND, remote="anew", use_candidate=True), MOBILE, 2.3)
    assert agent.take_events() == [PathSelected(MOBILE), CredentialsRetired("firstuf")]
    assert agent.receive(check(use_candidate=True), WIFI, 2.4) is IceDrop.WRONG_USERNAME
    assert agent.selected_path == MOBILE


def test_restarts_do_not_pile_up() -> None:
    agent = IceLiteAgent(FIRST)
    for number in range(10):
        agent.restart(IceCredentials(f"ufrag{number}", "x" * 24))
    assert agent.local_ufrags == ("ufrag8", "ufrag9")
    assert len([event for event in agent.take_events() if isinstance(event, CredentialsRetired)]) == 9


def test_paths_are_bounded_and_the_selected_one_stays() -> None:
    agent = IceLiteAgent(FIRST)
    agent.receive(check(use_candidate=True), WIFI, 0.0)
    for port in range(100):
        agent.receive(check(), ("192.0.2.1", 10_000 + port), 1.0 + port)
    events = agent.take_events()
    added = [event for event in events if isinstance(event, PathAdded)]
    removed = [event for event in events if isinstance(event, PathRemoved)]
    assert len(added) - len(removed) == 16
    assert agent.selected_path == WIFI
    assert PathRemoved(WIFI) not in removed


def test_passwords_stay_out_of_reprs() -> None:
    assert FIRST.password not in repr(FIRST)
