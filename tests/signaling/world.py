"""A signaling core under simulated time, with clients that are connections and a media server that obeys."""

from __future__ import annotations

from collections.abc import Iterator

from salam import RequestError
from signaling import CloseCode, Grants, Hub, IceServerSource, Limits, TokenIssuer
from signaling.effects import (
    Close,
    CloseRoom,
    MediaCall,
    OpenRoom,
    PingPeer,
    Publish,
    RemoveParticipant,
    Send,
)
from signaling.media import MediaTrack, PublishResult
from signaling.messages import (
    Done,
    Error,
    Hello,
    IceServer,
    Join,
    Joined,
    PublishAnswer,
    PublishedTrack,
    PublishOffer,
    Request,
    ServerMessage,
    Welcome,
)

SECRET = "a secret that is at least 32 bytes long"
WALL = 1_700_000_000.0
_START = 100.0


class World:
    """A hub with simulated time, whose media server does at once what it is asked unless told to hold."""

    def __init__(self, limits: Limits | None = None, *, dev: bool = True, ice_source: IceServerSource | None = None) -> None:
        self.now = _START
        self.issuer = TokenIssuer(SECRET)
        self.drops: list[str] = []
        counter = iter(range(1_000_000))
        self.hub = Hub(
            issuer=self.issuer,
            dev=dev,
            limits=limits or Limits(),
            new_id=lambda size: f"id{next(counter)}",
            ice_servers=[IceServer(urls=["stun:stun.example"])],
            ice_source=ice_source,
            on_drop=self.drops.append,
        )
        self.inboxes: dict[int, list[ServerMessage]] = {}
        self.closed: dict[int, CloseCode] = {}
        self.media: list[object] = []
        self.held: list[MediaCall] = []
        self.hold = False
        self.track_prefix = ""
        self.refuse: RequestError | None = None
        self._ids: Iterator[int] = iter(range(1, 1_000_000))

    @property
    def wall(self) -> float:
        """Unix seconds: `WALL` at the start."""
        return WALL + self.now - _START

    def settle(self) -> None:
        while effects := self.hub.take_effects():
            for effect in effects:
                match effect:
                    case Send():
                        for connection_id in effect.connection_ids:
                            assert connection_id not in self.closed, "nothing is sent after a close"
                            self.inboxes[connection_id].append(effect.message)
                    case Close():
                        self.closed[effect.connection_id] = effect.code
                    case MediaCall():
                        self.media.append(effect)
                        if self.hold:
                            self.held.append(effect)
                        else:
                            self.answer(effect)
                    case OpenRoom() | CloseRoom() | PingPeer():
                        self.media.append(effect)

    def answer(self, call: MediaCall) -> None:
        if self.refuse is not None and not isinstance(call.request, RemoveParticipant):
            self.hub.media_failed(call, self.refuse)
            return
        result = None
        if isinstance(call.request, Publish):
            tracks = tuple(
                MediaTrack(
                    f"{self.track_prefix}{call.participant_id}-{track.mid}",
                    call.participant_id,
                    track.mid,
                    "video",
                    track.source,
                    ("q", "f"),
                )
                for track in call.request.tracks
            )
            result = PublishResult("answer", tracks)
        self.hub.media_done(call, result)

    def release(self) -> None:
        self.hold = False
        held, self.held = self.held, []
        for call in held:
            self.answer(call)
        self.settle()

    def advance(self, delta_s: float) -> None:
        target = self.now + delta_s
        while (deadline := self.hub.next_deadline()) is not None and deadline.at <= target:
            self.now = deadline.at
            self.hub.tick(self.now, self.wall)
            self.settle()
        self.now = target

    def next_id(self) -> int:
        return next(self._ids)

    def client(self, token: str = "", resume: str = "") -> Client:
        return Client(self, token, resume)

    def token(self, identity: str, *, room: str = "*", moderate: bool = False, **rights: bool) -> str:
        """``rights``: publish, subscribe, chat; those not named are given."""
        given = {"publish": True, "subscribe": True, "chat": True} | rights
        grants = Grants(
            identity=identity,
            room=room,
            moderate=moderate,
            publish=given["publish"],
            subscribe=given["subscribe"],
            chat=given["chat"],
        )
        return self.issuer.mint(grants, ttl_s=3_600, now_wall=WALL)

    def joined(self, name: str, room: str = "lobby", token: str = "") -> Client:
        client = self.client(token)
        client.join(room, name)
        return client


class Client:
    """One connection of a client, welcome already."""

    def __init__(self, world: World, token: str, resume: str) -> None:
        self.world = world
        self.connection_id = world.hub.connect(world.now)
        self.inbox = world.inboxes.setdefault(self.connection_id, [])
        self.participant_id = ""
        reply = self.ask(Hello(id=world.next_id(), token=token, resume=resume))
        assert isinstance(reply, Welcome), reply
        self.welcome = reply

    def send(self, request: Request) -> None:
        self.world.hub.receive(self.connection_id, request, now=self.world.now, wall=self.world.wall)
        self.world.settle()

    def ask(self, request: Request) -> ServerMessage:
        self.send(request)
        replies = [message for message in self.inbox if getattr(message, "re", None) == request.id]
        assert len(replies) == 1, f"exactly one reply, not {replies}"
        self.inbox.remove(replies[0])
        return replies[0]

    def refused(self, request: Request) -> str:
        reply = self.ask(request)
        assert isinstance(reply, Error), reply
        return reply.code

    def done(self, request: Request) -> None:
        assert isinstance(self.ask(request), Done)

    def join(self, room: str, name: str) -> Joined:
        reply = self.ask(Join(id=self.id, room=room, name=name))
        assert isinstance(reply, Joined), reply
        self.participant_id = reply.participant_id
        return reply

    def publish(self, *mids: str, muted: bool = False) -> PublishAnswer:
        tracks = [PublishedTrack(mid=mid, source="camera", muted=muted) for mid in mids]
        reply = self.ask(PublishOffer(id=self.id, sdp="offer", tracks=tracks))
        assert isinstance(reply, PublishAnswer)
        return reply

    def take(self) -> list[ServerMessage]:
        messages = list(self.inbox)
        self.inbox.clear()
        return messages

    def vanish(self, *, on_purpose: bool = False, going_away: bool = False) -> None:
        hub, now = self.world.hub, self.world.now
        hub.disconnected(self.connection_id, now=now, on_purpose=on_purpose, going_away=going_away)
        self.world.settle()

    @property
    def id(self) -> int:
        return self.world.next_id()
