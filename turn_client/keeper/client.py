"""The credentials of a client: given once, or fetched and fetched again before they expire."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable

from turn_client.credentials import LongTermCredentials
from turn_client.errors import TurnError
from turn_client.rest import RestCredentials, RestRenewal

__all__ = ["CredentialKeeper", "Credentials", "FetchCredentials", "FixedCredentials"]

_log = logging.getLogger("salam.turn_client")

# A service that takes longer to hand out two strings is asked again later.
_FETCH_S = 10.0

FixedCredentials = LongTermCredentials | RestCredentials | tuple[str, str]
FetchCredentials = Callable[[], Awaitable[FixedCredentials]]
Credentials = FixedCredentials | FetchCredentials
"""A username and password in one of three forms, or a function that fetches them; `RestCredentials` say when to fetch again."""


class CredentialKeeper:
    """Holds the credentials of now. `renewed` is for one task, which waits in it for the next ones."""

    def __init__(self, credentials: Credentials) -> None:
        self._fetch: FetchCredentials | None = None
        self._held: LongTermCredentials | None = None
        self._renewal: RestRenewal | None = None
        self._changed = asyncio.Event()
        if callable(credentials):
            self._fetch = credentials
        else:
            self._held = _long_term(credentials)

    @property
    def renews(self) -> bool:
        """Whether there is a function to fetch others with."""
        return self._fetch is not None

    @property
    def current(self) -> LongTermCredentials:
        """The credentials of now. Raises RuntimeError before the first were fetched."""
        if self._held is None:
            raise RuntimeError("no credentials were fetched yet")
        return self._held

    async def get(self) -> LongTermCredentials:
        """Return credentials that are good now, fetched when there are none or when those of now have expired.

        Raises TurnError when they cannot be fetched.
        """
        if self._held is not None and (self._renewal is None or self._renewal.usable(_now())):
            return self._held
        assert self._fetch is not None
        try:
            self._take(await self._fetched())
        except TurnError:
            if self._held is None:
                raise
            # The expiry is the service's promise and not the server's: the old ones may still do.
        return self.current

    def replace(self, credentials: FixedCredentials) -> None:
        """Use these from now on."""
        self._take(credentials)

    def rejected(self) -> None:
        """Take note that the server does not accept them (any more): others are fetched as soon as that makes sense."""
        if self._renewal is not None:
            self._renewal.rejected(_now())
            self._changed.set()

    async def renewed(self) -> None:
        """Wait until it is time for other credentials, and for these; failures are tried again, with pauses."""
        while True:
            renewal = self._renewal
            now = _now()
            if renewal is None or not renewal.tick(now):
                await self._wait_until(math.inf if renewal is None else renewal.deadline)
                continue
            try:
                fetched = await self._fetched()
            except TurnError as error:
                _log.warning("%s", error)
                renewal.failed(_now())
            else:
                self._take(fetched)
                return

    async def _fetched(self) -> FixedCredentials:
        assert self._fetch is not None
        try:
            async with asyncio.timeout(_FETCH_S):
                return await self._fetch()
        except TurnError:
            raise
        except Exception as error:
            # The function is the application's and may raise anything; a call must not end because of one failed fetch.
            what = f"TURN credentials could not be fetched: {type(error).__name__}"
            raise TurnError(what, code="turn_no_credentials", retryable=True) from error

    def _take(self, credentials: FixedCredentials) -> None:
        self._held = _long_term(credentials)
        if self._fetch is not None:
            rest = credentials if isinstance(credentials, RestCredentials) else RestCredentials(*_pair(self._held))
            if self._renewal is None:
                self._renewal = RestRenewal(rest, _now(), random=random.random)
            else:
                self._renewal.renewed(rest, _now())
        self._changed.set()

    async def _wait_until(self, deadline: float) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout_at(None if deadline == math.inf else deadline):
                await self._changed.wait()
        except TimeoutError:
            pass


def _now() -> float:
    return asyncio.get_running_loop().time()


def _pair(credentials: LongTermCredentials) -> tuple[str, str]:
    return credentials.username, credentials.password


def _long_term(credentials: FixedCredentials) -> LongTermCredentials:
    if isinstance(credentials, LongTermCredentials):
        return credentials
    if isinstance(credentials, RestCredentials):
        return LongTermCredentials(credentials.username, credentials.password)
    return LongTermCredentials(*credentials)
