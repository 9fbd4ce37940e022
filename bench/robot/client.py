"""A robot: joins a room as a browser would, publishes generated media or a file, and receives everybody else."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from bench.media import CodecName, FrameDecoder, LoopLibrary, Media, MediaLoops, ReceivedFrame
from bench.peer import LOOPBACK, IceNetwork, PeerState, RtcPeer, Tap
from bench.robot.judge import Judge
from bench.robot.relays import with_relays
from bench.robot.stats import ReceivedTrack, RobotStats, received_track, sent_track
from bench.strict_receiver import StrictReceiver
from salam import ClosedError, RequestError, SalamError, TaskOwner, get_logger
from salam.clock import Clock, RealClock
from sfu.sdp import SdpError
from signaling import Encoding, SignalingClient
from signaling.messages import (
    ChatEvent,
    ChatLine,
    Event,
    LayerChanged,
    MuteRequested,
    ParticipantInfo,
    ParticipantJoined,
    ParticipantLeft,
    ParticipantUpdated,
    PublishedTrack,
    Removed,
    RoomState,
    Speakers,
    SubscribedTrack,
    SubscribeOffer,
)

__all__ = ["PictureListener", "Robot"]

_log = get_logger("bench")

# Shared by all robots of a process, so that ten that publish the same cost one encoding.
_LIBRARY = LoopLibrary()
_SOURCES: dict[str, Literal["microphone", "camera"]] = {"audio": "microphone", "video": "camera"}
# Chat lines that are kept; a rig that wants more takes them as they come.
_MAX_CHAT_LINES = 1_000
# Frames that wait for the decoder: two seconds of a room with five videos. Beyond that the machine is too slow, and frames go by.
_MAX_UNDECODED = 256
# A restart takes a round trip through signaling and some ICE checks; until then it is not fair to try again.
_RESTART_AGAIN_S = 5.0
_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost"})
_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}

PictureListener = Callable[[str, Any], None]
"""Called with the track id and each decoded `av.VideoFrame` or `av.AudioFrame`."""


class Robot:
    """One participant of a room.

    ::

        async with Robot("ws://127.0.0.1:8080/ws", room="lobby", name="Amira", publish=GeneratedMedia()) as robot:
            await robot.chat("hello")
            print(robot.stats())

    Entering joins the room and, with ``publish``, waits until its media flows; leaving says goodbye and frees everything.
    ``url`` may begin with ws, wss, http or https. ``subscribe`` False receives nothing. ``decode`` decodes what is received, in
    threads, and hands it to ``on_picture``; otherwise frames are only put together and counted. ``tap`` sees each received RTP
    packet with its m-line's mid. ``strict`` judges each received track with a `StrictReceiver`, and ``flushing_publishers`` tells
    it that the tracks come from browsers (`StrictConfig.flushing_source`). ``rng`` makes what the robot chooses repeatable.

    The TURN servers that the server hands out are used as a browser would; with ``relay_only`` media goes through one of them or
    not at all. `paths` says which way it takes.

    A media connection on which nothing is heard any more is given new ICE credentials, as often as it takes; `lost` names it
    meanwhile, and `stats` counts how often that happened.

    Raises what `SignalingClient` raises when the server cannot be reached or refuses, ResourceError when a file cannot be
    published, and ClosedError or TimeoutError when media does not connect within ``connect_timeout_s``.
    """

    def __init__(
        self,
        url: str,
        *,
        room: str,
        name: str,
        publish: Media | None = None,
        subscribe: bool = True,
        token: str = "",
        encoding: Encoding = Encoding.JSON,
        decode: bool = False,
        on_picture: PictureListener | None = None,
        tap: Tap | None = None,
        strict: bool = False,
        relay_only: bool = False,
        flushing_publishers: bool = False,
        library: LoopLibrary | None = None,
        connect_timeout_s: float = 30.0,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.name = name
        self._room = room
        self._publish = publish
        self._subscribe = subscribe
        self._decode = decode or on_picture is not None
        self._on_picture = on_picture
        self._tap = tap
        self._judge = Judge(flushing_publishers=flushing_publishers) if strict else None
        self._library = library or _LIBRARY
        self._connect_timeout_s = connect_timeout_s
        self._clock = clock or RealClock()
        self._rng = rng or random.SystemRandom()
        self._client = SignalingClient.connect(_websocket_url(url), token=token, encoding=encoding, client="salam-robot")
        self._relay_only = relay_only
        self._network = LOOPBACK if urlsplit(url).hostname in _LOOPBACK_HOSTS else IceNetwork()
        self._tasks = TaskOwner(f"robot {name}")
        self._publisher: RtcPeer | None = None
        self._subscriber: RtcPeer | None = None
        self._own_tracks: dict[str, str] = {}
        self._subscribed: dict[str, SubscribedTrack] = {}
        self._layers: dict[str, str] = {}
        self._undecoded: asyncio.Queue[tuple[str, CodecName, bytes]] = asyncio.Queue(_MAX_UNDECODED)
        self._decoded: dict[str, int] = {}
        self._decode_failures = 0
        self._connections_lost = 0
        self._chat_count = 0
        self.participant_id = ""
        """This robot's own id, once joined."""
        self.participants: dict[str, ParticipantInfo] = {}
        """Everybody else in the room, by participant id."""
        self.chat_lines: deque[ChatLine] = deque(maxlen=_MAX_CHAT_LINES)
        """The room's latest lines, this robot's own included."""
        self.speakers: list[str] = []
        """Ids of the participants who speak now, loudest first."""
        self.removed = ""
        """Why the server put this robot out of the room; empty while it is in."""

    async def __aenter__(self) -> Robot:
        try:
            loops = await asyncio.to_thread(self._library.get, self._publish) if self._publish is not None else None
            await self._client.__aenter__()
            joined = await self._client.join(self._room, self.name)
            self._network = with_relays(self._network, self._client, relay_only=self._relay_only)
            self.participant_id = joined.participant_id
            self.participants = {other.participant_id: other for other in joined.participants}
            self.chat_lines.extend(joined.chat)
            self._tasks.spawn(self._follow(), name="events")
            if self._decode:
                self._tasks.spawn(self._decode_frames(), name="decode")
            if loops is not None:
                await self._start_publishing(loops)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave the room and free everything; idempotent."""
        await self._tasks.close()
        for peer in (self._publisher, self._subscriber):
            if peer is not None:
                await peer.close()
        if self._client.connected and not self.removed:
            # The room may be gone already, and the server too: leaving is a courtesy.
            with contextlib.suppress(SalamError):
                await self._client.leave()
        await self._client.close()

    async def chat(self, text: str) -> None:
        """Say ``text`` to the room."""
        self._chat_count += 1
        await self._client.chat(text, chat_id=f"{self.participant_id}-{self._chat_count}"[:64])

    async def set_layer(self, track_id: str, *, height: int = 720, rid: str = "") -> None:
        """Say how large a received video is shown (pixels, 0 for not at all), or which layer is wanted."""
        await self._client.set_layer(track_id, height=height, rid=rid)

    async def restart_ice(self) -> None:
        """Ask the server to offer the subscribe connection with new ICE credentials, as after a change of network."""
        await self._client.restart_ice()

    @property
    def paths(self) -> dict[str, str]:
        """The way that each media connection (``publish``, ``subscribe``) takes, as `IcePath.label`; those that stand."""
        peers = {"publish": self._publisher, "subscribe": self._subscriber}
        return {which: peer.path.label for which, peer in peers.items() if peer is not None and peer.path is not None}

    @property
    def lost(self) -> dict[str, str]:
        """The media connections (``publish``, ``subscribe``) that do not work now, and why; empty while all do."""
        peers = {"publish": self._publisher, "subscribe": self._subscriber}
        broken = (PeerState.LOST, PeerState.FAILED)
        return {which: peer.reason for which, peer in peers.items() if peer is not None and peer.state in broken}

    async def mute(self, kind: Literal["audio", "video"], *, muted: bool = True) -> None:
        """Mute or unmute the own track of that kind: nothing of it is sent, and the room is told.

        Raises RequestError when no such track is published.
        """
        if self._publisher is None or kind not in self._own_tracks:
            raise RequestError(f"this robot publishes no {kind}")
        for sender in self._publisher.senders:
            if sender.plan.kind == kind:
                sender.muted = muted
                if not muted:
                    sender.player.request_keyframe()
        await self._client.mute(self._own_tracks[kind], muted)

    def set_publishing(self, rid: str, *, active: bool) -> None:
        """Stop or resume one simulcast layer of the own video, as a browser does when bandwidth is short.

        Raises RequestError when no such layer is published.
        """
        for sender in self._publisher.senders if self._publisher is not None else ():
            if rid in sender.plan.rids:
                sender.set_layer_active(rid, active=active)
                return
        raise RequestError(f"this robot publishes no layer {rid!r}")

    def track_ids(self) -> dict[str, str]:
        """Return the ids of the own tracks by kind (``audio``, ``video``)."""
        return dict(self._own_tracks)

    def strict_receivers(self) -> list[StrictReceiver]:
        """Return the judges of all tracks received so far; empty unless ``strict``."""
        return [] if self._judge is None else self._judge.receivers()

    def stats(self) -> RobotStats:
        """Return the totals so far; tracks that are gone are not in them any more."""
        sent = self._publisher.stats() if self._publisher is not None else None
        received = self._subscriber.stats() if self._subscriber is not None else None
        return RobotStats(
            sent=tuple(sent_track(self._own_tracks.get(track.kind, ""), track) for track in (sent.sent if sent else ())),
            received=tuple(self._received(received.received if received else ())),
            dropped=sum(known.dropped for known in (sent, received) if known is not None),
            decode_failures=self._decode_failures,
            connections_lost=self._connections_lost,
        )

    def _received(self, streams: Sequence[Any]) -> list[ReceivedTrack]:
        tracks = []
        for stream in streams:
            track = self._subscribed.get(stream.mid)
            if track is not None:
                tracks.append(
                    received_track(
                        stream,
                        track_id=track.track_id,
                        participant_id=track.participant_id,
                        source=track.source,
                        layer=self._layers.get(track.track_id, ""),
                        frames_decoded=self._decoded.get(track.track_id, 0),
                    )
                )
        return tracks

    async def _start_publishing(self, loops: MediaLoops) -> None:
        peer = self._publisher = RtcPeer(
            f"{self.name} publish",
            network=self._network,
            rng=self._rng,
            clock=self._clock,
            on_lost=lambda: self._on_lost(peer, lambda: self._restart_publishing(peer)),
        )
        await peer.accept_answer(await self._offer(peer, await peer.offer(loops)))
        await peer.connected(self._connect_timeout_s)

    async def _offer(self, peer: RtcPeer, sdp: str) -> str:
        kinds = peer.offered_kinds()
        muted: dict[str, bool] = {sender.plan.kind: sender.muted for sender in peer.senders}
        tracks = [PublishedTrack(mid=mid, source=_SOURCES[kind], muted=muted.get(kind, False)) for mid, kind in kinds.items()]
        answer = await self._client.publish_offer(sdp, tracks)
        self._own_tracks = {kinds[mid]: track_id for mid, track_id in answer.track_ids.items() if mid in kinds}
        return answer.sdp

    async def _restart_publishing(self, peer: RtcPeer) -> None:
        await peer.accept_restart(await self._offer(peer, await peer.offer_restart()))

    def _on_lost(self, peer: RtcPeer | None, restart: Callable[[], Awaitable[None]]) -> None:
        assert peer is not None
        self._connections_lost += 1
        _log.warning("robot %s lost a media connection: %s", self.name, peer.reason)
        self._tasks.spawn(self._mend(peer, restart), name="mend")

    async def _mend(self, peer: RtcPeer, restart: Callable[[], Awaitable[None]]) -> None:
        while peer.state is PeerState.LOST:
            try:
                await restart()
                await peer.connected(_RESTART_AGAIN_S)
            except TimeoutError:
                continue
            except SalamError as error:
                _log.debug("robot %s could not restart ICE: %s", self.name, error)
                await asyncio.sleep(_RESTART_AGAIN_S)

    async def _follow(self) -> None:
        async for event in self._client.events():
            if isinstance(event, SubscribeOffer):
                await self._on_offer(event)
            elif isinstance(event, Event):
                self._on_event(event)

    async def _on_offer(self, offer: SubscribeOffer) -> None:
        if not self._subscribe:
            return
        peer = self._subscriber
        if peer is None:
            peer = self._subscriber = RtcPeer(
                f"{self.name} subscribe",
                network=self._network,
                rng=self._rng,
                clock=self._clock,
                tap=self._on_packet if self._tap is not None or self._judge is not None else None,
                on_frame=self._on_frame if self._decode else None,
                on_lost=lambda: self._on_lost(self._subscriber, self.restart_ice),
            )
        self._subscribed = {track.mid: track for track in offer.tracks}
        try:
            answer = await peer.answer(offer.sdp)
            await self._client.subscribe_answer(offer.revision, answer)
        except SdpError as error:
            _log.warning("robot %s cannot take an offer: %s", self.name, error)
        except RequestError as error:
            # A newer offer, or the end of the room, may have overtaken this one.
            _log.debug("the answer to offer %d was not taken: %s", offer.revision, error)

    def _on_event(self, event: Event) -> None:
        match event:
            case ParticipantJoined(participant=other) | ParticipantUpdated(participant=other):
                if other.participant_id != self.participant_id:
                    self.participants[other.participant_id] = other
            case ParticipantLeft(participant_id=gone):
                self.participants.pop(gone, None)
            case RoomState(participants=others):
                self.participants = {other.participant_id: other for other in others}
            case LayerChanged(track_id=track_id, rid=rid):
                self._layers[track_id] = rid
            case Speakers(speakers=speakers):
                self.speakers = [speaker.participant_id for speaker in speakers]
            case ChatEvent(line=line, stream=""):
                self.chat_lines.append(line)
            case MuteRequested(track_id=track_id):
                self._obey_mute(track_id)
            case Removed(reason=reason):
                self.removed = reason

    def _obey_mute(self, track_id: str) -> None:
        for sender in self._publisher.senders if self._publisher is not None else ():
            if self._own_tracks.get(sender.plan.kind) == track_id:
                sender.muted = True

    def _on_packet(self, mid: str, packet: bytes) -> None:
        if self._tap is not None:
            self._tap(mid, packet)
        if self._judge is not None and self._subscriber is not None:
            plan = self._subscriber.receive_plan(mid)
            if plan is not None:
                self._judge.on_packet(plan, packet)

    def _on_frame(self, mid: str, codec: CodecName, frame: ReceivedFrame) -> None:
        track = self._subscribed.get(mid)
        if track is None:
            return
        try:
            self._undecoded.put_nowait((track.track_id, codec, frame.data))
        except asyncio.QueueFull:
            self._decode_failures += 1

    async def _decode_frames(self) -> None:
        decoders: dict[str, FrameDecoder] = {}
        while True:
            track_id, codec, data = await self._undecoded.get()
            decoder = decoders.get(track_id)
            if decoder is None or decoder.codec != codec:
                # Tracks that are gone leave a decoder behind; the oldest go once there are more than a large room has.
                while len(decoders) >= _MAX_UNDECODED:
                    decoders.pop(next(iter(decoders)))
                decoder = decoders[track_id] = FrameDecoder(codec)
            failures = decoder.failures
            pictures = await asyncio.to_thread(decoder.decode, data)
            self._decode_failures += decoder.failures - failures
            self._decoded[track_id] = self._decoded.get(track_id, 0) + len(pictures)
            for picture in pictures if self._on_picture is not None else ():
                assert self._on_picture is not None
                self._on_picture(track_id, picture)


def _websocket_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ClosedError("a robot's URL begins with ws://, wss://, http:// or https://", reason="bad_url")
    return urlunsplit((_SCHEMES[parts.scheme], parts.netloc, parts.path, parts.query, ""))
