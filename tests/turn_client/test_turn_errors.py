"""The errors of the TURN client: stable codes, what may be tried again, and no address in any text."""

import pytest

from salam import SalamError
from turn_client import errors
from turn_client.errors import PeerRefused, PeerUnreachable, ServerRefused, TurnError, refusal

CODES = {
    "TurnError": ("turn_error", False),
    "TransactionTimeout": ("turn_timeout", True),
    "TransportFailed": ("turn_transport_failed", True),
    "IntegrityViolated": ("turn_integrity_violated", False),
    "BidDown": ("turn_bid_down", False),
    "RedirectLoop": ("turn_redirect_loop", True),
    "AllocationLost": ("turn_allocation_lost", True),
    "BadPeer": ("turn_bad_peer", False),
    "TooManyPeers": ("turn_too_many_peers", True),
    "NotAllocated": ("turn_not_allocated", False),
}


@pytest.mark.parametrize("name", CODES)
def test_codes_are_stable(name: str) -> None:
    error = getattr(errors, name)("it went wrong")
    assert (error.code, error.retryable) == CODES[name]
    assert isinstance(error, TurnError)
    assert isinstance(error, SalamError)
    assert str(error) == "it went wrong"


@pytest.mark.parametrize(
    ("number", "code", "retryable", "wait_s"),
    [
        (401, "turn_bad_credentials", False, 0.0),
        (403, "turn_refused", False, 0.0),
        (486, "turn_quota_reached", True, 60.0),
        (500, "turn_refused", True, 0.0),
        (508, "turn_insufficient_capacity", True, 60.0),
    ],
)
def test_refusals(number: int, code: str, wait_s: float, *, retryable: bool) -> None:
    error = refusal(number, "because", method="ALLOCATE")
    assert (error.error_code, error.reason, error.code) == (number, "because", code)
    assert (error.retryable, error.retry_after_s) == (retryable, wait_s)
    assert str(error) == f"the server refused ALLOCATE with {number} 'because'"


def test_texts_of_servers_are_cut_and_quoted() -> None:
    error = ServerRefused(500, "line\nbreak \x1b[31m" + "x" * 1000)
    assert "\n" not in str(error)
    assert "\x1b" not in str(error)
    assert len(str(error)) < 250


def test_no_peer_in_the_text() -> None:
    peer = ("198.51.100.77", 5000)
    for error in (PeerRefused(peer, 403, "Forbidden"), PeerUnreachable(peer, 3, 1)):
        assert error.peer == peer
        assert peer[0] not in str(error)
        assert peer[0] not in repr(error)
