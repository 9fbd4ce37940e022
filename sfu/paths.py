"""Where datagrams come from: the two kinds of path that the worker hands to the media plane."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NetworkPath", "TcpPath", "UdpPath", "path_address"]

UdpPath = tuple[str, int] | tuple[str, int, int, int]
"""The peer's address as the socket reports it: a plain tuple, because one is made per packet."""


@dataclass(frozen=True, slots=True)
class TcpPath:
    """One accepted ICE-TCP connection."""

    connection_id: int
    remote: UdpPath


NetworkPath = UdpPath | TcpPath


def path_address(path: NetworkPath) -> tuple[str, int]:
    """Return the peer's IP address and port."""
    remote = path.remote if isinstance(path, TcpPath) else path
    return remote[0], remote[1]
