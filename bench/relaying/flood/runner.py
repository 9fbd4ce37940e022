"""The peer: tells its port, and for each line ``HOST PORT COUNT BYTES`` sends that many datagrams there.

``python -m bench.relaying.flood.runner``; it ends with its input.
"""

from __future__ import annotations

import socket
import sys
import time

__all__ = ["main"]

# Small bursts, so that no buffer on the way overflows: what is lost costs nobody anything, and would flatter.
_BURST = 8
_PAUSE_S = 0.0005


def main() -> None:
    """Serve until the input ends."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        sys.stdout.write(f"{peer.getsockname()[1]}\n")
        sys.stdout.flush()
        for line in sys.stdin:
            host, port, count, size = line.split()
            payload = bytes(int(size))
            for number in range(int(count)):
                peer.sendto(payload, (host, int(port)))
                if number % _BURST == _BURST - 1:
                    time.sleep(_PAUSE_S)
            sys.stdout.write("done\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
