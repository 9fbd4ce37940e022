"""A robot that calls, as a process of its own: told what to do by lines of JSON, and telling what it sees by such lines.

The first line says who it is; later ones hand it what the other robot says. It prints what it says itself, and several times a
second a report of how the call stands. It ends when its input ends.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict

import uvloop

from bench.call import CallSignal, DirectCall
from bench.media import CodecName, FrameDecoder, GeneratedMedia, ReceivedFrame
from bench.peer import IceNetwork
from tests.support.lab_lines import input_lines, reporting, say
from turn_client.ice import RelaySource

# A pause in what is received that is worth a word. Sound comes every 20 ms.
_GAP_S = 0.3


class Ear:
    """Notes when media comes, and decodes the pictures."""

    def __init__(self) -> None:
        self.packets = 0
        self.pictures = 0
        self.gaps: list[tuple[float, float]] = []
        self._last_s = 0.0
        self._decoder = FrameDecoder("VP8")

    def on_packet(self, mid: str, packet: bytes) -> None:
        now = time.monotonic()
        if self._last_s and now - self._last_s > _GAP_S:
            self.gaps.append((self._last_s, now))
        self.packets, self._last_s = self.packets + 1, now

    def on_frame(self, mid: str, codec: CodecName, frame: ReceivedFrame) -> None:
        if codec == "VP8":
            self.pictures += len(self._decoder.decode(frame.data))


def _report(call: DirectCall, ear: Ear) -> None:
    path = call.path
    received = call.stats().received
    say(
        type="report",
        state=call.state.value,
        path=path.label if path else "",
        remote=path.remote if path else "",
        rounds=call.rounds,
        packets=ear.packets,
        pictures=ear.pictures,
        streams=len(received),
        gaps=ear.gaps,
    )


async def main() -> None:
    reader = await input_lines()
    config = json.loads(await reader.readline())
    relays = None
    if config["relays"]:
        relays = RelaySource(config["relays"], (config["username"], config["password"]))
    stun = (config["stun"], config["stun_port"]) if config["stun"] else None
    ear = Ear()
    media = GeneratedMedia(width=160, height=90, fps=10, label=config["name"], simulcast=False, loop_s=2)
    async with DirectCall(
        config["name"],
        send=lambda signal: say(type="signal", signal=asdict(signal)),
        publish=media,
        network=IceNetwork(stun_server=stun, relays=relays),
        tap=ear.on_packet,
        on_frame=ear.on_frame,
    ) as call:
        if config["calls"]:
            await call.invite()
        reports = asyncio.ensure_future(reporting(lambda: _report(call, ear)))
        try:
            while line := await reader.readline():
                call.receive(CallSignal(**json.loads(line)))
        finally:
            reports.cancel()


if __name__ == "__main__":
    uvloop.run(main())
