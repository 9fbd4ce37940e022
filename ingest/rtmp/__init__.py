"""RTMP publishing without I/O: chunks, AMF0, FLV tags, and both sides of a session."""

from ingest.rtmp.amf import AmfInput as AmfInput
from ingest.rtmp.amf import AmfValue as AmfValue
from ingest.rtmp.chunk import ChunkReader as ChunkReader
from ingest.rtmp.chunk import ChunkWriter as ChunkWriter
from ingest.rtmp.chunk import Message as Message
from ingest.rtmp.chunk import MessageType as MessageType
from ingest.rtmp.flv import MediaPacket as MediaPacket
from ingest.rtmp.flv import PacketKind as PacketKind
from ingest.rtmp.flv import UnsupportedCodecError as UnsupportedCodecError
from ingest.rtmp.flv import parse_audio_tag as parse_audio_tag
from ingest.rtmp.flv import parse_video_tag as parse_video_tag
from ingest.rtmp.handshake import HANDSHAKE_NONCE_BYTES as HANDSHAKE_NONCE_BYTES
from ingest.rtmp.limits import RtmpLimits as RtmpLimits
from ingest.rtmp.protocol import PublishFinished as PublishFinished
from ingest.rtmp.protocol import PublishRequested as PublishRequested
from ingest.rtmp.protocol import RtmpSession as RtmpSession
from ingest.rtmp.protocol import SessionEvent as SessionEvent
from ingest.rtmp.protocol import SessionState as SessionState
from ingest.rtmp.publication import InputDropped as InputDropped
from ingest.rtmp.publication import Publication as Publication
from ingest.rtmp.publisher import PublisherState as PublisherState
from ingest.rtmp.publisher import RtmpPublisher as RtmpPublisher

__all__ = [
    "AmfInput",
    "AmfValue",
    "ChunkReader",
    "ChunkWriter",
    "HANDSHAKE_NONCE_BYTES",
    "InputDropped",
    "MediaPacket",
    "Message",
    "MessageType",
    "PacketKind",
    "Publication",
    "PublishFinished",
    "PublishRequested",
    "PublisherState",
    "RtmpLimits",
    "RtmpPublisher",
    "RtmpSession",
    "SessionEvent",
    "SessionState",
    "UnsupportedCodecError",
    "parse_audio_tag",
    "parse_video_tag",
]
