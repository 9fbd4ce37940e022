"""The signaling core under simulated time: rooms, resume, moderation, streams, limits. No sockets, no waiting."""

from __future__ import annotations

import pytest

from salam import LimitError, RequestError
from signaling import CloseCode, Limits, MessageError, Rate
from signaling.effects import (
    AddParticipant,
    CloseRoom,
    MediaCall,
    OpenRoom,
    Publish,
    SetMuted,
)
from signaling.media import MediaQuality, SubscriptionOffer
from signaling.messages import (
    Chat,
    ChatEvent,
    Drain,
    Error,
    Hello,
    Join,
    Joined,
    LayerChanged,
    Leave,
    Moderate,
    Mute,
    MuteRequested,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantUpdated,
    Ping,
    Pong,
    PublishedTrack,
    PublishOffer,
    Quality,
    RaiseHand,
    React,
    Reaction,
    Removed,
    RestartIce,
    Speakers,
    StreamChanged,
    StreamState,
    SubscribeAnswer,
    SubscribeOffer,
    Unwatch,
    Watch,
    Watching,
)
from tests.signaling.world import WALL, World


def test_people_come_and_go() -> None:
    world = World()
    ada = world.joined("Ada")
    bob = world.client()
    joined = bob.join("lobby", "Bob")
    assert [other.name for other in joined.participants] == ["Ada"]
    (event,) = ada.take()
    assert isinstance(event, ParticipantJoined)
    assert event.participant.participant_id == bob.participant_id
    bob.done(Leave(id=bob.id))
    assert ada.take() == [ParticipantLeft(participant_id=bob.participant_id, reason="left")]
    assert bob.refused(Leave(id=bob.id)) == "not_joined"
    ada.done(Leave(id=ada.id))
    assert world.media[0] == OpenRoom("lobby")
    assert world.media[-1] == CloseRoom("lobby")
    assert world.hub.rooms() == []


def test_the_first_message_must_be_hello_and_come_in_time() -> None:
    world = World()
    early = world.hub.connect(world.now)
    world.inboxes[early] = []
    world.hub.receive(early, Ping(id=1), now=world.now, wall=WALL)
    world.settle()
    assert world.closed[early] is CloseCode.POLICY
    assert [message.code for message in world.inboxes[early] if isinstance(message, Error)] == ["hello_first"]
    late = world.hub.connect(world.now)
    world.advance(9.9)
    assert late not in world.closed
    world.advance(0.2)
    assert world.closed[late] is CloseCode.HELLO_TIMEOUT
    assert world.hub.stats().connections == 0


def test_without_a_token_nobody_enters_a_server_in_production() -> None:
    world = World(dev=False)
    for token, code in [("", "token_missing"), ("nonsense", "token_malformed")]:
        connection_id = world.hub.connect(world.now)
        inbox = world.inboxes[connection_id] = []
        world.hub.receive(connection_id, Hello(id=1, token=token), now=world.now, wall=WALL)
        world.settle()
        assert isinstance(inbox[0], Error)
        assert inbox[0].code == code
        assert world.closed[connection_id] is CloseCode.POLICY
    assert world.drops == ["auth", "auth"]


def test_grants_bound_what_a_client_may_do() -> None:
    world = World(dev=False)
    guest = world.client(world.token("guest", publish=False, subscribe=False, room="lobby"))
    assert guest.refused(Join(id=guest.id, room="other", name="G")) == "grant_missing"
    assert guest.join("lobby", "G").can_publish is False
    assert guest.refused(PublishOffer(id=guest.id, sdp="x", tracks=[])) == "grant_missing"
    assert guest.refused(SubscribeAnswer(id=guest.id, revision=1, sdp="x")) == "grant_missing"
    world.hub.calls.subscription_offered("lobby", guest.participant_id, SubscriptionOffer(1, "offer", ()))
    world.settle()
    assert guest.take() == []


