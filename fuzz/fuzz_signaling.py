"""Frames of both encodings: whatever comes, either a request that can be answered in kind, or `MessageError`."""

from __future__ import annotations

from signaling import Codec, Encoding, MessageError
from signaling.messages import Chat, Done, Error, Hello, Join, Ping, PublishedTrack, PublishOffer, Request
from signaling.secure_messages import FetchBundles, PublishKeys, SecureEnvelope, SendSecure

_CODECS = [Codec(encoding) for encoding in Encoding]
_MESSAGES: list[Request] = [
    Hello(id=1, token="t", resume="r"),
    Join(id=2, room="lobby", name="Ada"),
    PublishOffer(id=3, sdp="v=0\r\n", tracks=[PublishedTrack(mid="0", source="camera")]),
    Chat(id=4, chat_id="c", text="hello"),
    Ping(id=5),
    PublishKeys(id=6, device_id=1, certificate=b"c", device_list=b"l", signed_prekey=b"s", one_time_prekeys=[b"o"]),
    FetchBundles(id=7, participant_ids=["p"]),
    SendSecure(id=8, messages=[SecureEnvelope(participant_id="p", device_id=1, message=b"m")]),
]

SEEDS: list[bytes] = [codec.encode(message) for codec in _CODECS for message in _MESSAGES] + [
    b'{"t":"ping","id":1,"x":[[[[[[]]]]]]}',
    b'{"t":"chat","id":1,"chat_id":"a","text":"\\ud800"}',
    b"\x82\xa1t\xa4ping\xa2id\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
]


def one_input(data: bytes) -> None:
    """Read ``data`` as a binary and as a text frame; whoever sent a message that is understood must get a reply with its id."""
    for codec in _CODECS:
        frames: list[bytes | str] = [data]
        if codec.is_text:
            frames = [data.decode("utf-8", "surrogatepass" if len(data) % 2 else "replace")] if _decodes(data) else []
        for frame in frames:
            try:
                request = codec.decode_request(frame)
                request_id = request.id
                assert codec.decode_request(_frame(codec, codec.encode(request))) == request
            except MessageError as error:
                request_id = error.request_id
                codec.encode(Error(re=request_id, code=error.code, message=error.message))
            assert codec.decode_server_message(_frame(codec, codec.encode(Done(re=request_id)))) == Done(re=request_id)


def _decodes(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _frame(codec: Codec, payload: bytes) -> bytes | str:
    return payload.decode() if codec.is_text else payload
