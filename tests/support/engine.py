"""What the end-to-end tests share: settings of an engine on free ports, and sockets to find them."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

from salam_server import Settings

__all__ = ["dev_settings", "free_port"]


def dev_settings(folder: Path, **changes: Any) -> Settings:
    """Return settings for a test: development, free ports, everything stored under ``folder``."""
    defaults = {"dev": True, "http_port": 0, "media_port": 0, "rtmp_port": 0, "data_dir": folder / "data"}
    return Settings(**{**defaults, **changes})


def free_port() -> int:
    """Return a port that is free for UDP and TCP on the loopback now.

    Only for what must know the port before it is opened; everything else listens on port 0.
    """
    while True:
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as datagram:
            datagram.bind(("127.0.0.1", 0))
            port = int(datagram.getsockname()[1])
            with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as stream:
                with contextlib.suppress(OSError):
                    stream.bind(("127.0.0.1", port))
                    return port
