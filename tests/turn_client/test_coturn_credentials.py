"""Credentials at a real server: those of a service with an end, their renewal in a long call, and wrong ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.support.coturn import EchoPeer, StartCoturn
from turn_client import AllocationConfig, BadCredentials, LongTermCredentials, RestCredentials, TurnClient, TurnError

pytestmark = [pytest.mark.peer, pytest.mark.timeout(90)]

Eventually = Callable[..., Awaitable[object]]

HANG_S = 20.0
SECRET = "the-secret-of-the-service"


class Service:
    """Hands out credentials that are good for ``ttl_s`` seconds, each for another name, and counts."""

    def __init__(self, ttl_s: float) -> None:
        self.ttl_s = ttl_s
        self.asked = 0

    async def __call__(self) -> RestCredentials:
        self.asked += 1
        return RestCredentials.made(SECRET, f"user{self.asked}", self.ttl_s, time.time())


async def echo(relay: TurnClient, peer: EchoPeer, data: bytes) -> None:
    relay.send_to(data, peer.address)
    async with asyncio.timeout(HANG_S):
        while await relay.receive() != (data, peer.address):
            pass


async def test_rest_credentials(coturn: StartCoturn, echo_peer: EchoPeer) -> None:
    server = await coturn(secret=SECRET)
    credentials = RestCredentials.made(SECRET, "amal", 600, time.time())
    async with TurnClient([server.uri()], credentials) as relay:
        await echo(relay, echo_peer, b"by a promise of ten minutes")


async def test_expired_and_forged_rest_credentials_are_refused(coturn: StartCoturn) -> None:
    server = await coturn(secret=SECRET)
    for credentials in (
        RestCredentials.made(SECRET, "late", 600, time.time() - 3600),
        RestCredentials.made("another secret", "forger", 600, time.time()),
    ):
        with pytest.raises(BadCredentials):
            await TurnClient([server.uri()], credentials).open()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_wrong_password_is_named(coturn: StartCoturn, transport: str) -> None:
    server = await coturn()
    async with asyncio.timeout(HANG_S):
        with pytest.raises(BadCredentials):
            await TurnClient([server.uri(transport)], (server.username, "wrong")).open()


async def test_a_call_outlives_its_first_credentials(coturn: StartCoturn, echo_peer: EchoPeer, eventually: Eventually) -> None:
    """The service is asked again before they end; refreshes go on, and the relay stays where it was."""
    server = await coturn(secret=SECRET, nonce_lifetime_s=2, allocate_lifetime_s=4)
    service = Service(ttl_s=2.0)
    async with TurnClient([server.uri()], service) as relay:
        before = relay.relayed_addresses
        await echo(relay, echo_peer, b"first")
        # Each renewal comes with another name, so this is past the end of the first and of the second.
        await eventually(lambda: relay.stats().renewals >= 3 and relay.stats().allocation.allocation_refreshes >= 2)
        await echo(relay, echo_peer, b"still there")
        assert service.asked >= 4
        # coturn ties an allocation to the name that made it: the relay stays because that name is kept for it.
        assert relay.relayed_addresses == before


async def test_what_is_made_after_a_renewal_is_made_with_the_new_credentials(
    coturn: StartCoturn, echo_peer: EchoPeer, eventually: Eventually
) -> None:
    first, second = await coturn(secret=SECRET), await coturn(secret=SECRET)
    service = Service(ttl_s=2.0)
    async with TurnClient([first.uri(), second.uri()], service) as relay:
        await eventually(lambda: relay.stats().renewals >= 2)
        await first.kill()

        async def echoed() -> bool:
            relay.send_to(b"on the second", echo_peer.address)
            return bool(relay.server is not None and relay.server.address == second.address and echo_peer.received)

        await eventually(echoed)
        assert "user1>" not in await second.log()


async def test_a_service_that_fails_is_asked_again(coturn: StartCoturn, eventually: Eventually) -> None:
    server = await coturn(secret=SECRET)
    service = Service(ttl_s=1.0)
    failures = 0

    async def fetch() -> RestCredentials:
        nonlocal failures
        if service.asked == 1 and not failures:
            failures += 1
            raise OSError("the service is being restarted")
        return await service()

    async with TurnClient([server.uri()], fetch) as relay:
        await eventually(lambda: relay.stats().renewals >= 1)
        assert failures == 1


async def test_a_service_that_cannot_be_asked_at_all(coturn: StartCoturn) -> None:
    server = await coturn(secret=SECRET)

    async def fetch() -> RestCredentials:
        raise OSError("nobody is there")

    with pytest.raises(TurnError) as caught:
        await TurnClient([server.uri()], fetch).open()
    assert caught.value.code == "turn_no_credentials"


async def test_passwords_of_every_script(coturn: StartCoturn, echo_peer: EchoPeer) -> None:
    # Wide spaces and composed letters are prepared (RFC 8265) into what the server was told.
    server = await coturn(users=(("amal", "كلمة سر é"),))
    async with TurnClient([server.uri()], ("amal", "كلمة\u3000سر e\u0301")) as relay:
        await echo(relay, echo_peer, "سلام".encode())


async def test_rare_settings_reach_the_server(coturn: StartCoturn, echo_peer: EchoPeer) -> None:
    server = await coturn()
    template = AllocationConfig(
        LongTermCredentials("replaced", "replaced"), lifetime_s=777, dont_fragment=True, even_port=True, software="Salam"
    )
    async with TurnClient([server.uri()], (server.username, server.password), allocation=template) as relay:
        assert relay.relayed_addresses[0][1] % 2 == 0
        await echo(relay, echo_peer, b"even")
    assert "lifetime=777" in await server.log()
