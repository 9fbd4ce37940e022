"""Livestream ingest: servers that turn a publisher's protocol into one stream of timestamped, encoded access units."""

from ingest.aac import AacConfig as AacConfig
from ingest.aac import parse_audio_specific_config as parse_audio_specific_config
from ingest.access_unit import TIMESCALE_HZ as TIMESCALE_HZ
from ingest.access_unit import AccessUnit as AccessUnit
from ingest.access_unit import AudioFormat as AudioFormat
from ingest.access_unit import AuthorizePublish as AuthorizePublish
from ingest.access_unit import OpenSink as OpenSink
from ingest.access_unit import StreamInfo as StreamInfo
from ingest.access_unit import StreamSink as StreamSink
from ingest.access_unit import VideoFormat as VideoFormat
from ingest.h264 import AvcConfig as AvcConfig
from ingest.h264 import SequenceParameters as SequenceParameters
from ingest.h264 import parse_avc_config as parse_avc_config
from ingest.h264 import parse_sps as parse_sps
from ingest.rtmp.limits import RtmpLimits as RtmpLimits
from ingest.server import PublicationStats as PublicationStats
from ingest.server import RtmpServer as RtmpServer
from ingest.server import RtmpStats as RtmpStats

__all__ = [
    "AacConfig",
    "AccessUnit",
    "AudioFormat",
    "AuthorizePublish",
    "AvcConfig",
    "OpenSink",
    "PublicationStats",
    "RtmpLimits",
    "RtmpServer",
    "RtmpStats",
    "SequenceParameters",
    "StreamInfo",
    "StreamSink",
    "TIMESCALE_HZ",
    "VideoFormat",
    "parse_audio_specific_config",
    "parse_avc_config",
    "parse_sps",
]
