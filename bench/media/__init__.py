"""Media for robots: encoded loops, RTP payload formats, and frames put together again."""

from bench.media.assembler import AssemblerStats as AssemblerStats
from bench.media.assembler import FrameAssembler as FrameAssembler
from bench.media.assembler import ReceivedFrame as ReceivedFrame
from bench.media.decoders import FrameDecoder as FrameDecoder
from bench.media.loops import EncodedFrame as EncodedFrame
from bench.media.loops import Layer as Layer
from bench.media.loops import Loop as Loop
from bench.media.loops import LoopLibrary as LoopLibrary
from bench.media.loops import MediaLoops as MediaLoops
from bench.media.loops import OpusEncoder as OpusEncoder
from bench.media.loops import VideoEncoder as VideoEncoder
from bench.media.loops import encode as encode
from bench.media.payload import CodecName as CodecName
from bench.media.payload import PayloadError as PayloadError
from bench.media.player import DueFrame as DueFrame
from bench.media.player import LoopPlayer as LoopPlayer
from bench.media.spec import SIMULCAST_RIDS as SIMULCAST_RIDS
from bench.media.spec import FileMedia as FileMedia
from bench.media.spec import GeneratedMedia as GeneratedMedia
from bench.media.spec import Media as Media

__all__ = [
    "SIMULCAST_RIDS",
    "AssemblerStats",
    "CodecName",
    "DueFrame",
    "EncodedFrame",
    "FileMedia",
    "FrameAssembler",
    "FrameDecoder",
    "GeneratedMedia",
    "Layer",
    "Loop",
    "LoopLibrary",
    "LoopPlayer",
    "Media",
    "MediaLoops",
    "OpusEncoder",
    "PayloadError",
    "ReceivedFrame",
    "VideoEncoder",
    "encode",
]
