"""The real server and the real client over loopback: both encodings, garbage, slow consumers, resume, and nothing left behind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from salam import AuthError, ClosedError, LimitError, Metrics, RequestError, SimulatedClock
from signaling import (
    Codec,
    ConnectionLost,
    Encoding,
    Grants,
    IceGrant,
    Limits,
    MediaListener,
    NoMedia,
    Rate,
    Reconnected,
    SignalingClient,
    SignalingServer,
    TokenIssuer,
)
from signaling.client import ClientEvent
from signaling.media import MediaTrack, OfferedTrack, PublishResult, SubscriptionOffer
from signaling.messages import (
    ChatEvent,
    Drain,
    Hello,
    IceServer,
    IceServersChanged,
    Join,
    Moderate,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantUpdated,
    Ping,
    PublishedTrack,
    Removed,
    Request,
    RoomState,
    Speakers,
    StreamChanged,
    SubscribeOffer,
)

SECRET = "a secret that is at least 32 bytes long"
Eventually = Callable[..., Any]


class MemoryMedia(NoMedia):
    """A media server for negotiation only: it keeps books, offers to everybody who is there, and can be made slow or broken."""

    def __init__(self) -> None:
        self.rooms: dict[str, MediaListener] = {}
        self.people: set[tuple[str, str]] = set()
        self.answers: list[tuple[str, int]] = []
        self.slow: dict[str, asyncio.Event] = {}
        self.broken = False

    async def open_room(self, room: str, listener: MediaListener) -> None:
        assert room not in self.rooms, "a room is opened once"
        self.rooms[room] = listener

    async def close_room(self, room: str) -> None:
        assert not [person for person in self.people if person[0] == room], "a room closes after its people left"
        del self.rooms[room]

    async def add_participant(self, room: str, participant_id: str) -> None:
        assert room in self.rooms
        self.people.add((room, participant_id))

    async def remove_participant(self, room: str, participant_id: str) -> None:
        self.people.discard((room, participant_id))

    async def publish(self, room: str, participant_id: str, sdp: str, tracks: tuple[OfferedTrack, ...]) -> PublishResult:
        if sdp in self.slow:
            await self.slow[sdp].wait()
        if self.broken:
            raise ZeroDivisionError
        made = tuple(
            MediaTrack(f"{participant_id}-{track.mid}", participant_id, track.mid, "video", track.source) for track in tracks
        )
        for other_room, other in self.people:
            if other_room == room and other != participant_id:
                self.rooms[room].on_subscription_offer(other, SubscriptionOffer(1, "server offer", made))
        return PublishResult("answer", made)

    async def subscription_answer(self, room: str, participant_id: str, revision: int, sdp: str) -> None:
        self.answers.append((participant_id, revision))

    async def set_muted(self, room: str, track_id: str, *, muted: bool) -> None:
        return None


class Site:
    """One server on a free port."""

    def __init__(self, server: SignalingServer, media: MemoryMedia, metrics: Metrics, url: str) -> None:
        self.server = server
        self.media = media
        self.metrics = metrics
        self.url = url

    def client(self, **options: Any) -> SignalingClient:
        return SignalingClient.connect(self.url, jitter=lambda: 0.05, **options)


Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    stops: list[Callable[[], Any]] = []

    async def begin(**options: Any) -> Site:
        media, metrics = MemoryMedia(), Metrics()
        defaults: dict[str, Any] = {"issuer": TokenIssuer(SECRET), "dev": True, "media": media, "metrics": metrics}
        server = SignalingServer(**defaults | options)
        await server.start()
        app = web.Application()
        app.router.add_get("/ws", server.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        stops.extend([runner.cleanup, server.close])
        return Site(server, media, metrics, f"http://127.0.0.1:{runner.addresses[0][1]}/ws".replace("http", "ws"))

    yield begin
    while stops:
        await stops.pop()()


async def until(events: AsyncIterator[ClientEvent], kind: type[Any]) -> Any:
    async with asyncio.timeout(60):
        async for event in events:
            if isinstance(event, kind):
                return event
    raise AssertionError(f"no {kind.__name__} came")


@pytest.mark.parametrize("encoding", list(Encoding))
async def test_a_call_in_either_encoding(start: Start, encoding: Encoding) -> None:
    site = await start()
    async with site.client(encoding=encoding) as ada, site.client() as bob:
        await ada.join("lobby", "Ada")
        joined = await bob.join("lobby", "Bob")
        assert [other.name for other in joined.participants] == ["Ada"]
        events = ada.events()
        assert (await until(events, ParticipantJoined)).participant.name == "Bob"
        answer = await bob.publish_offer("offer", [PublishedTrack(mid="0", source="camera")])
        assert answer.sdp == "answer"
        offer = await until(events, SubscribeOffer)
        assert [track.track_id for track in offer.tracks] == [answer.track_ids["0"]]
        await ada.subscribe_answer(offer.revision, "answer")
        assert site.media.answers == [(ada_id(joined), 1)]
        await bob.chat("hello", chat_id="1")
        assert (await until(events, ChatEvent)).line.text == "hello"
        await bob.mute(answer.track_ids["0"])
        assert (await until(events, ParticipantUpdated)) is not None
        with pytest.raises(AuthError) as caught:
            await bob.moderate(Moderate(id=0, action="remove", participant_id=ada_id(joined)))
        assert caught.value.code == "grant_missing"
        await ada.moderate(Moderate(id=0, action="remove", participant_id=joined.participant_id))
        assert (await until(bob.events(), Removed)).reason == "moderator"
        with pytest.raises(RequestError) as refused:
            await bob.leave()
        assert refused.value.code == "not_joined"


def ada_id(joined: Any) -> str:
    return str(joined.participants[0].participant_id)


async def test_a_lost_connection_is_resumed(start: Start) -> None:
    site = await start()
    async with site.client() as ada, site.client(encoding=Encoding.MSGPACK) as bob:
        await ada.join("lobby", "Ada")
        joined = await bob.join("lobby", "Bob")
        events, seen = bob.events(), ada.events()
        bob.lose_connection()
        await until(events, ConnectionLost)
        await ada.chat("missed", chat_id="1")
        assert (await until(events, Reconnected)).resumed
        state = await until(events, RoomState)
        assert state.participant.participant_id == joined.participant_id
        await bob.raise_hand()
        update = await until(seen, ParticipantUpdated)
        while not update.participant.hand_raised:
            update = await until(seen, ParticipantUpdated)
        assert [summary.connected for summary in site.server.rooms()] == [2]


async def test_a_client_enters_again_when_the_server_forgot_it(start: Start) -> None:
    site = await start(limits=Limits(resume_grace_s=0.01))
    async with site.client() as ada:
        first = await ada.join("lobby", "Ada")
        await ada.watch("show")
        events = ada.events()
        ada.lose_connection()
        reconnected = await until(events, Reconnected)
        if not reconnected.resumed:
            state = await until(events, RoomState)
            assert state.participant.participant_id != first.participant_id
        await ada.raise_hand()
        assert site.server.viewer_count("show") == 1


async def test_tokens(start: Start) -> None:
    site = await start(dev=False)
    issuer = TokenIssuer(SECRET)
    with pytest.raises(AuthError) as caught:
        async with site.client():
            pass
    assert caught.value.code == "token_missing"
    token = issuer.mint(Grants(identity="ada", room="lobby"), ttl_s=1e9, now_wall=1.7e9)
    async with site.client(token=token) as old, site.client(token=token) as new:
        await old.join("lobby", "Ada")
        await new.join("lobby", "Ada")
        assert (await until(old.events(), Removed)).reason == "replaced"
        with pytest.raises(AuthError):
            await old.join("other", "Ada")
        with pytest.raises(AuthError):
            await new.publish_offer("offer", [])
    assert site.metrics.dropped("ws", "auth") == 1


async def test_a_client_is_told_that_its_token_expired(start: Start) -> None:
    clock = SimulatedClock()
    site = await start(dev=False, clock=clock)
    token = TokenIssuer(SECRET).mint(Grants(identity="ada", room="lobby"), ttl_s=10.0, now_wall=clock.wall())
    async with site.client(token=token) as ada:
        await ada.join("lobby", "Ada")
        await clock.advance(16.0)
        with pytest.raises(AuthError) as caught:
            await until(ada.events(), Removed)
    assert caught.value.code == "token_expired"
    assert site.server.stats().participants == 0


def short_lived(client_id: str, wall: float) -> IceGrant:
    server = IceServer(urls=["turn:turn.example"], username=f"{wall + 10:.0f}:{client_id}", credential="c")
    return IceGrant((server,), ttl_s=10.0, renew_after_s=7.5)


@pytest.mark.parametrize("encoding", list(Encoding))
async def test_a_client_always_has_ice_servers_that_are_good(start: Start, encoding: Encoding) -> None:
    clock = SimulatedClock()
    stun = IceServer(urls=["stun:stun.example"])
    site = await start(clock=clock, ice_servers=[stun], ice_source=short_lived)
    async with site.client(encoding=encoding, clock=clock) as ada:
        assert (ada.ice_servers, ada.ice_ttl_s) == ([stun], None)
        await ada.join("lobby", "Ada")
        names = {ada.ice_servers[0].username}
        assert ada.ice_ttl_s == 10.0
        events = ada.events()
        for _ in range(3):
            await clock.advance(8.0)
            renewed = await until(events, IceServersChanged)
            assert renewed.ice_servers == ada.ice_servers
            assert ada.ice_ttl_s is not None
            assert ada.ice_ttl_s > 2.5
            names.add(renewed.ice_servers[0].username)
        assert len(names) == 4


async def test_an_unreachable_server_is_reported() -> None:
    with pytest.raises(RequestError) as caught:
        async with SignalingClient.connect("ws://127.0.0.1:9/ws"):
            pass
    assert caught.value.code == "unreachable"
    with pytest.raises(RequestError) as caught:
        async with SignalingClient.connect("gopher://127.0.0.1"):
            pass
    assert caught.value.code == "bad_url"


async def test_other_requests_are_refused(start: Start) -> None:
    site = await start(allowed_origins=["https://friend.example"])
    url = site.url.replace("ws:", "http:")
    async with aiohttp.ClientSession() as http:
        async with http.get(url) as response:
            assert response.status == 400
            text = await response.text()
            assert all(encoding.value in text for encoding in Encoding)
        async with http.get(url, headers={"Sec-WebSocket-Protocol": "salam.v1.json"}) as response:
            assert response.status == 400
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(url, protocols=["chat"])
        assert caught.value.status == 400
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(url, protocols=["salam.v1.json"], origin="https://evil.example")
        assert caught.value.status == 403
        for origin in ("https://friend.example", url.removesuffix("/ws")):
            async with http.ws_connect(url, protocols=["x", "salam.v1.msgpack"], origin=origin) as socket:
                assert socket.protocol == "salam.v1.msgpack"
    assert site.server.stats().connections == 0


def garbage(rng: random.Random) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(rng.randrange(0, 80))
    codec = Codec(rng.choice(list(Encoding)))
    requests: list[Request] = [Hello(id=1), Join(id=2, room="lobby", name="Eve"), Ping(id=3)]
    payload = bytearray(codec.encode(rng.choice(requests)))
    if kind == 1:
        return bytes(payload[: rng.randrange(len(payload))])
    for _ in range(rng.randrange(1, 4)):
        payload[rng.randrange(len(payload))] = rng.randrange(256)
    return bytes(payload)


async def test_garbage_harms_nobody_else(start: Start) -> None:
    site = await start()
    rng = random.Random(11)
    codes: set[int] = set()
    async with site.client() as ada, aiohttp.ClientSession() as http:
        await ada.join("lobby", "Ada")
        sent = 0
        while sent < 1_000:
            protocol = rng.choice(list(Encoding)).value
            async with http.ws_connect(site.url.replace("ws:", "http:"), protocols=[protocol], max_msg_size=0) as socket:
                if rng.random() < 0.5:
                    hello = Codec(Encoding(protocol)).encode(Hello(id=1))
                    await (socket.send_str(hello.decode()) if protocol.endswith("json") else socket.send_bytes(hello))
                for _ in range(25):
                    sent += 1
                    payload = garbage(rng)
                    kind = rng.choice([aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY])
                    if kind is aiohttp.WSMsgType.TEXT and rng.random() < 0.99:
                        # Text that is no UTF-8 ends the connection at once, so most of it is valid.
                        payload = payload.decode("latin-1").encode()
                    try:
                        await socket.send_frame(payload, kind)
                    except ConnectionError:
                        break
                if socket.close_code is not None:
                    codes.add(socket.close_code)
                async for _ in socket:
                    if rng.random() < 0.2:
                        break
                if socket.close_code is not None:
                    codes.add(socket.close_code)
        await ada.raise_hand()
        assert ada.connected
    assert codes <= {1000, 1002, 1006, 1007, 1008, 1009}
    assert {1007, 1008} <= codes
    assert site.metrics.dropped("ws", "malformed") > 100


async def test_a_frame_that_is_too_large_closes_that_connection_only(start: Start, eventually: Eventually) -> None:
    site = await start()
    async with site.client() as ada, aiohttp.ClientSession() as http:
        async with http.ws_connect(site.url.replace("ws:", "http:"), protocols=["salam.v1.json"]) as socket:
            await socket.send_str("x" * 700_000)
            async for _ in socket:
                pass
            assert socket.close_code == 1009
        await ada.request(Ping(id=0))
        await eventually(lambda: site.server.stats().connections == 1)


async def test_a_slow_consumer_is_closed_and_others_are_not(start: Start, eventually: Eventually) -> None:
    rate = Rate(1e6, 1_000_000)
    site = await start(limits=Limits(messages=rate, chat=rate, outgoing_bytes=100_000))
    async with site.client() as ada, aiohttp.ClientSession(read_bufsize=1_024) as http:
        await ada.join("lobby", "Ada")
        socket = await http.ws_connect(site.url.replace("ws:", "http:"), protocols=["salam.v1.json"], autoping=False)
        codec = Codec(Encoding.JSON)
        for message in (Hello(id=1), Join(id=2, room="lobby", name="Sloth")):
            await socket.send_str(codec.encode(message).decode())
        await eventually(lambda: site.server.stats().participants == 2)
        number = 0
        while site.server.stats().slow_consumers == 0:
            number += 1
            await ada.chat("x" * 2_000, chat_id=str(number))
        await eventually(lambda: site.server.stats().connections == 1)
        assert site.server.rooms()[0].connected == 1
        assert site.server.rooms()[0].participants == 2, "the slow one may resume"
        assert site.metrics.dropped("ws", "slow_consumer") == 1
        await ada.raise_hand()
        await socket.close()


async def test_reports_that_pile_up_close_nobody(start: Start) -> None:
    site = await start(limits=Limits(outgoing_frames=16))
    async with site.client() as ada:
        joined = await ada.join("lobby", "Ada")
        listener = site.media.rooms["lobby"]
        for level in range(100):
            # Nothing is written before this turn of the event loop ends.
            listener.on_speakers([(joined.participant_id, -level)])
        events = ada.events()
        speakers = await until(events, Speakers)
        while speakers.speakers[0].level_dbov != -99:
            speakers = await until(events, Speakers)
        assert site.server.stats().slow_consumers == 0


async def test_a_slow_negotiation_blocks_nobody_else(start: Start) -> None:
    site = await start()
    gate = site.media.slow["slow offer"] = asyncio.Event()
    async with site.client() as ada, site.client() as bob:
        await ada.join("lobby", "Ada")
        await bob.join("lobby", "Bob")
        slow = asyncio.ensure_future(ada.publish_offer("slow offer", []))
        await bob.publish_offer("offer", [PublishedTrack(mid="0", source="screen")])
        await ada.raise_hand()
        assert not slow.done()
        gate.set()
        assert (await slow).sdp == "answer"


async def test_a_fault_of_the_media_server_is_an_error_reply(start: Start) -> None:
    site = await start()
    async with site.client() as ada:
        await ada.join("lobby", "Ada")
        site.media.broken = True
        with pytest.raises(RequestError) as caught:
            await ada.publish_offer("offer", [])
        assert caught.value.code == "internal_error"
        site.media.broken = False
        await ada.publish_offer("offer", [])


async def test_a_media_server_that_hangs_is_given_up(start: Start) -> None:
    site = await start(limits=Limits(media_timeout_s=0.05))
    site.media.slow["slow offer"] = asyncio.Event()
    async with site.client() as ada:
        await ada.join("lobby", "Ada")
        with pytest.raises(RequestError) as caught:
            await ada.publish_offer("slow offer", [])
        assert caught.value.code == "media_timeout"
        assert caught.value.retryable


async def test_viewers_of_a_stream(start: Start) -> None:
    site = await start(limits=Limits(viewers_interval_s=0.05))
    site.server.set_stream_state("show", "live")
    async with site.client() as ada, site.client() as bob:
        assert (await ada.watch("show", "Ada")).state == "live"
        events = ada.events()
        await bob.watch("show")
        while (await until(events, StreamChanged)).viewers != 2:
            pass
        await bob.chat("wow", chat_id="1", stream="show")
        assert (await until(events, ChatEvent)).stream == "show"
        await bob.react("show", "🎉")
        site.server.set_stream_state("show", "ended")
        assert (await until(events, StreamChanged)).state == "ended"
        assert site.server.viewer_count("show") == 2
    with pytest.raises(RequestError):
        site.server.set_stream_state("show", "paused")


async def test_draining_sends_clients_away_and_turns_new_ones_down(start: Start) -> None:
    site = await start()
    async with site.client() as ada:
        await ada.join("lobby", "Ada")
        events = ada.events()
        await site.server.drain(30.0)
        assert (await until(events, Drain)).retry_after_s == 30.0
        await until(events, ConnectionLost)
        async with aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await http.ws_connect(site.url.replace("ws:", "http:"), protocols=["salam.v1.json"])
        assert caught.value.status == 503
        assert caught.value.headers is not None
        assert caught.value.headers["Retry-After"] == "30"


async def test_a_closing_server_closes_everything(start: Start) -> None:
    site = await start()
    async with site.client(reconnect=False) as ada:
        await ada.join("lobby", "Ada")
        await site.server.close()
        assert site.media.rooms == {}
        assert site.media.people == set()
        with pytest.raises(ClosedError):
            await until(ada.events(), Removed)
        with pytest.raises(ClosedError):
            await ada.raise_hand()


async def test_events_that_nobody_takes_are_bounded(start: Start) -> None:
    site = await start()
    async with site.client(max_events=3) as ada, site.client() as bob:
        await ada.join("lobby", "Ada")
        await bob.join("lobby", "Bob")
        for raised in [True, False] * 3:
            await bob.raise_hand(raised)
        await ada.request(Ping(id=0))
        with pytest.raises(LimitError):
            await until(ada.events(), ParticipantLeft)
        assert ada.events_dropped >= 4
        assert (await ada.join("lobby", "Ada")).participants[0].name == "Bob"
        await bob.leave()
        await until(ada.events(), ParticipantLeft)


async def test_200_comings_and_goings_leave_nothing(start: Start, eventually: Eventually) -> None:
    site = await start()
    async with site.client() as ada:
        await ada.join("lobby", "Ada")
        for number in range(100):
            async with site.client(encoding=list(Encoding)[number % 2]) as guest:
                await guest.join("lobby", f"Guest {number}")
        for number in range(100):
            await ada.leave()
            await ada.join(f"room-{number % 3}", "Ada")
        await ada.leave()
        stats = site.server.stats()
        assert (stats.rooms, stats.participants) == (0, 0)
        await eventually(lambda: site.server.stats().sessions == 1)
        await eventually(lambda: not site.media.rooms and not site.media.people)
    text = site.metrics.render().decode()
    assert "salam_signaling_rooms 0.0" in text
    assert 'salam_signaling_messages_total{direction="in"}' in text
