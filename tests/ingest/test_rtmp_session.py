"""Both sides of a session without sockets: commands, refusals, deadlines, goodbyes."""

from __future__ import annotations

import pytest

from ingest import AccessUnit, StreamInfo
from ingest.rtmp import (
    HANDSHAKE_NONCE_BYTES,
    ChunkReader,
    ChunkWriter,
    Message,
    MessageType,
    PublisherState,
    PublishFinished,
    PublishRequested,
    RtmpLimits,
    RtmpPublisher,
    RtmpSession,
    SessionEvent,
    SessionState,
)
from ingest.rtmp.amf import AmfInput, decode, encode
from ingest.rtmp.publication import InputDropped
from salam import ConfigError, ProtocolError

LIMITS = RtmpLimits()
NONCE = bytes(range(256)) * 5 + bytes(HANDSHAKE_NONCE_BYTES - 1280)
AVCC = bytes.fromhex("014d400cffe10019674d400ceca0a0cfcf8088000003000800000300f078a14cb001000468ce0fc8")
VIDEO_CONFIG = Message(MessageType.VIDEO, 0, 0, b"\x17\x00\x00\x00\x00" + AVCC)
AUDIO_CONFIG = Message(MessageType.AUDIO, 0, 0, b"\xaf\x00\x11\x88")
KEYFRAME = Message(MessageType.VIDEO, 0, 40, b"\x17\x01\x00\x00\x00\x00\x00\x00\x02\x65\x88")


def new_session(app: str = "live", limits: RtmpLimits = LIMITS) -> RtmpSession:
    return RtmpSession(app=app, limits=limits, nonce=NONCE, now=100.0)


def events_of(session: RtmpSession, now: float = 100.0) -> list[SessionEvent]:
    """Return the events up to a publish request, which is not answered here."""
    events: list[SessionEvent] = []
    while (event := session.next_event(now)) is not None:
        events.append(event)
        if isinstance(event, PublishRequested):
            break
    return events


def talk(client: RtmpPublisher, session: RtmpSession, now: float = 100.0) -> list[SessionEvent]:
    """Carry bytes both ways, one at a time, until both are silent or a publish request needs its answer."""
    events: list[SessionEvent] = []
    while True:
        up = client.data_to_send()
        for at in range(len(up)):
            session.receive_data(up[at : at + 1])
            events += events_of(session, now)
        down = session.data_to_send()
        for at in range(len(down)):
            client.receive_data(down[at : at + 1])
        if not up and not down or (events and isinstance(events[-1], PublishRequested)):
            return events


class RawClient:
    """A client whose commands are written by hand, behind a finished handshake."""

    def __init__(self, session: RtmpSession) -> None:
        self.session = session
        self.writer = ChunkWriter()
        self.reader = ChunkReader()
        session.receive_data(b"\x03" + bytes(1536) + bytes(1536))
        assert len(session.data_to_send()) == 1 + 2 * 1536

    def send(self, type_id: int, payload: bytes, *, timestamp_ms: int = 0, now: float = 100.0) -> list[SessionEvent]:
        self.session.receive_data(self.writer.write(3, Message(type_id, 1, timestamp_ms, payload)))
        return events_of(self.session, now)

    def call(self, *values: AmfInput) -> list[SessionEvent]:
        return self.send(MessageType.COMMAND_AMF0, encode(*values))

    def replies(self) -> list[Message]:
        self.reader.receive_data(self.session.data_to_send())
        messages = []
        while (message := self.reader.next_message()) is not None:
            messages.append(message)
        return messages

    def commands(self) -> list[list[object]]:
        return [list(decode(message.payload)) for message in self.replies() if message.type_id == MessageType.COMMAND_AMF0]

    def publish(self, **properties: AmfInput) -> None:
        self.call("connect", 1.0, {"app": "live", **properties})
        assert self.call("publish", 2.0, None, "show", "live") == [PublishRequested("show", "")]
        self.session.accept(100.0)
        self.replies()


def test_a_whole_publication_byte_by_byte() -> None:
    client, session = RtmpPublisher("rtmp://[::1]:1936/live/show?token=abc.def", nonce=NONCE), new_session()
    assert (client.host, client.port) == ("::1", 1936)
    assert talk(client, session) == [PublishRequested("show", "abc.def")]
    session.accept(100.0)
    assert talk(client, session) == []
    assert client.state is PublisherState.PUBLISHING
    for message in (VIDEO_CONFIG, AUDIO_CONFIG, KEYFRAME):
        client.send(message)
    info, unit = talk(client, session, 101.0)
    assert isinstance(info, StreamInfo)
    assert unit == AccessUnit("video", b"\x00\x00\x00\x02\x65\x88", 3600, 3600, True, 101.0)
    client.finish()
    assert talk(client, session) == [PublishFinished()]
    assert session.state is SessionState.CONNECTED


