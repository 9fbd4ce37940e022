"""Fixtures of the TURN client's tests: a real server, and peers behind it."""

from tests.support.coturn import coturn as coturn
from tests.support.coturn import echo_peer as echo_peer
from tests.support.coturn import echo_peer_v6 as echo_peer_v6
