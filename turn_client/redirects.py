"""The guard against being redirected in circles (RFC 8489 section 10)."""

from __future__ import annotations

from collections import OrderedDict

from turn_client.errors import Address, RedirectLoop

__all__ = ["RedirectGuard"]

# RFC 8489 section 10: a redirect to a server that was asked within the last five minutes is ignored.
_MEMORY_S = 300.0
# Hops in a row without an allocation. Load balancers need one; a longer chain of ever new servers leads nowhere.
_MAX_HOPS = 5
# Servers remembered: more than all hops of the last five minutes that anybody configures on purpose.
_MAX_SERVERS = 64


class RedirectGuard:
    """Which servers were asked lately; shared by all allocations that follow one redirect after the other."""

    def __init__(self) -> None:
        self._asked: OrderedDict[Address, float] = OrderedDict()
        self._hops = 0

    def asked(self, server: Address, now: float) -> None:
        """Note that an allocation is asked for at ``server``."""
        self._asked[server] = now
        self._asked.move_to_end(server)
        if len(self._asked) > _MAX_SERVERS:
            self._asked.popitem(last=False)

    def allocated(self) -> None:
        """Note that the chain of redirects ended well."""
        self._hops = 0

    def check(self, to: Address, now: float) -> None:
        """Take one redirect. Raises RedirectLoop when it must not be followed."""
        asked_at = self._asked.get(to)
        if asked_at is not None and now - asked_at < _MEMORY_S:
            raise RedirectLoop("the server redirects to one that was asked within the last five minutes")
        self._hops += 1
        if self._hops > _MAX_HOPS:
            raise RedirectLoop(f"more than {_MAX_HOPS} redirects in a row")
