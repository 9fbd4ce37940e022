"""Time-limited credentials from a secret that a service shares with its TURN servers, and when to ask for new ones; without I/O.

The scheme is that of draft-uberti-behave-turn-rest-00 as coturn and others carry it out: the username is ``EXPIRY:USER`` with the
expiry in Unix seconds, the password is the Base64 of HMAC-SHA1 over the username. SHA-1 is not ours to choose: servers compute
the same, and HMAC does not rest on what is broken in SHA-1.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
import math
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["RenewalState", "RestCredentials", "RestRenewal", "make_rest_credentials", "rest_expiry_unix"]

# RFC 8489 section 14.3: "fewer than 509 bytes".
_MAX_USERNAME_BYTES = 508
# Unix seconds have ten digits until the year 2286; twelve leave room without admitting numbers that no clock can show.
_MAX_EXPIRY_DIGITS = 12


def make_rest_credentials(secret: str, user: str, ttl_s: float, now_unix: float) -> tuple[str, str]:
    """Return username and password that are good for ``ttl_s`` seconds from ``now_unix`` (wall clock, Unix seconds).

    ``user`` is for the server's log and quota: use a name that says nothing about the person. It may be empty, and the username is
    the expiry alone. Raises ValueError when the secret is empty, ``ttl_s`` is not positive, or ``user`` has control characters or
    makes the username longer than the 508 bytes of RFC 8489 section 14.3.
    """
    if not secret:
        raise ValueError("the secret that is shared with the TURN server is empty")
    if not ttl_s > 0 or not math.isfinite(ttl_s):
        raise ValueError(f"credentials are made for {ttl_s} s; allowed are more than 0")
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in user):
        raise ValueError("the user of TURN credentials has control characters")
    # Rounded down: a client that trusts the number never uses the credentials too late.
    expiry = str(int(now_unix + ttl_s))
    username = f"{expiry}:{user}" if user else expiry
    if len(username.encode()) > _MAX_USERNAME_BYTES:
        raise ValueError(f"the username of TURN credentials has more than {_MAX_USERNAME_BYTES} bytes")
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    return username, base64.b64encode(digest).decode()


def rest_expiry_unix(username: str) -> int | None:
    """Return when ``username`` expires (Unix seconds), None when it is not of the form ``EXPIRY`` or ``EXPIRY:USER``."""
    digits = username.partition(":")[0]
    if not digits.isascii() or not digits.isdecimal() or len(digits) > _MAX_EXPIRY_DIGITS:
        return None
    return int(digits)


@dataclass(frozen=True, slots=True)
class RestCredentials:
    """Credentials as a service hands them out; ``ttl_s`` is how long they are good from then on, None for ever."""

    username: str
    password: str = field(repr=False)
    ttl_s: float | None = None

    @classmethod
    def from_username(cls, username: str, password: str, now_unix: float) -> RestCredentials:
        """Read the time to live from the username, for services that do not say it; never negative.

        It is only as right as the wall clock of this machine.
        """
        expiry = rest_expiry_unix(username)
        return cls(username, password, None if expiry is None else max(expiry - now_unix, 0.0))

    @classmethod
    def made(cls, secret: str, user: str, ttl_s: float, now_unix: float) -> RestCredentials:
        """Make them here, see `make_rest_credentials` for arguments and errors."""
        username, password = make_rest_credentials(secret, user, ttl_s, now_unix)
        return cls(username, password, ttl_s)


class RenewalState(enum.Enum):
    """Where a `RestRenewal` stands."""

    WAITING = "waiting"
    """The credentials are good, and it is too early to ask."""
    DUE = "due"
    """New credentials are to be asked for now."""
    ASKED = "asked"
    """The question is under way."""
    EXPIRED = "expired"
    """The credentials are good no more, and new ones are to be asked for now."""


# Ask after four fifths of the life: early enough for several tries before the end, late enough to make few questions.
_RENEW_AFTER = 0.8
# Up to this part of the life earlier, by chance: the clients that joined one call together must not ask in the same second.
_SPREAD = 0.1
# A refresh of an allocation is due at the latest every ten minutes and must carry credentials that hold until its answer is there,
# with all retransmissions: 39.5 s (RFC 8489 section 6.2.1).
_MARGIN_S = 45.0
# The first pause after a failed question, doubled each time. A service that restarts is back within the first few.
_RETRY_FIRST_S = 2.0
# The longest pause: the time within which a relay is given up anyway.
_RETRY_MAX_S = 60.0
# A server that refuses even fresh credentials has another secret; asking more often than this will not teach it ours.
_REJECTED_GAP_S = 10.0
# A timer cannot be set for later than this in some event loops; asking earlier than needed harms nobody.
_MAX_WAIT_S = 86_400.0 * 30


class RestRenewal:
    """Says when to ask for new credentials. Monotonic time only: a wall clock that jumps moves no question.

    `deadline` is when to call `tick`; when that returns True, ask, and report with `renewed` or `failed`. One question at a time.
    ``random`` gives numbers in [0, 1).
    """

    def __init__(self, credentials: RestCredentials, now: float, *, random: Callable[[], float]) -> None:
        self._random = random
        self._retry_s = _RETRY_FIRST_S
        self._asked = False
        self._last_asked = -math.inf
        self._take(credentials, now)

    def _take(self, credentials: RestCredentials, now: float) -> None:
        self.credentials = credentials
        life_s = math.inf if credentials.ttl_s is None else max(credentials.ttl_s, 0.0)
        self._expires = now + life_s
        if life_s == math.inf:
            self._due = math.inf
            return
        wait_s = min(life_s * (_RENEW_AFTER - _SPREAD * self._random()), _MAX_WAIT_S)
        # Short lives have no room for the whole margin; half of it all is then for asking.
        self._due = now + min(wait_s, max(life_s - _MARGIN_S, life_s / 2))

    @property
    def deadline(self) -> float:
        """When `tick` is due (monotonic seconds); infinity while nothing is."""
        return math.inf if self._asked else self._due

    def state(self, now: float) -> RenewalState:
        """Where this stands at ``now``."""
        if self._asked:
            return RenewalState.ASKED
        if now >= self._expires:
            return RenewalState.EXPIRED
        return RenewalState.DUE if now >= self._due else RenewalState.WAITING

    def usable(self, now: float) -> bool:
        """Whether the credentials are still good by what was said of them."""
        return now < self._expires

    def tick(self, now: float) -> bool:
        """Return whether to ask now; the caller then owes `renewed` or `failed`."""
        if self._asked or now < self._due:
            return False
        self._asked = True
        self._last_asked = now
        return True

    def rejected(self, now: float) -> None:
        """The server refuses the credentials although they should be good: the next question is due at once.

        Not while one is under way, not within 10 s of the last, and not before the pause after a failure is over.
        """
        self._expires = min(self._expires, now)
        if not self._asked and self._retry_s == _RETRY_FIRST_S:
            self._due = min(self._due, max(now, self._last_asked + _REJECTED_GAP_S))

    def renewed(self, credentials: RestCredentials, now: float) -> None:
        """New credentials came."""
        self._asked = False
        self._retry_s = _RETRY_FIRST_S
        self._take(credentials, now)

    def failed(self, now: float) -> None:
        """The question had no answer; ask again after a pause that doubles from 2 s to 60 s, spread by chance."""
        self._asked = False
        self._due = now + self._retry_s * (1.0 - 0.5 * self._random())
        self._retry_s = min(self._retry_s * 2, _RETRY_MAX_S)
