"""Whatever clients do in whatever order, everybody's view of a room, built from what they were told, is the server's view."""

from __future__ import annotations

from typing import Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from salam import ClosedError
from signaling import Hub, Limits, Rate
from signaling.effects import Close, CloseRoom, Effect, MediaCall, OpenRoom, Publish, RemoveParticipant, Send
from signaling.media import MediaTrack, PublishResult
from signaling.messages import (
    Chat,
    ChatEvent,
    Hello,
    Join,
    Joined,
    Leave,
    Moderate,
    Mute,
    ParticipantInfo,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantUpdated,
    PublishedTrack,
    PublishOffer,
    RaiseHand,
    Removed,
    Request,
    RoomState,
    ServerMessage,
    Welcome,
)
from signaling.secure_messages import FetchBundles, PublishKeys, SecureEnvelope, SecureMessage, SecureSent, SendSecure, TakeSecure

ROOMS = ["red", "blue"]
# Small enough for full rooms to happen often.
LIMITS = Limits(participants_per_room=4, removal_s=5.0, messages=Rate(1_000.0, 10_000), chat=Rate(1_000.0, 10_000))


class Viewer:
    """A client that believes what it is told."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.connection_id: int | None = None
        self.resume = ""
        self.me = ""
        self.room = ""
        self.others: dict[str, ParticipantInfo] = {}
        self.own: ParticipantInfo | None = None
        self.chat: list[str] = []
        self.asked = 0
        self.replies = 0
        self.device = 0
        self.letters: dict[int, str] = {}
        """By number; what was taken is not here."""
        self.refused: set[tuple[str, int]] = set()

    def take(self, message: ServerMessage) -> None:
        match message:
            case Welcome():
                self.resume = message.resume
                if not message.resumed:
                    self.forget()
            case Joined():
                self.me = message.participant_id
                self.room = message.room
                self.others = {other.participant_id: other for other in message.participants}
                self.chat = [line.text for line in message.chat]
            case RoomState():
                self.me = message.participant.participant_id
                self.room = message.room
                self.own = message.participant
                self.others = {other.participant_id: other for other in message.participants}
                self.chat = [line.text for line in message.chat]
            case ParticipantJoined(participant=participant):
                assert participant.participant_id not in self.others, "nobody joins twice"
                self.others[participant.participant_id] = participant
            case ParticipantUpdated(participant=participant):
                if participant.participant_id == self.me:
                    self.own = participant
                else:
                    assert participant.participant_id in self.others, "only known people change"
                    self.others[participant.participant_id] = participant
            case ParticipantLeft(participant_id=participant_id):
                del self.others[participant_id]
            case ChatEvent(line=line):
                self.chat.append(line.text)
            case Removed():
                self.forget()
            case SecureMessage(number=number, message=data):
                self.letters[number] = data.decode()
            case SecureSent(refused=refused):
                self.refused = {(each.participant_id, each.device_id) for each in refused}
            case _:
                pass
        if hasattr(message, "re"):
            self.replies += 1

    def forget(self) -> None:
        self.me = ""
        self.own = None
        self.others = {}
        self.chat = []
        self.device = 0
        self.letters = {}


class RoomMachine(RuleBasedStateMachine):
    """Clients that join, leave, publish, mute, chat, moderate, get lost and resume, with a media server that takes its time."""

    def __init__(self) -> None:
        super().__init__()
        counter = iter(range(10_000_000))
        self.now = 0.0
        self.hub = Hub(issuer=None, dev=True, limits=LIMITS, new_id=lambda size: f"id{next(counter)}")
        self.viewers = [Viewer(number) for number in range(6)]
        self.by_connection: dict[int, Viewer] = {}
        self.lines: dict[tuple[str, str], list[MediaCall]] = {}
        self.open_rooms: set[str] = set()
        self.seats: set[tuple[str, str]] = set()
        self.texts = 0
        self.expected: dict[str, list[str]] = {}
        """What was sent to each participant's device and not taken by it, by participant id."""

    # ------------------------------------------------------------------------------------------- the world around

    def settle(self) -> None:
        # What a removal drops at the media server has effects of its own.
        while effects := self.hub.take_effects():
            for effect in effects:
                self.carry_out(effect)

    def carry_out(self, effect: Effect) -> None:
        match effect:
            case Send(connection_ids=connection_ids, message=message):
                for connection_id in connection_ids:
                    self.by_connection[connection_id].take(message)
            case Close(connection_id=connection_id):
                self.gone(connection_id)
            case MediaCall():
                assert effect.room in self.open_rooms
                key = (effect.room, effect.participant_id)
                line = self.lines.setdefault(key, [])
                if isinstance(effect.request, RemoveParticipant):
                    # What the adapter does: whoever leaves waits for nothing more.
                    for call in line[1:]:
                        self.hub.media_failed(call, ClosedError("left"))
                    del line[1:]
                line.append(effect)
            case OpenRoom(room=room):
                assert room not in self.open_rooms
                self.open_rooms.add(room)
            case CloseRoom(room=room):
                self.open_rooms.remove(room)
            case _:
                pass

    def gone(self, connection_id: int) -> None:
        viewer = self.by_connection.pop(connection_id)
        if viewer.connection_id == connection_id:
            viewer.connection_id = None
            viewer.asked = viewer.replies = 0

    def say(self, viewer: Viewer, request: Request) -> None:
        assert viewer.connection_id is not None
        viewer.asked += 1
        self.hub.receive(viewer.connection_id, request, now=self.now, wall=self.now)
        self.settle()

    def answer_one(self, key: tuple[str, str]) -> None:
        call = self.lines[key].pop(0)
        if not self.lines[key]:
            del self.lines[key]
        result = None
        if isinstance(call.request, Publish):
            tracks = tuple(
                MediaTrack(f"{call.participant_id}/{track.mid}", call.participant_id, track.mid, "audio", track.source)
                for track in call.request.tracks
            )
            result = PublishResult("answer", tracks)
        self.hub.media_done(call, result)
        self.settle()

    # ------------------------------------------------------------------------------------------- what clients do

    @initialize()
    def everybody_connects(self) -> None:
        for number in range(len(self.viewers)):
            self.connect(number, True)
        for number in range(3):
            self.join(number, ROOMS[0])
            self.media_is_through()
            self.publish(number, ["0"], False)
        self.media_is_through()

    @rule(number=st.integers(0, 5), resuming=st.booleans())
    def connect(self, number: int, resuming: bool) -> None:
        viewer = self.viewers[number]
        if viewer.connection_id is not None and not viewer.resume:
            return
        connection_id = self.hub.connect(self.now)
        old = viewer.connection_id
        self.by_connection[connection_id] = viewer
        if old is not None:
            if not resuming:
                self.hub.disconnected(old, now=self.now, on_purpose=False)
                self.gone(old)
        viewer.connection_id = connection_id
        viewer.asked = viewer.replies = 0
        self.say(viewer, Hello(id=1, resume=viewer.resume if resuming else ""))

    @rule(number=st.integers(0, 5), on_purpose=st.booleans())
    def disconnect(self, number: int, on_purpose: bool) -> None:
        viewer = self.viewers[number]
        if viewer.connection_id is None:
            return
        connection_id = viewer.connection_id
        self.gone(connection_id)
        self.hub.disconnected(connection_id, now=self.now, on_purpose=on_purpose)
        self.settle()

    @rule(number=st.integers(0, 5))
    def lose_and_resume(self, number: int) -> None:
        self.disconnect(number, False)
        self.connect(number, True)

    @rule(number=st.integers(0, 5), room=st.sampled_from(ROOMS))
    def join(self, number: int, room: str) -> None:
        viewer = self.viewers[number]
        if viewer.connection_id is not None:
            self.say(viewer, Join(id=2, room=room, name=f"Viewer {number}"))

    @rule(number=st.integers(0, 5))
    def leave(self, number: int) -> None:
        viewer = self.viewers[number]
        if viewer.connection_id is not None:
            before = viewer.replies
            self.say(viewer, Leave(id=3))
            # What was under way at the media server fails with it.
            assert viewer.replies > before
            viewer.forget()

    @rule(number=st.integers(0, 5), mids=st.lists(st.sampled_from("012"), unique=True), muted=st.booleans())
    def publish(self, number: int, mids: list[str], muted: bool) -> None:
        viewer = self.viewers[number]
        if viewer.connection_id is not None:
            tracks = [PublishedTrack(mid=mid, source="microphone", muted=muted) for mid in mids]
            self.say(viewer, PublishOffer(id=4, sdp="offer", tracks=tracks))

    @rule(number=st.integers(0, 5), mid=st.sampled_from("012"), muted=st.booleans())
    def mute(self, number: int, mid: str, muted: bool) -> None:
        viewer = self.viewers[number]
        if viewer.connection_id is not None:
            self.say(viewer, Mute(id=5, track_id=f"{viewer.me}/{mid}", muted=muted))

    @rule(number=st.integers(0, 5), raised=st.booleans())
    def raise_hand(self, number: int, raised: bool) -> None:
        viewer = self.viewers[number]
        if viewer.connection_id is not None:
            self.say(viewer, RaiseHand(id=6, raised=raised))

    @rule(number=st.integers(0, 5), repeated=st.booleans())
    def chat(self, number: int, repeated: bool) -> None:
        viewer = self.viewers[number]
        if viewer.connection_id is not None:
            self.texts += 0 if repeated else 1
            self.say(viewer, Chat(id=7, chat_id=f"c{self.texts}", text=f"line {self.texts} of {number}"))

    @rule(number=st.integers(0, 5), device=st.integers(1, 2))
    def publish_keys(self, number: int, device: int) -> None:
        viewer = self.viewers[number]
        if viewer.connection_id is None or not viewer.me:
            return
        if viewer.device != device:
            self.expected[viewer.me] = []
            viewer.letters = {}
        viewer.device = device
        mark = b"%d" % device
        keys = PublishKeys(id=10, device_id=device, certificate=mark, device_list=mark, signed_prekey=mark, one_time_prekeys=[mark])
        self.say(viewer, keys)

    @rule(number=st.integers(0, 5), to=st.integers(0, 5), device=st.integers(1, 2))
    def send_secure(self, number: int, to: int, device: int) -> None:
        viewer, other = self.viewers[number], self.viewers[to]
        if viewer.connection_id is None or not viewer.device or not other.me:
            return
        self.texts += 1
        text = f"letter {self.texts}"
        viewer.refused = set()
        self.say(viewer, FetchBundles(id=11, participant_ids=[other.me]))
        envelope = SecureEnvelope(participant_id=other.me, device_id=device, message=text.encode())
        self.say(viewer, SendSecure(id=12, messages=[envelope]))
        if (other.me, device) not in viewer.refused:
            self.expected.setdefault(other.me, []).append(text)

    @rule(number=st.integers(0, 5))
    def take_secure(self, number: int) -> None:
        viewer = self.viewers[number]
        if viewer.connection_id is None or not viewer.letters:
            return
        taken = min(viewer.letters)
        assert self.expected[viewer.me].pop(0) == viewer.letters.pop(taken)
        self.say(viewer, TakeSecure(id=13, number=taken))

    @rule(
        number=st.integers(0, 5),
        victim=st.integers(0, 5),
        action=st.sampled_from(["mute", "lower_hand", "remove"]),
        mid=st.sampled_from("012"),
    )
    def moderate(self, number: int, victim: int, action: Literal["mute", "lower_hand", "remove"], mid: str) -> None:
        viewer, other = self.viewers[number], self.viewers[victim]
        if viewer.connection_id is None or not other.me:
            return
        self.say(viewer, Moderate(id=8, action=action, participant_id=other.me, track_id=f"{other.me}/{mid}"))

    # ------------------------------------------------------------------------------------------- what happens meanwhile

    @precondition(lambda self: self.lines)
    @rule(data=st.data())
    def media_answers(self, data: st.DataObject) -> None:
        self.answer_one(data.draw(st.sampled_from(sorted(self.lines))))

    @rule()
    def media_is_through(self) -> None:
        while self.lines:
            self.answer_one(next(iter(self.lines)))

    @rule(number=st.integers(0, 5))
    def look_again(self, number: int) -> None:
        """Joining the room that one is in answers with the server's view: it must be what the client made of the events."""
        viewer = self.viewers[number]
        if viewer.connection_id is None or not viewer.me:
            return
        believed = (viewer.me, dict(viewer.others), viewer.chat[-LIMITS.chat_history :])
        replies = viewer.replies
        self.say(viewer, Join(id=9, room=viewer.room, name="again"))
        assert viewer.replies == replies + 1
        assert (viewer.me, viewer.others, viewer.chat) == believed

    @rule(delta_s=st.sampled_from([0.1, 5.0, 31.0]))
    def time_passes(self, delta_s: float) -> None:
        for connection_id in self.by_connection:
            self.hub.heard(connection_id, self.now + delta_s)
        self.now += delta_s
        self.hub.tick(self.now, self.now)
        self.settle()

    # ------------------------------------------------------------------------------------------- what must hold

    @invariant()
    def connected_views_are_the_servers(self) -> None:
        rooms = {summary.room: summary for summary in self.hub.rooms()}
        assert set(rooms) == self.open_rooms
        for viewer in self.viewers:
            if viewer.connection_id is None or not viewer.me:
                continue
            peers = [other for other in self.viewers if other.me in viewer.others and other.connection_id is not None]
            for peer in peers:
                # Two people in one room see each other alike, and everybody else alike.
                assert viewer.me in peer.others
                mine = {key: info for key, info in viewer.others.items() if key != peer.me}
                theirs = {key: info for key, info in peer.others.items() if key != viewer.me}
                assert mine == theirs
                if peer.own is not None:
                    assert viewer.others[peer.me] == peer.own
                assert viewer.chat[-1:] == peer.chat[-1:] or not (viewer.chat and peer.chat)
            assert len(viewer.others) < LIMITS.participants_per_room
            letters = [viewer.letters[key] for key in sorted(viewer.letters)]
            assert letters == self.expected.get(viewer.me, []), "everything for this device is there, in order, and nothing else"
        stats = self.hub.stats()
        assert stats.participants <= stats.sessions
        assert stats.connections == len(self.by_connection)

    def teardown(self) -> None:
        self.media_is_through()
        for number, viewer in enumerate(self.viewers):
            self.look_again(number)
            if viewer.connection_id is not None:
                assert viewer.asked == viewer.replies, "every request has exactly one reply"
        # Everybody is in the room that the server has them in, with the same number of others.
        sizes = sorted(summary.participants for summary in self.hub.rooms() if summary.connected)
        seen = {frozenset([viewer.me, *viewer.others]) for viewer in self.viewers if viewer.connection_id is not None and viewer.me}
        assert sorted(len(people) for people in seen) == sizes
        self.hub.close(self.now)
        self.hub.take_effects()
        assert self.hub.stats().sessions == self.hub.stats().participants == 0
        assert self.hub.next_deadline() is None


TestRoomMachine = RoomMachine.TestCase
TestRoomMachine.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
