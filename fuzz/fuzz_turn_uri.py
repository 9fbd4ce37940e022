"""Fuzz target: the reader of server URIs raises ConfigError or reads what it writes."""

from salam.errors import ConfigError
from turn_client.uri import parse_server_uri

SEEDS: list[bytes] = [
    b"stun:example.org:3478",
    b"turn:192.0.2.1:3478?transport=udp",
    b"turns:[2001:db8::1]:443?transport=tcp",
]


def one_input(data: bytes) -> None:
    """Read ``data`` as a URI; what is accepted must survive being written and read again."""
    try:
        uri = parse_server_uri(data.decode(errors="surrogateescape"))
    except ConfigError:
        return
    if parse_server_uri(str(uri)) != uri:
        raise AssertionError("the canonical form reads differently")
