"""Fuzz target: the chunk stream behind a good handshake, and the handshake itself; a session raises ProtocolError or nothing."""

from ingest.rtmp import (
    HANDSHAKE_NONCE_BYTES,
    ChunkWriter,
    Message,
    MessageType,
    PublishRequested,
    RtmpLimits,
    RtmpPublisher,
    RtmpSession,
)
from ingest.rtmp.amf import encode
from salam import ProtocolError

_NONCE = bytes(HANDSHAKE_NONCE_BYTES)
_LIMITS = RtmpLimits(max_message_bytes=65_536, max_unfinished_bytes=100_000)
_CLIENT_HANDSHAKE = b"\x03" + bytes(1536) + bytes(1536)


def _publication() -> bytes:
    writer = ChunkWriter()
    commands = (
        encode("connect", 1.0, {"app": "live", "tcUrl": "rtmp://h/live", "capsEx": 1}),
        encode("createStream", 2.0, None),
        encode("publish", 3.0, None, "show?token=t", "live"),
    )
    data = b"".join(writer.write(3, Message(MessageType.COMMAND_AMF0, 0, 0, payload)) for payload in commands)
    for number in range(3):
        data += writer.write(6, Message(MessageType.AUDIO, 1, 20 * number, b"\xaf\x00\x11\x88"))
        data += writer.write(7, Message(MessageType.VIDEO, 1, 0xFFFFFE + number, bytes(200)))
    return data + writer.write(3, Message(MessageType.COMMAND_AMF0, 1, 0, encode("deleteStream", 0.0, None, 1.0)))


def _controls() -> bytes:
    writer = ChunkWriter()
    tag = b"\x08\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\xaf\x00\x11\x88\x00\x00\x00\x0f"
    return b"".join(
        (
            writer.set_chunk_size(4096),
            writer.write(2, Message(MessageType.ABORT, 0, 0, bytes(4))),
            writer.write(2, Message(MessageType.USER_CONTROL, 0, 0, b"\x00\x06\x00\x00\x00\x01")),
            writer.write(70, Message(MessageType.COMMAND_AMF3, 0, 0, b"\x00" + encode("connect", 1.0, {"app": "live"}))),
            writer.write(400, Message(MessageType.AGGREGATE, 1, 5, tag + tag)),
        )
    )


SEEDS: list[bytes] = [_publication(), _controls(), _controls() + _publication()]


def one_input(data: bytes) -> None:
    """Feed ``data`` to a fresh session, to one behind its handshake, and to a client."""
    for prefix in (b"", _CLIENT_HANDSHAKE):
        session = RtmpSession(app="live", limits=_LIMITS, nonce=_NONCE, now=0.0)
        try:
            for piece in (prefix, data[: len(data) // 2], data[len(data) // 2 :]):
                session.receive_data(piece)
                while (event := session.next_event(1.0)) is not None:
                    if isinstance(event, PublishRequested):
                        session.accept(1.0)
        except ProtocolError:
            pass
        session.data_to_send()
    client = RtmpPublisher("rtmp://h/live/s", nonce=_NONCE)
    try:
        client.receive_data(_CLIENT_HANDSHAKE + data)
    except ProtocolError:
        return