def test_the_same_identity_replaces_its_older_self_and_nobody_else() -> None:
    world = World()
    watcher = world.joined("Watcher")
    old = world.joined("Ada", token=world.token("ada"))
    watcher.take()
    new = world.joined("Ada", token=world.token("ada"))
    assert old.take()[-1] == Removed(reason="replaced")
    assert old.refused(Leave(id=old.id)) == "not_joined"
    left, joined = watcher.take()
    assert left == ParticipantLeft(participant_id=old.participant_id, reason="removed")
    assert isinstance(joined, ParticipantJoined)
    assert joined.participant.participant_id == new.participant_id != old.participant_id
    world.joined("Ada")
    world.joined("Ada")
    assert world.hub.rooms()[0].participants == 4, "anonymous people of one name are different people"


def test_moderators() -> None:
    world = World()
    boss, bob = world.joined("Boss"), world.joined("Bob")
    track_id = bob.publish("0").track_ids["0"]
    bob.done(RaiseHand(id=bob.id, raised=True))
    boss.take(), bob.take()
    mute = {"participant_id": bob.participant_id, "track_id": track_id}
    assert bob.refused(Moderate(id=bob.id, action="remove", participant_id=boss.participant_id)) == "grant_missing"
    boss.done(Moderate(id=boss.id, action="mute", **mute))
    requested, update = bob.take()
    assert requested == MuteRequested(track_id=track_id, by="Boss")
    assert isinstance(update, ParticipantUpdated)
    assert (update.participant.tracks[0].muted, update.participant.tracks[0].muted_by_moderator) == (True, True)
    bob.done(Mute(id=bob.id, track_id=track_id, muted=False))
    update = boss.take()[-1]
    assert isinstance(update, ParticipantUpdated)
    assert (update.participant.tracks[0].muted, update.participant.tracks[0].muted_by_moderator) == (False, False)
    boss.done(Moderate(id=boss.id, action="lower_hand", participant_id=bob.participant_id))
    update = bob.take()[-1]
    assert isinstance(update, ParticipantUpdated)
    assert update.participant.hand_raised is False
    assert boss.refused(Moderate(id=boss.id, action="mute", participant_id=bob.participant_id)) == "unknown_track"
    assert boss.refused(Moderate(id=boss.id, action="remove", participant_id=boss.participant_id)) == "bad_target"
    assert boss.refused(Moderate(id=boss.id, action="remove", participant_id="nobody")) == "unknown_participant"
    boss.done(Moderate(id=boss.id, action="remove", participant_id=bob.participant_id))
    assert bob.take()[-1] == Removed(reason="moderator")
    assert boss.take()[-1] == ParticipantLeft(participant_id=bob.participant_id, reason="removed")


def test_whom_a_moderator_removed_stays_out_for_a_while() -> None:
    world = World(Limits(removal_s=20.0, removals_remembered=2))
    boss = world.joined("Boss", token=world.token("boss", moderate=True))
    eve = world.joined("Eve", token=world.token("eve"))
    boss.done(Moderate(id=boss.id, action="remove", participant_id=eve.participant_id))
    assert eve.refused(Join(id=eve.id, room="lobby", name="Eve")) == "removed_by_moderator"
    again = world.client(world.token("eve"))
    assert again.refused(Join(id=again.id, room="lobby", name="Eve")) == "removed_by_moderator", "with another session neither"
    eve.join("elsewhere", "Eve")
    world.joined("Ada", token=world.token("ada"))
    world.advance(19.0)
    assert again.refused(Join(id=again.id, room="lobby", name="Eve")) == "removed_by_moderator"
    world.advance(1.0)
    again.join("lobby", "Eve")
    first = again
    for name in ("x", "y", "eve"):
        boss.done(Moderate(id=boss.id, action="remove", participant_id=first.participant_id))
        first = world.client(world.token(name))
        if name != "eve":
            first.join("lobby", name)
    first.join("lobby", "Eve")


def test_in_development_a_room_never_stays_without_a_moderator() -> None:
    world = World()
    ada, bob = world.joined("Ada"), world.joined("Bob")
    bob.take()
    ada.done(Leave(id=ada.id))
    _, update = bob.take()
    assert isinstance(update, ParticipantUpdated)
    assert update.participant.moderator
    world = World(dev=False)
    ada, boss = world.joined("Ada", token=world.token("ada")), world.joined("Boss", token=world.token("boss", moderate=True))
    assert ada.refused(Moderate(id=ada.id, action="remove", participant_id=boss.participant_id)) == "grant_missing"
    boss.done(Moderate(id=boss.id, action="remove", participant_id=ada.participant_id))


