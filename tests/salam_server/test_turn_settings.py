"""What clients in rooms are told of the relays in the settings."""

from __future__ import annotations

import base64
import hashlib
import hmac

from salam_server import Settings
from salam_server.turn import ice_server_source, open_ice_servers
from signaling.messages import IceServer

URLS = ("turn:turn.example?transport=udp", "turns:turn.example")
STUN = IceServer(urls=["stun:stun.example"])
NOW = 1_700_000_000.0


def test_without_relays_there_is_nothing_to_make() -> None:
    assert ice_server_source(Settings(dev=True)) is None
    assert open_ice_servers(Settings(dev=True)) == []


def test_each_client_gets_credentials_of_its_own_for_a_time() -> None:
    secret = "shared-with-coturn"
    settings = Settings(dev=True, ice_servers=tuple(STUN.urls), turn_urls=URLS, turn_secret=secret, turn_ttl_s=600)
    source = ice_server_source(settings)
    assert source is not None
    grant = source("ada", NOW)
    stun, turn = grant.servers
    assert stun == STUN
    assert turn.urls == list(URLS)
    assert turn.username == "1700000600:ada"
    expected = hmac.new(secret.encode(), turn.username.encode(), hashlib.sha1).digest()
    assert base64.b64decode(turn.credential) == expected
    assert (grant.ttl_s, grant.renew_after_s) == (600, 450)
    assert source("bob", NOW).servers[1].username != turn.username
    assert source("ada", NOW + 450).servers[1].username == "1700001050:ada"


def test_a_fixed_password_is_the_same_for_all_and_never_renewed() -> None:
    settings = Settings(dev=True, turn_urls=URLS, turn_username="us", turn_password="p4ssw0rd")
    source = ice_server_source(settings)
    assert source is not None
    grant = source("ada", NOW)
    assert grant == source("bob", NOW + 1e6)
    assert grant.servers == (IceServer(urls=list(URLS), username="us", credential="p4ssw0rd"),)
    assert (grant.ttl_s, grant.renew_after_s) == (None, None)
