"""How sessions end, are lost, resumed and taken over, under simulated time."""

from __future__ import annotations

from dataclasses import replace

from signaling import CloseCode, Grants, Limits
from signaling.effects import (
    PingPeer,
)
from signaling.media import SubscriptionOffer
from signaling.messages import (
    Chat,
    Hello,
    Join,
    Moderate,
    ParticipantLeft,
    ParticipantUpdated,
    RaiseHand,
    Removed,
    RoomState,
    SubscribeAnswer,
    SubscribeOffer,
    Welcome,
)
from tests.signaling.world import WALL, World


def test_a_silent_peer_is_gone_within_90_seconds() -> None:
    world = World()
    ada, bob = world.joined("Ada"), world.joined("Bob")
    ada.take()
    start = world.now
    gone_at = None
    while gone_at is None and world.now < start + 100:
        world.advance(1.0)
        world.hub.heard(ada.connection_id, world.now)
        if any(isinstance(message, ParticipantLeft) and message.reason == "lost" for message in ada.inbox):
            gone_at = world.now
    assert gone_at is not None
    assert gone_at - start <= 90.0
    assert world.closed == {bob.connection_id: CloseCode.SILENT}
    pings = [effect for effect in world.media if effect == PingPeer(ada.connection_id)]
    assert len(pings) == 3, "a ping every 30 s"


def test_a_lost_client_resumes_as_the_same_participant() -> None:
    world = World()
    ada, bob = world.joined("Ada"), world.joined("Bob")
    ada.publish("0")
    ada.take(), bob.take()
    world.hub.calls.subscription_offered("lobby", bob.participant_id, SubscriptionOffer(3, "offer", ()))
    world.settle()
    bob.vanish()
    (update,) = ada.take()
    assert isinstance(update, ParticipantUpdated)
    assert update.participant.connected is False
    ada.done(Chat(id=ada.id, chat_id="c1", text="are you there?"))
    world.advance(29.0)
    back = world.client(resume=bob.welcome.resume)
    assert back.welcome.resumed
    assert back.welcome.session_id == bob.welcome.session_id
    state, offer = back.take()
    assert isinstance(state, RoomState)
    assert state.participant.participant_id == bob.participant_id
    assert [line.text for line in state.chat] == ["are you there?"]
    assert [len(other.tracks) for other in state.participants] == [1]
    assert isinstance(offer, SubscribeOffer)
    assert offer.revision == 3
    assert back.join("lobby", "Bob").participant_id == bob.participant_id, "joining again answers with the present state"
    back.done(SubscribeAnswer(id=back.id, revision=3, sdp="answer"))
    back.vanish()
    again = world.client(resume=bob.welcome.resume)
    assert [type(message) for message in again.take()] == [RoomState], "an answered offer is not repeated"


def test_a_lost_client_is_gone_after_the_grace() -> None:
    world = World()
    ada, bob = world.joined("Ada"), world.joined("Bob")
    bob.vanish()
    ada.take()
    world.advance(29.9)
    assert ada.take() == []
    world.advance(0.2)
    assert ada.take() == [ParticipantLeft(participant_id=bob.participant_id, reason="lost")]
    assert not world.client(resume=bob.welcome.resume).welcome.resumed
    assert not world.client(resume="id1.wrong").welcome.resumed


def test_a_goodbye_ends_the_session_at_once() -> None:
    world = World()
    ada, bob = world.joined("Ada"), world.joined("Bob")
    ada.take()
    bob.vanish(on_purpose=True)
    assert ada.take() == [ParticipantLeft(participant_id=bob.participant_id, reason="left")]


def test_a_second_connection_takes_the_session_over() -> None:
    world = World()
    ada, bob = world.joined("Ada"), world.joined("Bob")
    ada.take()
    back = world.client(resume=bob.welcome.resume)
    assert back.welcome.resumed
    assert world.closed[bob.connection_id] is CloseCode.RESUMED_ELSEWHERE
    bob.vanish()
    assert all(not isinstance(message, ParticipantLeft) for message in ada.take())
    back.done(RaiseHand(id=back.id, raised=True))


def test_who_was_removed_while_the_connection_was_lost_is_told_on_return() -> None:
    world = World()
    boss, eve = world.joined("Boss"), world.joined("Eve")
    eve.vanish()
    boss.done(Moderate(id=boss.id, action="remove", participant_id=eve.participant_id))
    back = world.client(resume=eve.welcome.resume)
    assert back.take() == [Removed(reason="moderator")]
    assert back.refused(Join(id=back.id, room="lobby", name="Eve")) == "removed_by_moderator"
    back.join("elsewhere", "Eve")
    back.vanish()
    world.hub.close_room("elsewhere")
    back = world.client(resume=eve.welcome.resume)
    assert back.take() == [Removed(reason="room_closed")]
    back.vanish()
    assert world.client(resume=eve.welcome.resume).take() == [], "told once"


def test_a_session_ends_with_its_token() -> None:
    world = World()
    ada = world.joined("Ada", token=world.token("ada"))
    lost = world.joined("Lost", token=world.token("lost"))
    bob = world.joined("Bob")
    world.advance(1.0)
    lost.vanish()
    for _ in range(int(3_600 / 30)):
        world.advance(30.0)
        for client in (ada, bob):
            world.hub.heard(client.connection_id, world.now)
    assert ada.connection_id not in world.closed
    bob.take()
    world.advance(5.0)
    assert world.closed[ada.connection_id] is CloseCode.TOKEN_EXPIRED
    assert bob.take() == [ParticipantLeft(participant_id=ada.participant_id, reason="closed")]
    assert not world.client(resume=ada.welcome.resume).welcome.resumed
    assert bob.connection_id not in world.closed, "without a token there is nothing to expire"
    assert world.drops == ["token_expired"]


def test_a_later_token_of_the_same_grants_keeps_the_session() -> None:
    world = World(Limits(silence_timeout_s=1e6))
    ada = world.joined("Ada", token=world.token("ada"))
    world.advance(3_000.0)
    ada.vanish()

    def hello(token: str) -> int:
        connection_id = world.hub.connect(world.now)
        inbox = world.inboxes[connection_id] = []
        world.hub.receive(connection_id, Hello(id=1, token=token, resume=ada.welcome.resume), now=world.now, wall=WALL + 3_000.0)
        world.settle()
        assert isinstance(inbox[0], Welcome)
        assert inbox[0].resumed
        return connection_id

    grants = Grants(identity="ada", room="*", publish=True, subscribe=True)
    hello(world.issuer.mint(grants, ttl_s=3_600, now_wall=WALL + 3_000.0))
    # Neither an earlier token, nor one that grants more, nor nonsense changes anything.
    hello(world.token("ada"))
    hello(world.issuer.mint(replace(grants, moderate=True), ttl_s=9e9, now_wall=WALL))
    last = hello("nonsense")
    world.advance(3_600.0)
    assert last not in world.closed
    world.advance(5.0)
    assert world.closed[last] is CloseCode.TOKEN_EXPIRED


def test_a_page_that_goes_away_is_waited_for_as_long_as_a_reload_takes() -> None:
    world = World()
    ada, bob = world.joined("Ada"), world.joined("Bob")
    bob.vanish(going_away=True)
    world.advance(11.9)
    back = world.client(resume=bob.welcome.resume)
    assert back.welcome.resumed
    ada.take()
    back.vanish(going_away=True)
    ada.take()
    world.advance(12.1)
    assert ada.take() == [ParticipantLeft(participant_id=bob.participant_id, reason="lost")]
