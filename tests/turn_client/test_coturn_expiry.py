"""Everything that expires is outlived: nonces, permissions, channels and the allocation, all of them short, at a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.coturn import EchoPeer, StartCoturn
from turn_client import AllocationConfig, LongTermCredentials, RelayChanged, RelayEvent, TurnClient

pytestmark = [pytest.mark.peer, pytest.mark.timeout(120)]

Eventually = Callable[..., Awaitable[object]]

CALL_S = 30.0
PACKET_INTERVAL_S = 0.02


async def test_a_call_outlives_what_expires(coturn: StartCoturn, echo_peer: EchoPeer, eventually: Eventually) -> None:
    server = await coturn(nonce_lifetime_s=3, permission_lifetime_s=8, channel_lifetime_s=8, allocate_lifetime_s=8)
    credentials = LongTermCredentials(server.username, server.password)
    # What RFC 8656 fixes at 300 and 600 s, as this server has it.
    lifetimes = AllocationConfig(credentials, permission_lifetime_s=8.0, channel_lifetime_s=8.0)
    events: list[RelayEvent] = []
    echoes: list[bytes] = []
    async with TurnClient(
        [server.uri()], credentials, allocation=lifetimes, on_data=lambda data, _: echoes.append(data), on_event=events.append
    ) as relay:
        await relay.bind(echo_peer.address)
        loop = asyncio.get_running_loop()
        end = loop.time() + CALL_S
        sent = 0
        while loop.time() < end:
            relay.send_to(b"%d" % sent, echo_peer.address)
            sent += 1
            await asyncio.sleep(PACKET_INTERVAL_S)
        relay.send_to(b"the last", echo_peer.address)
        await eventually(lambda: echoes[-1:] == [b"the last"], what="the last echo")
        stats = relay.stats().allocation
    # Nothing is lost on the loopback: whatever had expired would be a gap.
    assert echoes == [b"%d" % number for number in range(sent)] + [b"the last"]
    assert not [event for event in events if isinstance(event, RelayChanged)]
    assert stats.stale_nonces >= 3
    assert stats.allocation_refreshes >= 3
    assert stats.channel_refreshes >= 3
    assert stats.reallocations == 0
    # One request for each thing that is due, and at most one more for each nonce that had gone stale by then.
    assert stats.requests <= 2 * (stats.allocation_refreshes + stats.channel_refreshes + stats.permission_refreshes) + 8
