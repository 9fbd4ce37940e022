"""A blocking RTMP publisher for use in a thread: a socket around `ingest.rtmp.RtmpPublisher`."""

from __future__ import annotations

import contextlib
import os
import select
import socket

from ingest.rtmp import HANDSHAKE_NONCE_BYTES, Message, PublisherState, RtmpPublisher
from salam import RequestError, ResourceError

__all__ = ["BlockingPublisher"]

# How long a server may take for each step, or leave our bytes unread, before the publication counts as failed.
_NETWORK_TIMEOUT_S = 10.0
_READ_BYTES = 65_536


class BlockingPublisher:
    """A connection that publishes to ``url``; use it as a context manager.

    Entering connects and returns once the server has accepted; leaving without an exception says goodbye. All calls may raise
    RequestError with the server's own words when it refuses, ResourceError when the network fails and ProtocolError when the
    other side speaks something else; making one raises ConfigError for a malformed URL.
    """

    def __init__(self, url: str) -> None:
        self._session = RtmpPublisher(url, nonce=os.urandom(HANDSHAKE_NONCE_BYTES))
        self._socket: socket.socket | None = None

    def __enter__(self) -> BlockingPublisher:
        try:
            self._socket = socket.create_connection((self._session.host, self._session.port), _NETWORK_TIMEOUT_S)
            # A keyframe's last piece must not wait for an acknowledgement of the piece before.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self._session.state is not PublisherState.PUBLISHING:
                self._flush()
                self._receive()
        except OSError as error:
            self._close()
            raise _network_failure(error) from error
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._session.finish()
                self._flush()
                assert self._socket is not None
                # The goodbye only counts when it arrives: wait until the server has closed or had its time.
                self._socket.shutdown(socket.SHUT_WR)
                while self._socket.recv(_READ_BYTES):
                    pass
        except OSError as error:
            raise _network_failure(error) from error
        finally:
            self._close()

    def send(self, messages: list[Message]) -> None:
        """Send media messages, and take notice of what the server says."""
        assert self._socket is not None
        try:
            for message in messages:
                self._session.send(message)
            self._flush()
            while select.select([self._socket], [], [], 0)[0]:
                self._receive()
        except OSError as error:
            raise _network_failure(error) from error

    def interrupt(self) -> None:
        """Make a call that waits for the network fail now; for use from another thread."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _flush(self) -> None:
        assert self._socket is not None
        self._socket.sendall(self._session.data_to_send())

    def _receive(self) -> None:
        assert self._socket is not None
        data = self._socket.recv(_READ_BYTES)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        self._session.receive_data(data)
        if self._session.refusal is not None:
            raise RequestError(f"the server refused: {self._session.refusal}", code="publish_refused")

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()


def _network_failure(error: OSError) -> ResourceError:
    # Without the URL: it may hold a token.
    return ResourceError(f"publishing over RTMP failed: {error.strerror or error}", code="publish_failed", retryable=True)
