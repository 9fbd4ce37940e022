"""What the objects of one worker share: the plane, the tables by which packets and events find them, and sources of ids."""

from __future__ import annotations

import itertools
import random
import string
from collections.abc import Callable
from typing import TYPE_CHECKING

from sfu.dtls import DtlsIdentity
from sfu.ice import IceCredentials
from sfu.paths import NetworkPath
from sfu.plane.interface import MediaPlane
from sfu.sdp_lines import Candidate

if TYPE_CHECKING:
    from sfu.consumer import Consumer
    from sfu.producer import Producer
    from sfu.transport import Transport

__all__ = ["Context"]

_ICE_CHARACTERS = string.ascii_letters + string.digits
# RFC 8445 section 5.3 asks for 24 and 128 bits at least; 8 characters give 47 bits and 24 give 142.
_UFRAG_CHARACTERS = 8
_PASSWORD_CHARACTERS = 24


class Context:
    """Shared by everything in one engine.

    ``monotonic`` is the engine's time, ``rng`` its randomness (a `random.SystemRandom` outside tests), and ``wake`` is called
    when a command may have left something to send.
    """

    def __init__(
        self,
        *,
        plane: MediaPlane,
        identity: DtlsIdentity,
        rng: random.Random,
        monotonic: Callable[[], float],
        wake: Callable[[], None],
        candidates: tuple[Candidate, ...] = (),
    ) -> None:
        self.plane = plane
        self.identity = identity
        self.rng = rng
        self.monotonic = monotonic
        self.wake = wake
        self.candidates = candidates
        self.transports: dict[int, Transport] = {}
        self.producers: dict[int, Producer] = {}
        self.consumers: dict[int, Consumer] = {}
        self.by_ufrag: dict[str, Transport] = {}
        self.by_path: dict[NetworkPath, Transport] = {}
        self.outbox: list[tuple[bytes, NetworkPath]] = []
        self._ids = itertools.count(1)

    def new_id(self) -> int:
        """An id that no other object of this engine has had."""
        return next(self._ids)

    def new_ssrc(self) -> int:
        """A random SSRC; zero is left out because some receivers take it for "none"."""
        return self.rng.randrange(1, 2**32)

    def new_credentials(self) -> IceCredentials:
        """ICE credentials whose username fragment no live transport has."""
        while True:
            ufrag = self._text(_UFRAG_CHARACTERS)
            if ufrag not in self.by_ufrag:
                return IceCredentials(ufrag, self._text(_PASSWORD_CHARACTERS))

    def _text(self, length: int) -> str:
        return "".join(self.rng.choice(_ICE_CHARACTERS) for _ in range(length))
