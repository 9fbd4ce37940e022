"""The robots' peer against aiortc, an independent implementation: it must receive, decode and send back."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

from bench.media import CodecName, FrameDecoder, GeneratedMedia, LoopLibrary, ReceivedFrame
from bench.peer import PeerState, RtcPeer
from salam import ClosedError

Eventually = Callable[..., Awaitable[object]]

# aiortc gathers on every address but the loopback, and its sockets there do reach ours on the loopback.
pytestmark = pytest.mark.peer


@asynccontextmanager
async def _aiortc() -> AsyncIterator[RTCPeerConnection]:
    connection = RTCPeerConnection()
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _robot(name: str, **options: object) -> AsyncIterator[RtcPeer]:
    peer = RtcPeer(name, rng=random.Random(7), **options)  # type: ignore[arg-type]
    try:
        yield peer
    finally:
        await peer.close()


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_aiortc_decodes_what_a_robot_publishes(codec: CodecName, library: LoopLibrary) -> None:
    media = GeneratedMedia(width=320, height=180, fps=15, loop_s=2, codec=codec, simulcast=False)  # type: ignore[arg-type]
    loops = await asyncio.to_thread(library.get, media)
    tracks: asyncio.Queue[MediaStreamTrack] = asyncio.Queue()
    async with _aiortc() as other, _robot("publisher") as robot:
        other.on("track", tracks.put_nowait)
        await other.setRemoteDescription(RTCSessionDescription(await robot.offer(loops), "offer"))
        await other.setLocalDescription(await other.createAnswer())
        await robot.accept_answer(other.localDescription.sdp)
        await robot.connected()
        by_kind = {track.kind: track for track in [await tracks.get(), await tracks.get()]}
        async with asyncio.timeout(30):
            pictures: list[Any] = [await by_kind["video"].recv() for _ in range(20)]
            sounds: list[Any] = [await by_kind["audio"].recv() for _ in range(20)]
        assert {(picture.width, picture.height) for picture in pictures} == {(320, 180)}
        assert sum(sound.samples for sound in sounds) == 20 * 960
        # Moving pictures, not one picture again and again.
        assert len({bytes(picture.planes[0]) for picture in pictures}) > 10
        video = next(track for track in robot.stats().sent if track.kind == "video")
        assert video.codec == codec
        assert video.layers[0].packets > 20


async def test_a_robot_receives_and_decodes_what_aiortc_sends(eventually: Eventually) -> None:
    frames: dict[str, list[ReceivedFrame]] = {"VP8": [], "opus": [], "H264": []}
    tapped: list[str] = []
    async with (
        _aiortc() as other,
        _robot(
            "subscriber",
            on_frame=lambda mid, codec, frame: frames[codec].append(frame),
            tap=lambda mid, packet: tapped.append(mid),
        ) as robot,
    ):
        other.addTrack(VideoStreamTrack())
        other.addTrack(AudioStreamTrack())
        await other.setLocalDescription(await other.createOffer())
        answer = await robot.answer(other.localDescription.sdp)
        await other.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await robot.connected()
        await eventually(lambda: len(frames["VP8"]) >= 10 and len(frames["opus"]) >= 20)
        received = {track.kind: track for track in robot.stats().received}
        assert (received["video"].width, received["video"].height) == (640, 480)
        assert received["video"].frames >= 10
        assert received["video"].frames_given_up == 0
        assert set(tapped) == {"0", "1"}
        decoder = FrameDecoder("VP8")
        pictures = [picture for frame in frames["VP8"] for picture in decoder.decode(frame.data)]
        assert len(pictures) == len(frames["VP8"])
        assert (pictures[0].width, decoder.failures) == (640, 0)


@pytest.mark.parametrize("robot_offers", [True, False])
async def test_one_connection_carries_media_both_ways(library: LoopLibrary, eventually: Eventually, *, robot_offers: bool) -> None:
    loops = await asyncio.to_thread(library.get, GeneratedMedia(width=320, height=180, fps=15, loop_s=2, simulcast=False))
    frames = {"VP8": 0, "opus": 0}
    tracks: asyncio.Queue[MediaStreamTrack] = asyncio.Queue()

    def count(mid: str, codec: CodecName, frame: ReceivedFrame) -> None:
        frames[codec] += 1

    async with _aiortc() as other, _robot("caller", on_frame=count) as robot:
        other.on("track", tracks.put_nowait)
        other.addTrack(AudioStreamTrack())
        other.addTrack(VideoStreamTrack())
        if robot_offers:
            offer = await robot.offer(loops, receive=True)
            await other.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            await other.setLocalDescription(await other.createAnswer())
            await robot.accept_answer(other.localDescription.sdp)
        else:
            await other.setLocalDescription(await other.createOffer())
            answer = await robot.answer(other.localDescription.sdp, loops)
            await other.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await robot.connected()
        by_kind = {track.kind: track for track in [await tracks.get(), await tracks.get()]}
        async with asyncio.timeout(30):
            picture: Any = await by_kind["video"].recv()
            await by_kind["audio"].recv()
        assert (picture.width, picture.height) == (320, 180)
        await eventually(lambda: frames["VP8"] >= 10 and frames["opus"] >= 20)


async def test_reports_and_keyframe_requests_reach_the_robot(library: LoopLibrary, eventually: Eventually) -> None:
    media = GeneratedMedia(width=320, height=180, fps=15, loop_s=10, simulcast=False, audio=False)
    loops = await asyncio.to_thread(library.get, media)
    async with _aiortc() as other, _robot("publisher") as robot:
        await other.setRemoteDescription(RTCSessionDescription(await robot.offer(loops), "offer"))
        await other.setLocalDescription(await other.createAnswer())
        await robot.accept_answer(other.localDescription.sdp)
        await robot.connected()
        (receiver,) = other.getReceivers()
        layer = robot.stats().sent[0].layers[0]
        await eventually(lambda: robot.stats().sent[0].layers[0].frames >= 3)
        await receiver._send_rtcp_pli(layer.ssrc)
        await eventually(lambda: robot.stats().sent[0].layers[0].keyframes >= 2)
        assert robot.stats().sent[0].keyframe_requests >= 1
        # aiortc's receiver reports name the stream and answer our sender reports, so the round trip is known.
        await eventually(lambda: robot.stats().sent[0].layers[0].rtt_s is not None)


async def test_junk_from_a_stranger_ends_nothing(library: LoopLibrary, eventually: Eventually) -> None:
    media = GeneratedMedia(width=320, height=180, fps=15, loop_s=2, simulcast=False, audio=False)
    loops = await asyncio.to_thread(library.get, media)
    async with _aiortc() as other, _robot("publisher") as robot:
        offer = await robot.offer(loops)
        await other.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await other.setLocalDescription(await other.createAnswer())
        await robot.accept_answer(other.localDescription.sdp)
        await robot.connected()
        port = int(next(line for line in offer.splitlines() if line.startswith("a=candidate:")).split()[5])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for junk in (b"", b"\x16", b"\x80", b"\x80\xc8", bytes(20), b"\x16\xfe\xfd" + bytes(40), b"\x90" * 1400):
                stranger.sendto(junk, ("127.0.0.1", port))
        before = robot.stats().sent[0].layers[0].frames
        await eventually(lambda: robot.stats().sent[0].layers[0].frames > before + 5)
        assert robot.state is PeerState.CONNECTED


async def test_a_peer_that_cannot_connect_says_so_and_closes_cleanly(library: LoopLibrary) -> None:
    media = GeneratedMedia(width=320, height=180, fps=15, loop_s=2, simulcast=False, audio=False)
    loops = await asyncio.to_thread(library.get, media)
    async with _aiortc() as other, _robot("publisher") as robot:
        await other.setRemoteDescription(RTCSessionDescription(await robot.offer(loops), "offer"))
        await other.setLocalDescription(await other.createAnswer())
        lines = [line for line in other.localDescription.sdp.splitlines() if "candidate" not in line]
        await robot.accept_answer("\r\n".join(lines) + "\r\n")
        with pytest.raises(ClosedError, match="ice_failed"):
            await robot.connected()
        assert robot.state is PeerState.FAILED
