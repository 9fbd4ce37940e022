"""One real WebRTC connection of a robot: ICE through aioice, DTLS and SRTP, and the media of a `MediaSession`."""

from __future__ import annotations

import asyncio
import enum
import random
from collections.abc import Callable, Sequence

import aioice

from bench.media import Loop, MediaLoops
from bench.peer.agent import LOOPBACK, IceAgent, IceNetwork, IcePath, make_agent
from bench.peer.plan import ReceivePlan, RemoteTransport, SendPlan
from bench.peer.sdp import (
    OfferedTrack,
    answer_offer,
    match_tracks,
    plan_sending,
    read_answer,
    read_answered_media,
    read_transport,
    write_offer,
)
from bench.peer.sender import TrackSender
from bench.peer.session import FrameListener, MediaSession, SessionStats, Tap
from salam import ClosedError, TaskOwner, get_logger, ntp_seconds
from salam.clock import Clock, RealClock
from sfu.dtls import DtlsAssociation, DtlsConnected, DtlsEvent, DtlsIdentity, DtlsRole
from sfu.sdp import MediaSection
from sfu.sdp_lines import LocalTransport

__all__ = ["PeerState", "RtcPeer"]

# First bytes by which protocols on one port are told apart (RFC 7983 7): DTLS records begin with 20 to 63, RTP and RTCP with 128 to
# 191.
_DTLS_FIRST_BYTES = range(20, 64)
_MEDIA_FIRST_BYTES = range(128, 192)
# The longest that the timer task sleeps: nothing in a connection waits longer without being looked at.
_MAX_SLEEP_S = 0.5
# How late the timer may be: as long as a receiver waits for a reordered packet before it asks for it again.
_TIMER_SLACK_S = 0.01
_UFRAG_BYTES, _PASSWORD_BYTES, _CNAME_BYTES = 8, 24, 16
_ICE_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

_log = get_logger("bench")


class PeerState(enum.Enum):
    """Where a connection stands."""

    NEW = "new"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    LOST = "lost"
    """It stood and nothing is heard any more; new ICE credentials may bring it back."""
    FAILED = "failed"
    CLOSED = "closed"


