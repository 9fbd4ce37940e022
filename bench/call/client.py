"""One end of a call between two robots: media goes both ways over one connection, which finds another path when its own is cut."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from bench.media import LoopLibrary, Media, MediaLoops
from bench.peer import FrameListener, IceNetwork, IcePath, PeerState, RtcPeer, SessionStats, Tap
from salam import RequestError, SalamError, TaskOwner, get_logger

__all__ = ["CallSignal", "DirectCall"]

_log = get_logger("bench")

# A restart gathers, which takes up to two seconds without a server's answer, and has its checks answered; before that another one
# would only begin the same again.
_RESTART_AGAIN_S = 3.0
# What the other side says and is not looked at yet. A call has a handful of these in all.
_MAX_SIGNALS = 64


@dataclass(frozen=True, slots=True)
class CallSignal:
    """What one end says to the other, by any way that keeps the order."""

    kind: Literal["offer", "answer", "restart"]
    """``restart`` asks the caller for an offer with new ICE credentials."""
    round: int
    """How many offers there were."""
    sdp: str = ""


class DirectCall:
    """One end of a call.

    ::

        async with DirectCall("Amal", send=other.receive, publish=media, network=IceNetwork(stun_server=...)) as call:
            await call.invite()
            await call.connected()
            print(call.path)

    ``send`` takes each signal to the other end, whose own come to `receive`. One end calls `invite`, the other one answers by
    itself. ``publish`` is sent, without simulcast. ``tap`` sees each received RTP packet and ``on_frame`` each whole frame.

    When nothing is heard any more over the path in use, the caller offers new ICE credentials, as often as it takes, and media goes
    over to whatever path they find: the keys and the streams stay the same.
    """

    def __init__(
        self,
        name: str,
        *,
        send: Callable[[CallSignal], None],
        publish: Media,
        network: IceNetwork,
        library: LoopLibrary | None = None,
        tap: Tap | None = None,
        on_frame: FrameListener | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._name = name
        self._send = send
        self._publish = publish
        self._library = library or LoopLibrary()
        self._loops: MediaLoops | None = None
        self._peer = RtcPeer(
            name,
            network=network,
            rng=rng,
            tap=tap,
            on_frame=on_frame,
            on_silent=self._look_for_another_path,
            on_lost=self._look_for_another_path,
        )
        self._tasks = TaskOwner(f"call {name}")
        self._signals: asyncio.Queue[CallSignal] = asyncio.Queue(_MAX_SIGNALS)
        self._calls = False
        self._round = 0
        self._restarted_at_s = 0.0

    async def __aenter__(self) -> DirectCall:
        self._loops = await asyncio.to_thread(self._library.get, self._publish)
        self._tasks.spawn(self._follow(), name="signals")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up and free everything; idempotent."""
        await self._tasks.close()
        await self._peer.close()

    async def invite(self) -> None:
        """Call the other end. Raises RequestError when this end calls already, or is called."""
        if self._round:
            raise RequestError("this call has begun")
        assert self._loops is not None
        self._calls = True
        self._round = 1
        self._send(CallSignal("offer", 1, await self._peer.offer(self._loops, receive=True)))

    def receive(self, signal: CallSignal) -> None:
        """Take what the other end says."""
        try:
            self._signals.put_nowait(signal)
        except asyncio.QueueFull:
            _log.warning("%s is told more than a call has to say", self._name)

    async def connected(self, timeout_s: float = 30.0) -> None:
        """Wait until media can flow. Raises ClosedError when the connection fails, and TimeoutError."""
        await self._peer.connected(timeout_s)

    @property
    def state(self) -> PeerState:
        """Where the connection stands."""
        return self._peer.state

    @property
    def path(self) -> IcePath | None:
        """The way that media takes now; None before there is one."""
        return self._peer.path

    @property
    def rounds(self) -> int:
        """How many offers there were: one, and one for each restart."""
        return self._round

    def stats(self) -> SessionStats:
        """Return the totals so far."""
        return self._peer.stats()

    async def _follow(self) -> None:
        while True:
            signal = await self._signals.get()
            try:
                await self._obey(signal)
            except (SalamError, ConnectionError) as error:
                _log.warning("%s cannot use an %s: %s", self._name, signal.kind, error)

    async def _obey(self, signal: CallSignal) -> None:
        if signal.kind == "restart" and self._calls and signal.round == self._round:
            # One that speaks of an earlier round has been answered by this one already.
            await self._restart()
        elif signal.kind == "offer" and not self._calls and signal.round > self._round:
            self._restarted_at_s = asyncio.get_running_loop().time()
            answer = await self._peer.answer(signal.sdp, self._loops)
            self._round = signal.round
            self._send(CallSignal("answer", signal.round, answer))
        elif signal.kind == "answer" and self._calls and signal.round == self._round:
            # An answer to an earlier offer than the last is for credentials that are no more.
            if signal.round == 1:
                await self._peer.accept_answer(signal.sdp)
            else:
                await self._peer.accept_restart(signal.sdp)

    def _look_for_another_path(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._restarted_at_s < _RESTART_AGAIN_S and self._round > 1:
            return
        self._restarted_at_s = now
        # Only one end offers, so that two offers never meet half-way.
        if self._calls:
            self.receive(CallSignal("restart", self._round))
        else:
            self._send(CallSignal("restart", self._round))

    async def _restart(self) -> None:
        self._restarted_at_s = asyncio.get_running_loop().time()
        offer = await self._peer.offer_restart()
        self._round += 1
        self._send(CallSignal("offer", self._round, offer))