def test_the_next_in_a_room_looks_after_it_when_its_opener_never_arrives() -> None:
    world = World()
    world.hold = True
    ada, bob = world.client(), world.client()
    ada.send(Join(id=900_000, room="lobby", name="Ada"))
    bob.send(Join(id=900_001, room="lobby", name="Bob"))
    ada.vanish(on_purpose=True)
    world.release()
    (joined,) = bob.take()
    assert isinstance(joined, Joined)
    assert joined.moderator


def test_a_reloaded_page_says_itself_what_is_muted() -> None:
    world = World()
    ada, bob = world.joined("Ada"), world.joined("Bob")
    ada.publish("0", muted=True)
    # The media server makes new tracks for a new peer connection.
    world.track_prefix = "reloaded-"
    track_id = ada.publish("0").track_ids["0"]
    update = bob.take()[-1]
    assert isinstance(update, ParticipantUpdated)
    assert [(track.track_id, track.muted) for track in update.participant.tracks] == [(track_id, False)]
    last = [call.request for call in world.media if isinstance(call, MediaCall)][-1]
    assert last == SetMuted(track_id, False)


def test_tracks_keep_their_silence_through_a_renegotiation() -> None:
    world = World()
    ada, bob = world.joined("Ada"), world.joined("Bob")
    first = ada.publish("0", muted=True).track_ids["0"]
    ada.publish("0", "1")
    update = bob.take()[-1]
    assert isinstance(update, ParticipantUpdated)
    assert {track.track_id: track.muted for track in update.participant.tracks} == {first: True, f"{ada.participant_id}-1": False}
    last_publish = [call.request for call in world.media if isinstance(call, MediaCall) and isinstance(call.request, Publish)][-1]
    assert [track.muted for track in last_publish.tracks] == [True, False]
    assert ada.refused(Mute(id=ada.id, track_id="nope", muted=True)) == "unknown_track"
    double = [PublishedTrack(mid="0", source="camera"), PublishedTrack(mid="0", source="screen")]
    assert ada.refused(PublishOffer(id=ada.id, sdp="x", tracks=double)) == "bad_tracks"


def test_what_the_media_server_refuses_changes_nothing() -> None:
    world = World()
    ada, bob = world.joined("Ada"), world.joined("Bob")
    track_id = ada.publish("0").track_ids["0"]
    bob.take()
    world.refuse = RequestError("no", code="media_says_no", retryable=True)
    assert ada.refused(Mute(id=ada.id, track_id=track_id, muted=True)) == "media_says_no"
    assert ada.refused(PublishOffer(id=ada.id, sdp="x", tracks=[])) == "media_says_no"
    late = world.client()
    assert late.refused(Join(id=late.id, room="lobby", name="Late")) == "media_says_no"
    assert late.refused(Join(id=late.id, room="new", name="Late")) == "media_says_no"
    assert world.media[-1] == CloseRoom("new")
    assert bob.take() == []
    world.refuse = None
    assert [len(other.tracks) for other in late.join("lobby", "Late").participants] == [1, 0]


def test_nobody_sees_a_participant_before_the_media_server_is_ready() -> None:
    world = World()
    ada = world.joined("Ada")
    world.hold = True
    bob = world.client()
    bob.send(Join(id=900_000, room="lobby", name="Bob"))
    assert ada.take() == bob.take() == []
    assert bob.refused(RaiseHand(id=bob.id, raised=True)) == "not_joined"
    assert bob.refused(Join(id=bob.id, room="lobby", name="Bob")) == "already_joined"
    call = world.held[0]
    assert call.request == AddParticipant()
    world.hub.calls.subscription_offered("lobby", call.participant_id, SubscriptionOffer(1, "offer", ()))
    world.release()
    assert [type(message) for message in bob.take()] == [Joined, SubscribeOffer], "an early offer waits for the reply"
    world.hold = True
    carl = world.client()
    carl.send(Join(id=900_001, room="lobby", name="Carl"))
    carl.vanish()
    ada.take()
    world.release()
    assert ada.take() == []
    assert world.hub.rooms()[0].participants == 2


