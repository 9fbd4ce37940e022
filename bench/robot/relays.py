"""The relays that a robot's server hands it, as its peer connections take them."""

from __future__ import annotations

from dataclasses import replace

from bench.peer import IceNetwork
from salam import RequestError
from signaling import SignalingClient
from signaling.messages import IceServer
from turn_client.ice import RelaySource
from turn_client.rest import RestCredentials

__all__ = ["with_relays"]


def with_relays(network: IceNetwork, client: SignalingClient, *, relay_only: bool) -> IceNetwork:
    """Return ``network`` with the TURN servers that ``client`` was told when it joined; as it is when there are none.

    A relay asks ``client`` again before its credentials expire, and so lives as long as the call: the server has told newer ones by
    then. Of several entries with TURN servers the first counts: a server has one set of credentials for all of its relays.
    """

    async def credentials() -> RestCredentials:
        entry = _turn_entry(client.ice_servers)
        if entry is None:
            raise RequestError("the server names no relay any more", code="no_relay")
        return RestCredentials(entry.username, entry.credential, client.ice_ttl_s)

    entry = _turn_entry(client.ice_servers)
    if entry is None:
        return replace(network, relay_only=relay_only)
    return replace(network, relays=RelaySource(_turn_urls(entry), credentials), relay_only=relay_only)


def _turn_entry(servers: list[IceServer]) -> IceServer | None:
    return next((server for server in servers if _turn_urls(server)), None)


def _turn_urls(server: IceServer) -> list[str]:
    return [url for url in server.urls if url.startswith(("turn:", "turns:"))]
