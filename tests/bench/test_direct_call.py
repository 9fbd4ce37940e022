"""Two robots call each other with nothing between them, on the loopback; across NATs they are tested in the laboratory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bench.call import CallSignal, DirectCall
from bench.media import CodecName, GeneratedMedia, LoopLibrary, ReceivedFrame
from bench.peer import LOOPBACK, PeerState

Eventually = Callable[..., Awaitable[object]]

_MEDIA = GeneratedMedia(width=160, height=90, fps=15, loop_s=2, simulcast=False)


@dataclass(slots=True)
class End:
    """One end of a call, what it said and what came to it."""

    call: DirectCall
    said: list[CallSignal] = field(default_factory=list)
    frames: dict[str, int] = field(default_factory=lambda: {"VP8": 0, "opus": 0})


@asynccontextmanager
async def ends(library: LoopLibrary) -> AsyncIterator[tuple[End, End]]:
    """Give two ends whose signals reach each other."""
    made: dict[str, End] = {}

    def end(name: str, other: str) -> End:
        def send(signal: CallSignal) -> None:
            made[name].said.append(signal)
            made[other].call.receive(signal)

        def on_frame(mid: str, codec: CodecName, frame: ReceivedFrame) -> None:
            made[name].frames[codec] += 1

        made[name] = End(DirectCall(name, send=send, publish=_MEDIA, network=LOOPBACK, library=library, on_frame=on_frame))
        return made[name]

    amal, badr = end("Amal", "Badr"), end("Badr", "Amal")
    async with amal.call, badr.call:
        await amal.call.invite()
        await amal.call.connected()
        await badr.call.connected()
        yield amal, badr


async def flows(eventually: Eventually, *both: End) -> None:
    before = [dict(end.frames) for end in both]

    def grown() -> bool:
        return all(end.frames[codec] > was[codec] + 5 for end, was in zip(both, before, strict=True) for codec in was)

    await eventually(grown, what="sound and pictures flow both ways")


async def test_media_flows_both_ways_over_one_connection(library: LoopLibrary, eventually: Eventually) -> None:
    async with ends(library) as (amal, badr):
        await flows(eventually, amal, badr)
        assert [signal.kind for signal in amal.said] == ["offer"]
        assert [signal.kind for signal in badr.said] == ["answer"]
        for end in (amal, badr):
            assert {track.kind for track in end.call.stats().received} == {"audio", "video"}
            await eventually(lambda end=end: end.call.path is not None)
            assert end.call.path is not None
            assert (end.call.path.label, end.call.path.relayed) == ("host", False)


async def test_a_restart_keeps_the_connection_and_its_streams(library: LoopLibrary, eventually: Eventually) -> None:
    async with ends(library) as (amal, badr):
        await flows(eventually, amal, badr)
        amal.call.receive(CallSignal("restart", 1))
        await eventually(lambda: badr.call.rounds == 2)
        await flows(eventually, amal, badr)
        assert (amal.call.state, badr.call.state) == (PeerState.CONNECTED, PeerState.CONNECTED)
        assert len(amal.call.stats().received) == len(badr.call.stats().received) == 2
        ports = [[line.split()[5] for line in signal.sdp.splitlines() if line.startswith("a=candidate:")] for signal in amal.said]
        assert set(ports[0]).isdisjoint(ports[1])


async def test_signals_of_an_earlier_round_change_nothing(library: LoopLibrary, eventually: Eventually) -> None:
    async with ends(library) as (amal, badr):
        amal.call.receive(CallSignal("restart", 1))
        await eventually(lambda: badr.call.rounds == 2)
        # Both noticed the same silence; the second request speaks of a path that is left already.
        amal.call.receive(CallSignal("restart", 1))
        amal.call.receive(badr.said[0])
        badr.call.receive(amal.said[0])
        await flows(eventually, amal, badr)
        assert (amal.call.rounds, badr.call.rounds) == (2, 2)


async def test_a_signal_that_makes_no_sense_ends_nothing(library: LoopLibrary, eventually: Eventually) -> None:
    async with ends(library) as (amal, badr):
        badr.call.receive(CallSignal("offer", 7, "v=0\r\nnonsense"))
        for _ in range(100):
            badr.call.receive(CallSignal("restart", 1))
        await asyncio.sleep(0)
        await flows(eventually, amal, badr)
        amal.call.receive(CallSignal("restart", 1))
        await eventually(lambda: badr.call.rounds == 2)
        await flows(eventually, amal, badr)
        assert badr.call.state is PeerState.CONNECTED
