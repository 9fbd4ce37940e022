"""URIs of STUN and TURN servers, read strictly (RFC 7064, RFC 7065), without I/O.

Where the grammar takes over RFC 3986's leniency (an empty port, any reg-name, IPvFuture) this reader does not: such a URI comes
from a mistake, and the one place to say so is where it is written.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from dataclasses import dataclass

from salam.errors import ConfigError

__all__ = ["DEFAULT_PORT", "DEFAULT_SECURE_PORT", "ServerScheme", "ServerUri", "UriTransport", "parse_server_uri"]

DEFAULT_PORT = 3478
"""RFC 8489 section 17.4, RFC 8656 section 17.5."""
DEFAULT_SECURE_PORT = 5349

# The longest that can be right is a DNS name of 253 characters with scheme, port and transport; the rest is for good measure.
_MAX_URI_CHARACTERS = 512
# RFC 1035 section 2.3.4 has 255 bytes, with a length before each label and one for the root.
_MAX_HOST_CHARACTERS = 253
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_SCHEMES = "stun:, stuns:, turn: and turns:"


class ServerScheme(enum.Enum):
    """The four schemes."""

    STUN = "stun"
    STUNS = "stuns"
    TURN = "turn"
    TURNS = "turns"


class UriTransport(enum.Enum):
    """``?transport=`` of a TURN URI; ``turns:`` with UDP means DTLS, with TCP it means TLS (RFC 7065 section 3, RFC 7350)."""

    UDP = "udp"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class ServerUri:
    """A server as its URI names it; what the URI leaves out is None, because DNS may say it (RFC 5928)."""

    scheme: ServerScheme
    host: str
    """DNS name in lower case without a final dot, or the canonical text of an IP address, IPv6 without brackets."""
    port: int | None = None
    transport: UriTransport | None = None

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted, and the server's certificate checked against ``host``."""
        return self.scheme in (ServerScheme.STUNS, ServerScheme.TURNS)

    @property
    def is_turn(self) -> bool:
        """Whether relays can be had from this server."""
        return self.scheme in (ServerScheme.TURN, ServerScheme.TURNS)

    @property
    def default_port(self) -> int:
        """The port where neither the URI nor DNS names one."""
        return DEFAULT_SECURE_PORT if self.secure else DEFAULT_PORT

    @property
    def ip_address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The host when it is an IP address, None when it is a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    def __str__(self) -> str:
        """The URI in its canonical form: reading it again gives an equal object."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        transport = "" if self.transport is None else f"?transport={self.transport.value}"
        return f"{self.scheme.value}:{host}{port}{transport}"


def parse_server_uri(text: str) -> ServerUri:
    """Read one URI: ``stun:HOST[:PORT]``, ``turn:HOST[:PORT][?transport=udp|tcp]``, and ``stuns:``, ``turns:``.

    Scheme and transport are read in any case. Raises ConfigError (code ``bad_server_uri``) that says what is wrong and what is
    allowed, for anything else.
    """
    if len(text) > _MAX_URI_CHARACTERS:
        raise _error(text[:40] + "...", f"it has more than {_MAX_URI_CHARACTERS} characters")
    scheme_text, colon, rest = text.partition(":")
    try:
        scheme = ServerScheme(scheme_text.lower() if scheme_text.isascii() else "")
    except ValueError:
        raise _error(text, f"its scheme is unknown; allowed are {_SCHEMES}") from None
    if not colon:
        raise _error(text, f"there is no colon after {scheme_text!r}")
    if rest.startswith("//"):
        raise _error(text, f"the host follows {scheme_text}: directly, without //")
    if "@" in rest:
        raise _error(text, "it has no user and no password: credentials are given apart")
    hostport, question, query = rest.partition("?")
    transport = _parse_query(text, scheme, query) if question else None
    host, port = _parse_hostport(text, hostport)
    return ServerUri(scheme, host, port, transport)


def _parse_query(text: str, scheme: ServerScheme, query: str) -> UriTransport:
    if scheme in (ServerScheme.STUN, ServerScheme.STUNS):
        raise _error(text, "a STUN URI has no part after a question mark (RFC 7064)")
    key, _, value = query.partition("=")
    if key != "transport":
        raise _error(text, "after the question mark only transport=udp or transport=tcp is allowed")
    try:
        return UriTransport(value.lower() if value.isascii() else "")
    except ValueError:
        raise _error(text, f"its transport is {value!r}; allowed are udp and tcp") from None


def _parse_hostport(text: str, hostport: str) -> tuple[str, int | None]:
    if hostport.startswith("["):
        inside, bracket, after = hostport[1:].partition("]")
        if not bracket:
            raise _error(text, "the bracket of its IPv6 address is not closed")
        if after and not after.startswith(":"):
            raise _error(text, "after an IPv6 address in brackets only a port is allowed, as :3478")
        return _parse_ipv6(text, inside), _parse_port(text, after[1:]) if after else None
    host, colon, port = hostport.partition(":")
    if ":" in port:
        raise _error(text, "an IPv6 address stands in brackets, as [2001:db8::1]")
    return _parse_host(text, host), _parse_port(text, port) if colon else None


def _parse_ipv6(text: str, inside: str) -> str:
    if "%" in inside:
        raise _error(text, "an IPv6 address with a zone means something on one machine only")
    try:
        return str(ipaddress.IPv6Address(inside))
    except ValueError:
        raise _error(text, f"[{inside}] is not an IPv6 address") from None


def _parse_port(text: str, port: str) -> int:
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        raise _error(text, f"its port is {port!r}; allowed are 1 to 65535")
    return int(port)


def _parse_host(text: str, host: str) -> str:
    name = host.lower().removesuffix(".") if host.isascii() else host
    if not name:
        raise _error(text, "it names no host")
    if not name.isascii():
        raise _error(text, "a name outside ASCII is written in its xn-- form")
    if "/" in name:
        raise _error(text, "it has no path: allowed are a host and a port")
    labels = name.split(".")
    # A name cannot end in a number; what does is an IPv4 address or a mistake in one.
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        try:
            return str(ipaddress.IPv4Address(name))
        except ValueError:
            raise _error(text, f"{host!r} is not an IPv4 address") from None
    if len(name) > _MAX_HOST_CHARACTERS or not all(map(_LABEL.fullmatch, labels)):
        raise _error(text, f"{host!r} is neither a DNS name nor an IP address")
    return name


def _error(text: str, what: str) -> ConfigError:
    if "@" in text:
        # What stands before it is likely a password, which must not come into a log.
        text = f"...@{text.rpartition('@')[2]}"
    return ConfigError(f"{text!r} is not the URI of a STUN or TURN server: {what}", code="bad_server_uri")