def test_a_moderators_call_on_somebody_who_left_is_answered() -> None:
    world = World()
    boss, bob = world.joined("Boss"), world.joined("Bob")
    track_id = bob.publish("0").track_ids["0"]
    world.hold = True
    boss.send(Moderate(id=900_000, action="mute", participant_id=bob.participant_id, track_id=track_id))
    assert isinstance(world.held[0].request, SetMuted)
    bob.vanish(on_purpose=True)
    boss.take()
    world.release()
    (reply,) = boss.take()
    assert isinstance(reply, Error)
    assert (reply.re, reply.code) == (900_000, "unknown_participant")


def test_chat_is_kept_for_newcomers_and_a_retry_is_shown_once() -> None:
    world = World(Limits(chat_history=3, chat=Rate(1.0, 50)))
    ada, bob = world.joined("Ada"), world.joined("Bob")
    ada.take(), bob.take()
    for number in [0, 1, 2, 2, 3, 3]:
        ada.done(Chat(id=ada.id, chat_id=f"c{number}", text=f"line {number}"))
    bob.done(Chat(id=bob.id, chat_id="c3", text="mine"))
    texts = [message.line.text for message in bob.take() if isinstance(message, ChatEvent)]
    assert texts == ["line 0", "line 1", "line 2", "line 3", "mine"]
    late = world.client()
    assert [line.text for line in late.join("lobby", "Late").chat] == ["line 2", "line 3", "mine"]


def test_rates_are_limited_and_floods_end() -> None:
    world = World(Limits(messages=Rate(1.0, 20), chat=Rate(1.0, 2), reactions=Rate(1.0, 1), refused_messages=5))
    ada = world.joined("Ada")
    for number in range(2):
        ada.done(Chat(id=ada.id, chat_id=str(number), text="x"))
    assert ada.refused(Chat(id=ada.id, chat_id="3", text="x")) == "rate_limited"
    world.advance(1.0)
    ada.done(Chat(id=ada.id, chat_id="4", text="x"))
    assert isinstance(ada.ask(Watch(id=ada.id, stream="s")), Watching)
    ada.done(React(id=ada.id, stream="s", emoji="👏"))
    assert ada.refused(React(id=ada.id, stream="s", emoji="👏")) == "rate_limited"
    while isinstance(ada.ask(Ping(id=ada.id)), Pong):
        pass
    assert ada.connection_id not in world.closed
    for _ in range(5):
        ada.send(Ping(id=ada.id))
    assert world.closed[ada.connection_id] is CloseCode.POLICY
    assert world.drops.count("rate_limited") > 5


def test_unreadable_messages_are_answered_and_end_the_connection_when_many() -> None:
    world = World()
    ada, bob = world.joined("Ada"), world.joined("Bob")
    for number in range(10):
        assert ada.connection_id not in world.closed
        world.hub.malformed(ada.connection_id, MessageError("bad", request_id=number), world.now)
        world.settle()
    assert world.closed[ada.connection_id] is CloseCode.POLICY
    assert [message.re for message in ada.inbox if isinstance(message, Error)] == list(range(10))
    bob.done(RaiseHand(id=bob.id, raised=True))


def test_unreadable_messages_among_others_are_borne() -> None:
    world = World()
    ada = world.client()
    for number in range(30):
        world.hub.malformed(ada.connection_id, MessageError("bad", request_id=1_000_000 + number), world.now)
        assert isinstance(ada.ask(Ping(id=ada.id)), Pong)
    assert ada.connection_id not in world.closed


