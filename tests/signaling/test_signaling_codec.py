"""Both encodings carry the same messages; bad frames raise one exception and give back the request's id where it can be read."""

from __future__ import annotations

import contextlib
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling import Codec, Encoding, MessageError, protocol_schema
from signaling.codec import MAX_MESSAGE_BYTES, negotiate
from signaling.messages import Chat, Joined, ParticipantInfo, Ping, PublishOffer, Request, ServerMessage, TrackInfo

CODECS = [Codec(encoding) for encoding in Encoding]


def frame_of(codec: Codec, value: object) -> bytes | str:
    return msgspec.json.encode(value).decode() if codec.is_text else msgspec.msgpack.encode(value)


def error_of(codec: Codec, frame: bytes | str) -> MessageError:
    with pytest.raises(MessageError) as caught:
        codec.decode_request(frame)
    return caught.value


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.encoding.name)
def test_messages_survive(codec: Codec) -> None:
    joined = Joined(
        re=7,
        room="lobby",
        participant_id="p",
        participants=[
            ParticipantInfo(participant_id="q", name="Zoë", tracks=[TrackInfo(track_id="t", kind="video", source="camera")])
        ],
    )
    payload = codec.encode(joined)
    assert codec.decode_server_message(payload.decode() if codec.is_text else payload) == joined


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.encoding.name)
def test_errors_name_the_request(codec: Codec) -> None:
    for value, code, request_id in [
        ({"t": "zork", "id": 5}, "unknown_type", 5),
        ({"id": 5}, "invalid_message", 5),
        ({"t": "join", "id": 5}, "invalid_message", 5),
        ({"t": "join", "id": 5, "room": "a b", "name": "x"}, "invalid_message", 5),
        ({"t": "join", "id": 5, "room": "lobby\n", "name": "x"}, "invalid_message", 5),
        ({"t": "chat", "id": 5, "chat_id": "c", "text": "x" * 2_001}, "invalid_message", 5),
        ({"t": "ping", "id": "5"}, "invalid_message", -1),
        ({"t": "ping", "id": -3}, "invalid_message", -1),
        ({"t": "ping", "id": True}, "invalid_message", -1),
        ({"t": "ping", "id": 2**53}, "invalid_message", -1),
        ([1], "malformed", -1),
        (None, "malformed", -1),
    ]:
        error = error_of(codec, frame_of(codec, value))
        assert (error.code, error.request_id) == (code, request_id), value


def test_unknown_fields_are_ignored() -> None:
    for codec in CODECS:
        assert codec.decode_request(frame_of(codec, {"t": "ping", "id": 1, "new": {"a": [1]}})) == Ping(id=1)


def test_frames_of_the_other_kind_and_too_large_ones_are_refused() -> None:
    json, msgpack = CODECS
    assert error_of(json, b'{"t":"ping","id":1}').code == "malformed"
    assert error_of(msgpack, '{"t":"ping","id":1}').code == "malformed"
    assert error_of(json, " " * (MAX_MESSAGE_BYTES + 1)).code == "too_large"
    assert error_of(json, "[" * 100_000).code == "malformed"
    assert error_of(json, '{"t":"ping","id":1,"x":' + "[" * 100_000 + "]" * 100_000 + "}").code == "malformed"
    assert error_of(msgpack, b"\x91" * 100_000).code == "malformed"


def test_the_largest_offer_fits() -> None:
    offer = PublishOffer(id=1, sdp="a=\r\n" * (262_144 // 4), tracks=[])
    for codec in CODECS:
        payload = codec.encode(offer)
        assert len(payload) <= MAX_MESSAGE_BYTES
        assert codec.decode_request(payload.decode() if codec.is_text else payload) == offer


@given(st.binary(max_size=300), st.text(max_size=300))
def test_any_frame_is_read_or_refused(data: bytes, text: str) -> None:
    for frame in (data, text):
        for codec in CODECS:
            with contextlib.suppress(MessageError):
                assert codec.decode_request(frame).id >= 0


def test_the_client_chooses_the_encoding() -> None:
    assert negotiate(["x", "salam.v1.msgpack", "salam.v1.json"]) is Encoding.MSGPACK
    assert negotiate(["salam.v1.json"]) is Encoding.JSON
    assert negotiate(["salam.v2.json", ""]) is None


def test_the_schema_has_every_message() -> None:
    schema = protocol_schema()
    names = {kind.__name__ for union in (Request, ServerMessage) for kind in get_args(union)}
    assert names <= set(schema["$defs"])
    assert schema["$defs"]["Chat"]["properties"]["text"]["maxLength"] == 2_000
    assert Chat.__struct_config__.tag == "chat"
