from __future__ import annotations

import inspect

import salam.errors
from salam import AuthError, ClosedError, LimitError, SalamError


def test_codes_are_stable_and_distinct() -> None:
    classes = [kind for _, kind in inspect.getmembers(salam.errors, inspect.isclass) if issubclass(kind, SalamError)]
    codes = {kind.__name__: kind.default_code for kind in classes}
    assert codes == {
        "AuthError": "not_authorized",
        "ClosedError": "closed",
        "ConfigError": "bad_setting",
        "ConflictError": "conflict",
        "LimitError": "limit_reached",
        "NotFoundError": "not_found",
        "ProtocolError": "protocol_error",
        "RequestError": "bad_request",
        "ResourceError": "resource_unavailable",
        "SalamError": "error",
    }


def test_a_raise_site_may_narrow_the_code() -> None:
    error = AuthError("the token expired", code="token_expired")
    assert (str(error), error.code, error.retryable) == ("the token expired", "token_expired", False)
    assert "token_expired" in repr(error)


def test_a_limit_is_retryable_unless_said_otherwise() -> None:
    assert LimitError("full").retryable
    assert not LimitError("full", retryable=False).retryable


def test_closed_says_by_whom() -> None:
    assert ClosedError("gone", reason="router_closed").reason == "router_closed"