def test_only_what_the_server_asked_for_is_negotiated_without_a_bound() -> None:
    world = World(Limits(negotiations=Rate(1.0, 3)))
    ada = world.joined("Ada")
    for revision in range(1, 20):
        world.hub.calls.subscription_offered("lobby", ada.participant_id, SubscriptionOffer(revision, "offer", ()))
        ada.done(SubscribeAnswer(id=ada.id, revision=revision, sdp="answer"))
    ada.publish("0")
    ada.done(SubscribeAnswer(id=ada.id, revision=19, sdp="the same again"))
    ada.done(RestartIce(id=ada.id))
    made = len(world.media)
    for request in (
        PublishOffer(id=ada.id, sdp="x" * 200_000, tracks=[]),
        SubscribeAnswer(id=ada.id, revision=19, sdp="x"),
        RestartIce(id=ada.id),
    ):
        reply = ada.ask(request)
        assert isinstance(reply, Error)
        assert (reply.code, reply.retryable) == ("rate_limited", True)
        assert reply.message == "too many negotiations; allowed: 3 at once, then 1 a second"
    assert len(world.media) == made, "the media server is spared"
    world.advance(1.0)
    ada.done(RestartIce(id=ada.id))


def test_bounds() -> None:
    world = World(Limits(connections=4, rooms=1, participants_per_room=2, streams=1, watchers_per_stream=1, streams_per_session=1))
    ada, bob, carl = world.joined("Ada"), world.joined("Bob"), world.client()
    assert carl.refused(Join(id=carl.id, room="lobby", name="Carl")) == "room_full"
    assert carl.refused(Join(id=carl.id, room="other", name="Carl")) == "too_many_rooms"
    assert carl.refused(Join(id=carl.id, room="lobby", name=" \t ")) == "bad_name"
    assert carl.refused(Join(id=carl.id, room="lobby", name="a\x1b[2J")) == "bad_name"
    assert isinstance(ada.ask(Watch(id=ada.id, stream="s")), Watching)
    assert bob.refused(Watch(id=bob.id, stream="s")) == "stream_full"
    assert bob.refused(Watch(id=bob.id, stream="t")) == "too_many_streams"
    assert ada.refused(Watch(id=ada.id, stream="t")) == "too_many_streams"
    with pytest.raises(LimitError):
        world.hub.set_stream_state("t", "live")
    world.hub.connect(world.now)
    with pytest.raises(LimitError):
        world.hub.connect(world.now)


def test_a_stream_has_viewers_a_state_and_a_chat() -> None:
    world = World()
    world.hub.set_stream_state("show", "live")
    ada, bob = world.client(), world.client()
    watching = ada.ask(Watch(id=ada.id, stream="show", name="Ada"))
    assert isinstance(watching, Watching)
    assert (watching.state, watching.viewers) == ("live", 1)
    assert isinstance(bob.ask(Watch(id=bob.id, stream="show")), Watching)
    world.advance(1.0)
    assert ada.take() == [StreamChanged(stream="show", state="live", viewers=2)], "one event for all who came in a second"
    ada.done(Chat(id=ada.id, chat_id="1", text="hi", stream="show"))
    bob.done(React(id=bob.id, stream="show", emoji="🎉"))
    line, reaction = bob.take()[-2:]
    assert isinstance(line, ChatEvent)
    assert (line.line.name, line.stream) == ("Ada", "show")
    assert reaction == Reaction(stream="show", emoji="🎉")
    world.hub.set_stream_state("show", "interrupted")
    world.settle()
    assert ada.take()[-1] == StreamChanged(stream="show", state="interrupted", viewers=2)
    bob.vanish()
    back = world.client(resume=bob.welcome.resume)
    (state,) = back.take()
    assert isinstance(state, StreamState)
    assert (state.state, state.viewers, [line.text for line in state.chat]) == ("interrupted", 2, ["hi"])
    back.done(Unwatch(id=back.id, stream="show"))
    assert back.refused(Chat(id=back.id, chat_id="2", text="x", stream="show")) == "not_watching"
    assert back.refused(React(id=back.id, stream="show", emoji="x")) == "not_watching"
    assert world.hub.viewer_count("show") == 1
    ada.vanish(on_purpose=True)
    world.hub.set_stream_state("show", "ended")
    assert world.hub.stats().streams == 0