class RtcPeer:
    """A peer connection that offers (`offer`, then `accept_answer`) or answers (`answer`, as often as an offer comes).

    With a server, one sends and another one receives; with another peer, one does both. ``network`` says from where and with whose
    help it connects: from the loopback alone by default. ``rng`` makes SSRCs, first sequence numbers and ICE credentials repeatable
    in tests. ``tap`` and ``on_frame`` see what is received. ``on_silent`` is called, again and again, while nothing is heard over
    the path in use and a check of it goes unanswered: long before consent expires. ``on_lost`` is called when the connection is
    lost after it stood. Close it with `close`.
    """

    def __init__(
        self,
        name: str,
        *,
        identity: DtlsIdentity | None = None,
        network: IceNetwork = LOOPBACK,
        rng: random.Random | None = None,
        clock: Clock | None = None,
        tap: Tap | None = None,
        on_frame: FrameListener | None = None,
        on_silent: Callable[[], None] | None = None,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        self._clock = clock or RealClock()
        self._rng = rng or random.SystemRandom()
        self._network = network
        self._identity = identity or DtlsIdentity.generate(self._clock.wall())
        self._dtls = DtlsAssociation(self._identity)
        self._ufrag = self._ice_text(_UFRAG_BYTES)
        self._password = self._ice_text(_PASSWORD_BYTES)
        self._ice: IceAgent | None = None
        self._gathered: IceAgent | None = None
        # Those of paths that media has left, until they are closed; each restart leaves one.
        self._left: set[IceAgent] = set()
        self._cname = self._ice_text(_CNAME_BYTES)
        self._session_id = self._rng.getrandbits(62)
        self._version = 0
        self._tracks: list[OfferedTrack] = []
        self._receives_too = False
        self._media = MediaSession(
            cname=self._cname,
            rng=self._rng,
            ntp_offset_s=ntp_seconds(self._clock.wall()) - self._clock.monotonic(),
            tap=tap,
            on_frame=on_frame,
        )
        self._tasks = TaskOwner(f"peer {name}", on_failure=self._on_failure)
        self._changed = asyncio.Event()
        self._timer_changed = asyncio.Event()
        self._wakes_at_s = 0.0
        self._state = PeerState.NEW
        self._reason = ""
        self._remote: RemoteTransport | None = None
        self._dropped = 0
        self._on_silent = on_silent
        self._on_lost = on_lost

    @property
    def reason(self) -> str:
        """Why the connection is lost, failed or closed; empty otherwise."""
        return self._reason

    @property
    def state(self) -> PeerState:
        """Where the connection stands."""
        return self._state

    @property
    def senders(self) -> Sequence[TrackSender]:
        """The tracks that are sent, once the answer came."""
        return self._media.senders

    @property
    def path(self) -> IcePath | None:
        """The way that media takes now; None before there is one."""
        return self._ice.path if self._ice is not None else None

    async def offer(self, loops: MediaLoops, *, receive: bool = False) -> str:
        """Return the offer to send ``loops``: sound on the first m-line, video on the next. ``receive`` offers to get as much."""
        self._tracks = [
            OfferedTrack(str(index), loop, tuple((self._media.new_ssrc(), self._media.new_ssrc()) for _ in loop.layers))
            for index, loop in enumerate(_present(loops))
        ]
        self._receives_too = receive
        await self._gather(controlling=True)
        return self._written_offer()

    async def offer_restart(self) -> str:
        """Return the offer of the same tracks with new ICE credentials; its answer is for `accept_restart`."""
        self._renew_credentials()
        await self._gather(controlling=True)
        return self._written_offer()

    async def accept_restart(self, sdp: str) -> None:
        """Take the answer to `offer_restart`: media goes over to the new path once it works.

        Raises SdpError when it cannot be read.
        """
        remote, _ = read_transport(sdp)
        ice = await self._give_remote(remote)
        self._tasks.spawn(self._move(ice), name="move")

    def offered_kinds(self) -> dict[str, str]:
        """Return the kind (``audio`` or ``video``) of each offered m-line by its mid."""
        return {track.mid: track.loop.kind for track in self._tracks}

    async def accept_answer(self, sdp: str) -> None:
        """Take the answer to the offer and begin to connect; sending starts once connected.

        Raises SdpError when it is no answer to the offer.
        """
        plans = read_answer(sdp, self._tracks)
        remote, section = read_transport(sdp)
        if self._receives_too:
            self._media.set_receive_plans(read_answered_media(sdp))
        self._add_senders(plans)
        # The answerer chooses: a passive one waits for our hello.
        role = DtlsRole.SERVER if section.setup == "active" else DtlsRole.CLIENT
        await self._connect(remote, section, role)

    async def answer(self, sdp: str, loops: MediaLoops | None = None) -> str:
        """Take an offer, the first or a later one, and return the answer that receives everything in it.

        ``loops``, with the first offer, are sent where it takes them. An offer with new ICE credentials moves the connection: media
        goes on over the old path until the new one works.

        Raises SdpError when it cannot be read.
        """
        remote, section = read_transport(sdp)
        first = self._remote is None
        restarts = self._remote is not None and remote.ufrag != self._remote.ufrag
        if restarts:
            self._renew_credentials()
        if restarts or self._gathered is None:
            # A full agent that offers is the controlling one; a lite agent never is (RFC 8445 6.1.1).
            await self._gather(controlling=remote.lite)
        if first and loops is not None:
            self._tracks = match_tracks(sdp, _present(loops), self._media.new_ssrc)
        self._version += 1
        text, plans = answer_offer(
            sdp,
            self._local("active"),
            session_id=self._session_id,
            version=self._version,
            tracks=self._tracks,
            cname=self._cname,
            candidates=self._candidates(),
        )
        self._media.set_receive_plans(plans)
        if restarts:
            ice = await self._give_remote(remote)
            self._tasks.spawn(self._move(ice), name="move")
        elif first:
            self._add_senders(plan_sending(sdp, self._tracks))
            await self._connect(remote, section, DtlsRole.CLIENT)
        return text

    async def connected(self, timeout_s: float = 30.0) -> None:
        """Wait until media can flow. Raises ClosedError when the connection fails, and TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while self._state is not PeerState.CONNECTED:
                if self._state in (PeerState.FAILED, PeerState.CLOSED):
                    raise ClosedError(f"the connection could not be made: {self._reason}", reason=self._reason)
                self._changed.clear()
                await self._changed.wait()

    def receive_plan(self, mid: str) -> ReceivePlan | None:
        """Return what was negotiated for a received m-line; None when nothing is received on it."""
        return self._media.receive_plan(mid)

    def stats(self) -> SessionStats:
        """Return the totals so far."""
        return self._media.stats()

    async def close(self) -> None:
        """Say goodbye and free everything; idempotent."""
        if self._state is PeerState.CONNECTED:
            self._media.goodbye()
            self._dtls.close()
            await self._flush()
        self._set_state(PeerState.CLOSED, "closed")
        await self._tasks.close()
        for ice in {self._ice, self._gathered, *self._left} - {None}:
            assert ice is not None
            await ice.close()

    async def _gather(self, *, controlling: bool) -> None:
        unused = self._gathered if self._gathered is not self._ice else None
        self._gathered = make_agent(
            self._network,
            controlling=controlling,
            ufrag=self._ufrag,
            password=self._password,
            on_silent=self._on_silent,
        )
        await self._gathered.gather_candidates()
        if unused is not None:
            # One restart overtook another before its path worked.
            await unused.close()

    def _add_senders(self, plans: Sequence[SendPlan | None]) -> None:
        now = self._clock.monotonic()
        for track, plan in zip(self._tracks, plans, strict=True):
            if plan is not None:
                by_rid = dict(zip(track.rids, track.ssrcs, strict=False))
                ssrcs = [by_rid[rid] for rid in plan.rids] or [track.ssrcs[-1]]
                self._media.add_sender(plan, track.loop, ssrcs, now)

    async def _connect(self, remote: RemoteTransport, section: MediaSection, role: DtlsRole) -> None:
        self._set_state(PeerState.CONNECTING)
        self._ice = await self._give_remote(remote)
        self._tasks.spawn(self._run(self._ice, section, role), name="run")

    async def _give_remote(self, remote: RemoteTransport) -> IceAgent:
        ice = self._gathered
        assert ice is not None
        self._remote = remote
        ice.remote_username, ice.remote_password = remote.ufrag, remote.password
        ice.remote_is_lite = remote.lite
        for text in remote.candidates:
            await self._add_candidate(ice, text)
        await ice.add_remote_candidate(None)
        return ice

    async def _add_candidate(self, ice: IceAgent, text: str) -> None:
        try:
            candidate = aioice.Candidate.from_sdp(text)
            if candidate.component == 1 and candidate.transport.lower() == "udp":
                await ice.add_remote_candidate(candidate)
        except ValueError:
            # A kind of candidate that aioice does not know is of no use to it; others may be.
            self._dropped += 1

    async def _run(self, ice: IceAgent, section: MediaSection, role: DtlsRole) -> None:
        try:
            await ice.connect()
        except ConnectionError:
            self._set_state(PeerState.FAILED, "ice_failed")
            return
        self._dtls.start(role, section.fingerprints, self._clock.monotonic())
        self._tasks.spawn(self._keep_time(), name="timer")
        await self._flush()
        await self._receive_from(ice)

    async def _move(self, ice: IceAgent) -> None:
        """Go over to a path of newer credentials once it works; when it never does, the old one stays."""
        try:
            await ice.connect()
        except ConnectionError:
            _log.debug("an ICE restart found no path")
            return
        old, self._ice = self._ice, ice
        if self._state is PeerState.LOST:
            self._set_state(PeerState.CONNECTED)
        self._tasks.spawn(self._receive_from(ice), name="receive")
        if old is not None:
            # Nobody waits for this: giving a relay back takes a while where its server is out of reach.
            self._left.add(old)
            await old.close()
            self._left.discard(old)

    async def _receive_from(self, ice: IceAgent) -> None:
        while True:
            try:
                data = await ice.recv()
            except ConnectionError:
                if ice is self._ice:
                    self._lose()
                return
            await self._receive(data)

    async def _receive(self, data: bytes) -> None:
        # The agent passes on whatever any stranger sends that is not STUN, the empty datagram included.
        now = self._clock.monotonic()
        if data and data[0] in _DTLS_FIRST_BYTES:
            self._dtls.receive(data, now)
        elif data and data[0] in _MEDIA_FIRST_BYTES:
            self._media.receive(data, now)
        else:
            self._dropped += 1
        await self._flush()
        # What arrived may have made something due sooner; looking each time would cost more than the packet itself.
        if self._wakes_at_s > now + _TIMER_SLACK_S:
            self._timer_changed.set()

    async def _keep_time(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            now = self._clock.monotonic()
            deadline = min(self._media.next_deadline(), self._dtls.next_deadline())
            if deadline <= now:
                self._dtls.handle_timer(now)
                self._media.handle_timer(now)
                await self._flush()
                # Others of the same loop get their turn even when this peer is always late.
                await asyncio.sleep(0)
                continue
            self._wakes_at_s = min(deadline, now + _MAX_SLEEP_S)
            self._timer_changed.clear()
            alarm = loop.call_later(self._wakes_at_s - now, self._timer_changed.set)
            try:
                await self._timer_changed.wait()
            finally:
                alarm.cancel()

    async def _flush(self) -> None:
        for event in self._dtls.take_events():
            self._on_dtls(event)
        if self._ice is None:
            return
        for datagram in (*self._dtls.take_datagrams(), *self._media.take_datagrams()):
            try:
                await self._ice.send(datagram)
            except (ConnectionError, OSError):
                self._dropped += 1

    def _on_dtls(self, event: DtlsEvent) -> None:
        if isinstance(event, DtlsConnected):
            self._media.set_keys(event.keys, self._clock.monotonic())
            self._set_state(PeerState.CONNECTED)
        else:
            self._set_state(PeerState.FAILED, getattr(event, "reason", "dtls_closed"))

    def _lose(self) -> None:
        if self._state is not PeerState.CONNECTED:
            # Nothing was agreed on yet that a new path could carry on with.
            self._set_state(PeerState.FAILED, "ice_lost")
            return
        self._set_state(PeerState.LOST, "ice_lost")
        if self._on_lost is not None:
            self._on_lost()

    def _set_state(self, state: PeerState, reason: str = "") -> None:
        if self._state not in (PeerState.CLOSED, PeerState.FAILED):
            self._state = state
            self._reason = reason
        self._changed.set()

    def _on_failure(self, task: str, failure: BaseException) -> None:
        _log.error("%s failed", task, exc_info=failure)
        self._set_state(PeerState.FAILED, type(failure).__name__)

    def _renew_credentials(self) -> None:
        self._ufrag, self._password = self._ice_text(_UFRAG_BYTES), self._ice_text(_PASSWORD_BYTES)

    def _written_offer(self) -> str:
        self._version += 1
        local = self._local("actpass")
        return write_offer(
            self._tracks,
            local,
            session_id=self._session_id,
            version=self._version,
            cname=self._cname,
            candidates=self._candidates(),
            receive=self._receives_too,
        )

    def _local(self, setup: str) -> LocalTransport:
        return LocalTransport(self._ufrag, self._password, self._identity.fingerprint, (), setup)

    def _candidates(self) -> list[str]:
        assert self._gathered is not None
        return [candidate.to_sdp() for candidate in self._gathered.local_candidates]

    def _ice_text(self, length: int) -> str:
        return "".join(self._rng.choice(_ICE_CHARACTERS) for _ in range(length))


def _present(loops: MediaLoops) -> list[Loop]:
    return [loop for loop in (loops.audio, loops.video) if loop is not None]
