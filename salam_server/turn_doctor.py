"""What `salam doctor --turn` does: the steps of a call through a TURN server, one after the other, over each transport."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

from salam import ConfigError, SalamError
from salam_server.turn_probe import Finding, RelayPair, ServerVisit, State, shown
from turn_client.dns import DnsResolver, resolve
from turn_client.errors import BadCredentials, PeerRefused, QuotaReached, TransactionTimeout, TransportFailed
from turn_client.resolution import ResolutionFailed, Resolver, ServerEndpoint, ServerTransport
from turn_client.uri import ServerScheme, ServerUri, UriTransport

__all__ = ["TurnStep", "examine_turn", "require_turn_uri"]

# A person waits for this; a server that takes longer for one step is of no use to a call either.
_STEP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class TurnStep:
    """The result of one step over one transport; ``values`` are its figures, with their units in their names."""

    transport: str
    step: str
    state: State
    detail: str
    fix: str = ""
    took_ms: float = 0.0
    values: dict[str, float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Way:
    uri: ServerUri
    transport: ServerTransport
    promised: bool = True
    """False for TLS beside a ``turn:`` URI, which does not speak of it."""


def require_turn_uri(uri: ServerUri) -> None:
    """Raise ConfigError unless browsers can get relays from ``uri``."""
    if not uri.is_turn:
        raise ConfigError(f"{uri} is a STUN server; allowed: turn:HOST[:PORT][?transport=udp|tcp] and turns:HOST[:PORT]")
    if uri.secure and uri.transport is UriTransport.UDP:
        raise ConfigError(f"{uri} is TURN over DTLS, which browsers do not speak; allowed: turns:HOST[:PORT]?transport=tcp")


async def examine_turn(
    uri: ServerUri,
    credentials: tuple[str, str],
    *,
    tls: ssl.SSLContext | None = None,
    resolver: Resolver | None = None,
    thorough: bool = True,
) -> AsyncIterator[TurnStep]:
    """Go through the steps over each transport that ``uri`` allows, and yield the result of each as it comes.

    A URI that names no transport is tried over UDP, TCP and TLS; that TLS fails is a warning then, for the URI did not promise it.
    After a step that failed the rest of that transport is left out. ``tls`` is the trust for certificates, the system's own by
    default. Not ``thorough`` ends with the allocation, and tries TLS only where the URI speaks of it.

    Raises ConfigError for what is no URI of a TURN server that browsers can use.
    """
    require_turn_uri(uri)
    for way in _ways(uri):
        if not way.promised and not thorough:
            continue
        async with contextlib.AsyncExitStack() as stack:
            steps = _steps(way, credentials, tls, resolver or DnsResolver(), stack, thorough=thorough)
            async for step in steps:
                if step.state == "failed" and not way.promised:
                    step = replace(step, state="warning", fix="only networks that let nothing out but TLS need it")
                yield step


def _ways(uri: ServerUri) -> list[_Way]:
    if uri.secure:
        return [_Way(replace(uri, transport=UriTransport.TCP), ServerTransport.TLS)]
    if uri.transport is not None:
        return [_Way(uri, ServerTransport(uri.transport.value))]
    plain = [_Way(replace(uri, transport=kind), ServerTransport(kind.value)) for kind in (UriTransport.UDP, UriTransport.TCP)]
    tls = ServerUri(ServerScheme.TURNS, uri.host, None, UriTransport.TCP)
    return [*plain, _Way(tls, ServerTransport.TLS, promised=False)]


async def _steps(
    way: _Way,
    credentials: tuple[str, str],
    tls: ssl.SSLContext | None,
    resolver: Resolver,
    stack: contextlib.AsyncExitStack,
    *,
    thorough: bool,
) -> AsyncIterator[TurnStep]:
    endpoints: list[ServerEndpoint] = []

    async def dns() -> Finding:
        endpoints.extend(await resolve(way.uri, resolver, random=random.random, transports=(way.transport,)))
        addresses = ", ".join(shown(endpoint.address) for endpoint in endpoints)
        words = f"{way.uri.host}: {addresses}" if way.uri.ip_address is None else f"{addresses}, nothing to look up"
        return Finding(words, values={"servers": addresses})

    visit = ServerVisit(endpoints, tls, stack)
    pair = RelayPair(way.uri, credentials, tls, way.transport, resolver, stack)
    steps: list[tuple[str, Callable[[], Awaitable[Finding]]]] = [("dns", dns)]
    if way.transport is not ServerTransport.UDP:
        steps.append(("connect", visit.connect))
    steps += [("stun", visit.stun), ("allocate", pair.allocate)]
    if thorough:
        steps += [("permission", pair.permission), ("echo", pair.echo), ("throughput", pair.throughput)]
    for name, measure in steps:
        step = await _carried_out(way, name, measure)
        yield step
        # A server need not answer those who show no credentials. One that does not relay to itself is no failure, and the end here.
        if (step.state == "failed" and name != "stun") or (step.state != "ok" and name == "permission"):
            return


async def _carried_out(way: _Way, name: str, measure: Callable[[], Awaitable[Finding]]) -> TurnStep:
    started_s = time.monotonic()
    try:
        async with asyncio.timeout(_STEP_TIMEOUT_S):
            finding = await measure()
    except TimeoutError:
        finding = Finding(f"not done after {_STEP_TIMEOUT_S:g} s", "failed", _fix_of(way, TransactionTimeout("")))
    except (SalamError, OSError) as error:
        finding = Finding(_words_of(error), "warning" if isinstance(error, PeerRefused) else "failed", _fix_of(way, error))
    took_ms = round((time.monotonic() - started_s) * 1000, 1)
    return TurnStep(way.transport.value, name, finding.state, finding.detail, finding.fix, took_ms, finding.values)


def _words_of(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not good: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {error.reason or error}"
    if isinstance(error, OSError):
        return f"cannot connect: {error.strerror or error}"
    return str(error)


def _fix_of(way: _Way, error: Exception) -> str:
    port = way.uri.port or way.uri.default_port
    kind = "UDP" if way.transport is ServerTransport.UDP else "TCP"
    match error:
        case ssl.SSLCertVerificationError():
            return f"browsers check it too: it must be for {way.uri.host}, in date, and from a known issuer"
        case ResolutionFailed():
            return "check the name, and the name server of this machine"
        case BadCredentials():
            return "check username and password, or that secret and clock are those of the server"
        case PeerRefused():
            return "the server relays nothing to its own address (coturn: denied-peer-ip), so that this cannot test more"
        case QuotaReached():
            return "the user has too many relays already (coturn: user-quota)"
        case TransactionTimeout() | TransportFailed() | OSError():
            return f"is {kind} port {port} open, in the firewalls here and there, and does the server listen on it?"
        case _:
            return ""