def test_a_viewer_whose_page_is_closed_is_not_counted() -> None:
    world = World()
    ada, bob = world.client(), world.client()
    for viewer in (ada, bob):
        assert isinstance(viewer.ask(Watch(id=viewer.id, stream="show")), Watching)
    world.advance(1.0)
    ada.take()
    bob.vanish()
    assert world.hub.viewer_count("show") == world.hub.stats().watchers == 1
    world.advance(1.0)
    assert ada.take() == [StreamChanged(stream="show", state="offline", viewers=1)]
    back = world.client(resume=bob.welcome.resume)
    (state,) = back.take()
    assert isinstance(state, StreamState)
    assert state.viewers == 2
    world.advance(1.0)
    assert ada.take() == [StreamChanged(stream="show", state="offline", viewers=2)]
    back.vanish()
    world.advance(31.0)
    assert world.hub.viewer_count("show") == 1
    ada.vanish()
    world.advance(31.0)
    assert world.hub.stats().streams == 0


def test_reports_of_the_media_server_reach_the_room() -> None:
    world = World()
    ada, bob = world.joined("Ada"), world.joined("Bob")
    ada.take()
    calls = world.hub.calls
    calls.speakers_changed("lobby", [(bob.participant_id, -20), ("ghost", -10)])
    calls.quality_changed(
        "lobby", [MediaQuality(bob.participant_id, 1, "uplink_loss", 80.0, 7.5), MediaQuality("ghost", 0, "lost", 0, 0)]
    )
    calls.layer_changed("lobby", ada.participant_id, "t", "q")
    calls.media_lost("lobby", ada.participant_id)
    calls.speakers_changed("gone", [])
    calls.quality_changed("gone", [])
    world.settle()
    speakers, quality, layer, lost = ada.take()
    assert isinstance(speakers, Speakers)
    assert [(one.participant_id, one.level_dbov) for one in speakers.speakers] == [(bob.participant_id, -20)]
    assert isinstance(quality, Quality)
    assert [(one.participant_id, one.reason) for one in quality.reports] == [(bob.participant_id, "uplink_loss")]
    assert layer == LayerChanged(track_id="t", rid="q")
    assert isinstance(lost, Quality)
    assert [(one.participant_id, one.score) for one in lost.reports] == [(ada.participant_id, 0)]
    assert [type(message) for message in bob.take()] == [Speakers, Quality]


def test_closing_a_room_sends_everybody_out() -> None:
    world = World()
    ada, bob = world.joined("Ada"), world.joined("Bob")
    ada.take()
    world.hub.close_room("lobby")
    world.settle()
    assert ada.take() == bob.take() == [Removed(reason="room_closed")]
    assert world.hub.rooms() == []
    assert world.media[-1] == CloseRoom("lobby")


def test_draining_spreads_the_return() -> None:
    world = World()
    clients = [world.client() for _ in range(10)]
    world.hub.drain(4.0)
    world.settle()
    delays = [message.retry_after_s for client in clients for message in client.take() if isinstance(message, Drain)]
    assert len(delays) == 10
    assert len(set(delays)) == 10
    assert all(4.0 <= delay <= 8.0 for delay in delays)


def test_closing_ends_everything() -> None:
    world = World()
    ada, lost = world.joined("Ada"), world.joined("Lost")
    assert isinstance(ada.ask(Watch(id=ada.id, stream="s")), Watching)
    lost.vanish()
    world.hub.close(world.now)
    world.settle()
    stats = world.hub.stats()
    assert (stats.connections, stats.sessions, stats.rooms, stats.participants, stats.streams) == (0, 0, 0, 0, 0)
    assert world.closed[ada.connection_id] is CloseCode.GOING_AWAY
    world.advance(1_000.0)
    assert world.hub.next_deadline() is None


def test_a_full_room_of_200() -> None:
    world = World()
    clients = [world.joined(f"P{number}") for number in range(200)]
    assert len(clients[0].take()) == 199
    for client in clients:
        client.vanish(on_purpose=True)
    assert world.hub.stats().sessions == 0
    assert world.hub.next_deadline() is None
