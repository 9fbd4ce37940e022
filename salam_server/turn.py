"""The TURN servers of the settings: what clients in rooms are told of them, with credentials that are good for a time."""

from __future__ import annotations

from salam_server.settings import Settings
from signaling import IceGrant, IceServerSource
from signaling.messages import IceServer
from turn_client.rest import make_rest_credentials

__all__ = ["ice_server_source", "open_ice_servers", "turn_credentials"]

# A quarter is left for clients that are away for a while, for clocks that differ, and for the ICE restart with the new ones.
_RENEW_AFTER = 0.75


def open_ice_servers(settings: Settings) -> list[IceServer]:
    """Return the servers that need no credentials, as every client is told them."""
    return [IceServer(urls=list(settings.ice_servers))] if settings.ice_servers else []


def turn_credentials(settings: Settings, user: str, wall: float) -> tuple[str, str]:
    """Return a username and password for the TURN servers of the settings; ``wall`` in Unix seconds."""
    if settings.turn_secret:
        return make_rest_credentials(settings.turn_secret, user, settings.turn_ttl_s, wall)
    return settings.turn_username, settings.turn_password


def ice_server_source(settings: Settings) -> IceServerSource | None:
    """Return what makes the ICE servers of clients in rooms; None when no TURN server is set.

    With ``turn_secret`` each client gets credentials of its own for ``turn_ttl_s``, to be renewed at three quarters of it. With
    ``turn_username`` everybody gets the same, for good.
    """
    if not settings.turn_urls:
        return None
    servers, urls = tuple(open_ice_servers(settings)), list(settings.turn_urls)
    ttl_s = settings.turn_ttl_s if settings.turn_secret else None

    def make(client_id: str, wall: float) -> IceGrant:
        username, password = turn_credentials(settings, client_id, wall)
        turn = IceServer(urls=urls, username=username, credential=password)
        return IceGrant((*servers, turn), ttl_s=ttl_s, renew_after_s=None if ttl_s is None else _RENEW_AFTER * ttl_s)

    return make
