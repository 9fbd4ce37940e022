"""The server's side of the plain RTMP handshake (RTMP 1.0, section 5.2).

The "complex" handshake with its digests was for Flash players only; every encoder in use takes the plain one.
"""

from __future__ import annotations

from salam import ProtocolError

__all__ = ["HANDSHAKE_NONCE_BYTES", "ServerHandshake"]

_VERSION = 3
# C1, C2, S1 and S2 are all of one size.
_PART_BYTES = 1536

HANDSHAKE_NONCE_BYTES = 1528
"""Random bytes that the server's S1 needs."""


class ServerHandshake:
    """Takes C0, C1 and C2, gives S0, S1 and S2; ``nonce`` is `HANDSHAKE_NONCE_BYTES` random bytes.

    Raises ValueError for a nonce of another length.
    """

    def __init__(self, nonce: bytes) -> None:
        if len(nonce) != HANDSHAKE_NONCE_BYTES:
            raise ValueError(f"the nonce must have {HANDSHAKE_NONCE_BYTES} bytes")
        self.done = False
        self._s1 = bytes(8) + nonce
        self._buffer = b""
        self._replied = False

    def receive_data(self, data: bytes) -> bytes:
        """Take ``data`` and return the bytes to send, maybe none.

        Raises ProtocolError at the first byte that is not the version number: an HTTP client or a port scan ends there.
        """
        self._buffer += data
        if self._buffer and self._buffer[0] != _VERSION and not self._replied:
            raise ProtocolError(f"RTMP version {self._buffer[0]}; only {_VERSION}, unencrypted, is taken", code="bad_version")
        reply = b""
        if not self._replied and len(self._buffer) > _PART_BYTES:
            c1, self._buffer = self._buffer[1 : 1 + _PART_BYTES], self._buffer[1 + _PART_BYTES :]
            self._replied = True
            reply = bytes((_VERSION,)) + self._s1 + c1
        # C2 should echo S1, but long-lived encoders send other bytes there and no harm comes of it.
        if self._replied and len(self._buffer) >= _PART_BYTES:
            self._buffer = self._buffer[_PART_BYTES:]
            self.done = True
        return reply

    def take_rest(self) -> bytes:
        """Return, once, what came after C2: the first chunks."""
        rest, self._buffer = self._buffer, b""
        return rest