def test_a_refusal_reaches_the_client_in_words() -> None:
    client, session = RtmpPublisher("rtmp://h/live/show", nonce=NONCE), new_session()
    talk(client, session)
    session.refuse("NetStream.Publish.BadName", "show is being published already")
    talk(client, session)
    assert client.state is PublisherState.CLOSED
    assert client.refusal == "show is being published already"
    assert session.state is SessionState.CLOSED
    assert session.deadline_s == float("inf")


@pytest.mark.parametrize(
    ("url", "words", "reason"),
    [
        ("rtmp://h/other/show", "no such application", "wrong_application"),
        ("rtmp://h/live/a/b", "stream name", "bad_stream_name"),
        ("rtmp://h/live/.hidden", "stream name", "bad_stream_name"),
        # The live origin and the signaling server refuse these too, so nobody could watch them.
        ("rtmp://h/live/-option", "stream name", "bad_stream_name"),
        ("rtmp://h/live/_private", "stream name", "bad_stream_name"),
    ],
)
def test_wrong_addresses_are_explained_and_told(url: str, words: str, reason: str) -> None:
    client, session = RtmpPublisher(url, nonce=NONCE), new_session()
    assert talk(client, session) == [InputDropped(reason)]
    assert words in str(client.refusal)


@pytest.mark.parametrize("url", ["http://h/live/s", "rtmp://h/live", "rtmp:///live/s", "rtmp://h:x/live/s", "rtmp://[h/live/s"])
def test_urls_of_another_form_are_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        RtmpPublisher(url, nonce=NONCE)


@pytest.mark.parametrize(
    ("app", "url", "stream"),
    [
        ("live", "rtmp://h/live", "show?token=t%2Et"),
        ("live?token=t.t", "rtmp://h/live", "show"),
        ("live/", "rtmp://h/live?x=1&token=t.t", "show"),
    ],
)
def test_the_token_may_come_anywhere_in_the_address(app: str, url: str, stream: str) -> None:
    client = RawClient(new_session())
    client.call("connect", 1.0, {"app": app, "tcUrl": url})
    assert client.call("publish", 2.0, None, stream, "live") == [PublishRequested("show", "t.t")]
    assert "t.t" not in repr(PublishRequested("show", "t.t"))


def test_connect_tells_about_enhanced_rtmp() -> None:
    client = RawClient(new_session())
    client.call("connect", 1.0, {"app": "live", "objectEncoding": 3.0})
    ((name, transaction, properties, information),) = client.commands()
    assert (name, transaction) == ("_result", 1.0)
    assert isinstance(properties, dict)
    assert isinstance(information, dict)
    assert set(properties["fourCcList"]) == {"avc1", "hvc1", "av01", "mp4a", "Opus"}
    assert properties["capsEx"] == 15.0
    assert information["objectEncoding"] == 3.0


def test_commands_that_encoders_send_before_publishing_are_answered() -> None:
    client = RawClient(new_session())
    client.call("connect", 1.0, {"app": "live"})
    client.replies()
    client.call("releaseStream", 2.0, None, "show")
    client.call("FCPublish", 3.0, None, "show")
    client.call("createStream", 4.0, None)
    client.call("_checkbw", 5.0, None)
    client.call("somethingElse", 6.0, None)
    client.call("somethingElse", 0.0, None)
    assert [(reply[0], reply[1]) for reply in client.commands()] == [
        ("_result", 2.0),
        ("onFCPublish", 0.0),
        ("_result", 3.0),
        ("_result", 4.0),
        ("_result", 5.0),
        ("_error", 6.0),
    ]


def test_commands_wrapped_for_amf3_are_read() -> None:
    client = RawClient(new_session())
    client.send(MessageType.COMMAND_AMF3, b"\x00" + encode("connect", 1.0, {"app": "live"}))
    assert client.send(MessageType.COMMAND_AMF3, encode("publish", 2.0, None, "show")) == [PublishRequested("show", "")]


def test_playing_is_refused_with_the_way_to_do_it() -> None:
    client = RawClient(new_session())
    client.call("connect", 1.0, {"app": "live"})
    assert client.call("play", 2.0, None, "show") == [InputDropped("play_refused")]
    answer = str(client.commands()[-1])
    assert "HLS" in answer
    assert "WHEP" not in answer
    assert client.session.state is SessionState.CLOSED


def test_pings_are_answered_and_bytes_acknowledged() -> None:
    client = RawClient(new_session())
    client.send(MessageType.USER_CONTROL, b"\x00\x06\x01\x02\x03\x04")
    client.send(MessageType.WINDOW_ACK_SIZE, (2000).to_bytes(4, "big"))
    assert [message.payload for message in client.replies()] == [b"\x00\x07\x01\x02\x03\x04"]
    client.send(99, bytes(3000))
    (acknowledgement,) = client.replies()
    assert acknowledgement.type_id == MessageType.ACKNOWLEDGEMENT
    assert int.from_bytes(acknowledgement.payload, "big") == client.session.bytes_received


