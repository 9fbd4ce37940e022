"""ICE servers of those in rooms: handed out on joining, renewed before they expire, in simulated time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from signaling import IceGrant
from signaling.messages import IceServer, IceServersChanged, Join, Joined, Leave, RoomState, ServerMessage
from tests.signaling.world import WALL, Client, World

TTL_S, RENEW_S = 60.0, 45.0


def source(client_id: str, wall: float) -> IceGrant:
    """Credentials that say whose they are and until when they are good."""
    server = IceServer(urls=["turn:turn.example"], username=f"{wall + TTL_S:.0f}:{client_id}", credential="secret")
    return IceGrant((server,), ttl_s=TTL_S, renew_after_s=RENEW_S)


def expiry(servers: list[IceServer]) -> float:
    return float(servers[0].username.partition(":")[0])


def renewals(messages: list[ServerMessage]) -> list[IceServersChanged]:
    return [message for message in messages if isinstance(message, IceServersChanged)]


def test_open_servers_come_with_the_welcome_and_secrets_with_the_room() -> None:
    world = World(ice_source=source)
    client = world.client()
    assert client.welcome.ice_servers == [IceServer(urls=["stun:stun.example"])]
    joined = client.join("lobby", "Ada")
    assert expiry(joined.ice_servers) == WALL + TTL_S
    assert joined.ice_ttl_s == TTL_S
    assert joined.ice_servers[0].username.endswith(f":{client.welcome.session_id}")


def test_without_a_source_the_room_has_what_the_welcome_had_and_nothing_is_renewed() -> None:
    world = World()
    client = world.client()
    joined = client.join("lobby", "Ada")
    assert joined.ice_servers == client.welcome.ice_servers
    assert joined.ice_ttl_s == 0.0
    world.advance(59.0)
    assert renewals(client.take()) == []


def test_a_long_call_always_has_credentials_that_are_good() -> None:
    world = World(ice_source=source)
    client = world.client()
    good_until = expiry(client.join("lobby", "Ada").ice_servers)
    for _ in range(40):
        world.hub.heard(client.connection_id, world.now)
        world.advance(7.0)
        for renewal in renewals(client.take()):
            good_until = expiry(renewal.ice_servers)
            assert renewal.ice_ttl_s == TTL_S
        assert good_until - world.wall >= TTL_S - RENEW_S


def test_coming_back_soon_gives_what_one_has_and_the_renewal_stays() -> None:
    world = World(ice_source=source)
    client = world.client()
    first = client.join("lobby", "Ada")
    world.advance(20.0)
    again = client.join("lobby", "Ada")
    assert again.ice_servers == first.ice_servers
    assert again.ice_ttl_s == TTL_S - 20.0
    client.vanish()
    world.advance(5.0)
    back = world.client(resume=client.welcome.resume)
    assert [told.ice_servers for told in renewals(back.take())] == [first.ice_servers]
    world.advance(RENEW_S - 25.0)
    told = renewals(back.take())
    assert [expiry(message.ice_servers) for message in told] == [WALL + RENEW_S + TTL_S]


def test_who_was_away_when_it_was_due_gets_it_on_coming_back() -> None:
    world = World(ice_source=source)
    client = world.joined("Ada")
    world.advance(40.0)
    client.vanish()
    world.advance(15.0)
    back = world.client(resume=client.welcome.resume)
    assert back.welcome.resumed
    messages = back.take()
    order = [type(message) for message in messages if isinstance(message, RoomState | IceServersChanged)]
    assert order == [RoomState, IceServersChanged]
    assert expiry(renewals(messages)[0].ice_servers) == world.wall + TTL_S
    world.advance(46.0)
    assert len(renewals(back.take())) == 1


def test_who_left_is_told_no_secrets() -> None:
    world = World(ice_source=source)
    client = world.joined("Ada")
    client.done(Leave(id=client.id))
    world.advance(50.0)
    assert renewals(client.take()) == []


def test_a_refused_join_leaves_nothing_to_renew() -> None:
    world = World(ice_source=source)
    client = world.client()
    assert client.refused(Join(id=client.id, room="lobby", name="\n")) == "bad_name"
    world.advance(50.0)
    assert renewals(client.take()) == []


def test_a_slow_entry_ends_with_credentials_that_are_good() -> None:
    world = World(ice_source=source)
    world.hold = True
    client = world.client()
    request = Join(id=client.id, room="lobby", name="Ada")
    client.send(request)
    world.advance(50.0)
    assert client.take() == []
    world.release()
    replies = [message for message in client.take() if isinstance(message, Joined)]
    assert [reply.re for reply in replies] == [request.id]
    assert expiry(replies[0].ice_servers) == WALL + RENEW_S + TTL_S


def test_the_secret_is_in_no_repr() -> None:
    message = IceServersChanged(ice_servers=list(source("ada", WALL).servers), ice_ttl_s=TTL_S)
    assert "turn.example" in repr(message)
    assert "credential='<secret>'" in repr(message)
    assert "'secret'" not in repr(message)


@given(st.lists(st.tuples(st.sampled_from(["wait", "vanish", "resume", "leave", "join"]), st.floats(0.0, 20.0)), max_size=30))
def test_whatever_happens_who_is_in_the_room_holds_good_credentials(steps: list[tuple[str, float]]) -> None:
    world = World(ice_source=source)
    client: Client | None = world.client()
    resume = client.welcome.resume if client else ""
    good_until, inside = 0.0, False
    for action, wait_s in steps:
        if client is not None:
            world.hub.heard(client.connection_id, world.now)
        world.advance(wait_s)
        for renewal in renewals(client.take()) if client is not None else []:
            assert inside
            good_until = expiry(renewal.ice_servers)
        if action == "vanish" and client is not None:
            client.vanish()
            client = None
        elif action == "resume" and client is None:
            client = world.client(resume=resume)
            resume, inside = client.welcome.resume, inside and client.welcome.resumed
        elif action == "leave" and client is not None and inside:
            client.done(Leave(id=client.id))
            inside = False
        elif action == "join" and client is not None:
            good_until, inside = expiry(client.join("lobby", "Ada").ice_servers), True
        for renewal in renewals(client.take()) if client is not None else []:
            assert action == "resume"
            good_until = expiry(renewal.ice_servers)
        if client is not None and inside:
            assert good_until >= world.wall + TTL_S - RENEW_S