def test_aggregates_are_taken_apart_and_keep_their_distances() -> None:
    client = RawClient(new_session())
    client.publish()

    def tag(message: Message, timestamp_ms: int) -> bytes:
        size = len(message.payload).to_bytes(3, "big")
        stamp = (timestamp_ms & 0xFFFFFF).to_bytes(3, "big") + bytes((timestamp_ms >> 24,))
        return bytes((message.type_id,)) + size + stamp + bytes(3) + message.payload + bytes(4)

    base = 0x01000000
    tags = tag(VIDEO_CONFIG, base) + tag(AUDIO_CONFIG, base) + tag(KEYFRAME, base) + tag(KEYFRAME, base + 40)
    _, *units = client.send(MessageType.AGGREGATE, tags, timestamp_ms=500)
    assert [unit.dts // 90 for unit in units if isinstance(unit, AccessUnit)] == [500, 540]
    with pytest.raises(ProtocolError, match="aggregate"):
        client.send(MessageType.AGGREGATE, tags[:-20])


def test_a_publication_may_follow_another_on_one_connection() -> None:
    client = RawClient(new_session())
    client.publish()
    assert client.call("FCUnpublish", 3.0, None, "show") == [PublishFinished()]
    assert client.call("deleteStream", 0.0, None, 1.0) == []
    assert client.send(MessageType.VIDEO, VIDEO_CONFIG.payload) == []
    assert client.call("publish", 4.0, None, "next") == [PublishRequested("next", "")]


def test_a_second_publish_beside_a_running_one_is_a_breach() -> None:
    client = RawClient(new_session())
    client.publish()
    with pytest.raises(ProtocolError, match="second publish"):
        client.call("publish", 3.0, None, "other")


def test_reconnect_is_asked_of_those_who_can() -> None:
    able, unable = RawClient(new_session()), RawClient(new_session())
    able.publish(capsEx=1.0)
    unable.publish(capsEx=2.0)
    for client in (able, unable):
        client.session.ask_to_reconnect("going down")
    assert "NetConnection.Connect.ReconnectRequest" in str(able.commands())
    assert unable.commands() == []


def test_strangers_are_gone_after_the_start_timeout() -> None:
    session = new_session()
    assert session.deadline_s == 110.0
    session.handle_timeout(109.9)
    assert session.deadline_s == 110.0
    session.handle_timeout(110.0)
    assert session.state is SessionState.CLOSED
    assert session.data_to_send() == b""


def test_only_usable_media_keeps_a_publication_alive() -> None:
    client = RawClient(new_session())
    client.publish()
    client.send(MessageType.VIDEO, VIDEO_CONFIG.payload, now=104.0)
    client.send(MessageType.VIDEO, KEYFRAME.payload, now=105.0)
    assert client.session.deadline_s == 115.0
    client.send(MessageType.VIDEO, b"\x12\x00", now=114.0)
    assert client.session.deadline_s == 115.0
    client.session.handle_timeout(115.0)
    assert "video codec id 2 is not taken" in str(client.commands())


def test_messages_are_not_taken_at_any_rate() -> None:
    client = RawClient(new_session(limits=RtmpLimits(max_messages_per_s=50)))
    for second in range(3):
        for _ in range(50):
            client.send(99, b"", now=200.0 + second)
    with pytest.raises(ProtocolError) as caught:
        client.send(99, b"", now=202.9)
    assert caught.value.code == "message_flood"


@pytest.mark.parametrize(
    "payload",
    [b"", encode("connect"), encode(1.0, 2.0), encode("publish", 1.0), encode("connect", 1.0, None), encode("connect", "1", {})],
)
def test_malformed_beginnings_end_the_session(payload: bytes) -> None:
    client = RawClient(new_session())
    with pytest.raises(ProtocolError):
        client.send(MessageType.COMMAND_AMF0, payload)


def test_http_is_noticed_at_its_first_byte() -> None:
    with pytest.raises(ProtocolError) as caught:
        new_session().receive_data(b"G")
    assert caught.value.code == "bad_version"


def test_a_request_must_be_answered_first() -> None:
    client = RawClient(new_session())
    client.call("connect", 1.0, {"app": "live"})
    client.call("publish", 2.0, None, "show")
    with pytest.raises(RuntimeError, match="answer"):
        client.session.next_event(100.0)
    client.session.accept(100.0)
    with pytest.raises(RuntimeError, match="no publish request"):
        client.session.accept(100.0)
