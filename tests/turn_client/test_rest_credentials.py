"""REST credentials: what coturn computes, when they are renewed, and that the question is asked neither too late nor too often."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from turn_client.rest import RenewalState, RestCredentials, RestRenewal, make_rest_credentials, rest_expiry_unix

NOW_UNIX = 1_700_000_000.0


def test_known_answer() -> None:
    # Made with: printf %s 1700003600:bob | openssl dgst -sha1 -hmac s3cr3t -binary | base64
    username, password = make_rest_credentials("s3cr3t", "bob", 3600, NOW_UNIX)
    assert (username, password) == ("1700003600:bob", "xa6XFLG51ykvqIUoYJrVBbSBCjw=")
    assert rest_expiry_unix(username) == 1_700_003_600


def test_without_a_user_the_username_is_the_expiry() -> None:
    assert make_rest_credentials("s3cr3t", "", 60, NOW_UNIX)[0] == "1700000060"
    assert rest_expiry_unix("1700000060") == 1_700_000_060


@pytest.mark.parametrize(
    "username", ["", "bob", "bob:1700000000", ":bob", "-5:bob", " 17:bob", "1e9:bob", "٣٤:bob", "²:x", "1" * 13]
)
def test_what_is_no_expiry_is_none(username: str) -> None:
    assert rest_expiry_unix(username) is None


@pytest.mark.parametrize(
    ("secret", "user", "ttl_s"),
    [
        ("", "bob", 60),
        ("s", "bob", 0),
        ("s", "bob", -1),
        ("s", "bob", math.nan),
        ("s", "bob", math.inf),
        ("s", "b\nob", 60),
        ("s", "b" * 508, 60),
    ],
)
def test_what_no_server_would_take_is_refused(secret: str, user: str, ttl_s: float) -> None:
    with pytest.raises(ValueError, match=r"."):
        make_rest_credentials(secret, user, ttl_s, NOW_UNIX)


def test_the_password_is_not_shown() -> None:
    credentials = RestCredentials.made("s3cr3t", "bob", 3600, NOW_UNIX)
    assert credentials.password not in repr(credentials)


def test_the_time_to_live_is_read_from_the_username() -> None:
    assert RestCredentials.from_username("1700000060:bob", "x", NOW_UNIX).ttl_s == 60
    assert RestCredentials.from_username("1600000000:bob", "x", NOW_UNIX).ttl_s == 0
    assert RestCredentials.from_username("alice", "x", NOW_UNIX).ttl_s is None


def renewal(ttl_s: float | None, random: float = 0.0) -> RestRenewal:
    return RestRenewal(RestCredentials("u", "p", ttl_s), 100.0, random=lambda: random)


def test_credentials_without_end_are_never_renewed() -> None:
    machine = renewal(None)
    assert machine.deadline == math.inf
    assert machine.usable(1e12)
    assert not machine.tick(1e12)


@settings(deadline=None)
@given(st.floats(0.0, 1e9), st.floats(0.0, 0.999))
def test_the_question_comes_before_the_end_and_not_at_once(ttl_s: float, random: float) -> None:
    machine = renewal(ttl_s, random)
    wait_s = machine.deadline - 100.0
    assert min(ttl_s / 2, 60.0) * 0.99 <= wait_s + 1e-6
    assert wait_s <= ttl_s * 0.8 + 1e-6
    assert wait_s <= max(ttl_s - 45, ttl_s / 2) + 1e-6


def test_clients_that_began_together_do_not_ask_together() -> None:
    assert renewal(3600, 0.0).deadline == pytest.approx(100 + 2880)
    assert renewal(3600, 0.5).deadline == pytest.approx(100 + 2700)


def test_one_question_at_a_time_and_a_new_life_after_the_answer() -> None:
    machine = renewal(100.0)
    assert machine.state(100.0) is RenewalState.WAITING
    assert not machine.tick(154.9)
    assert machine.state(155.0) is RenewalState.DUE
    assert machine.tick(155.0)
    assert machine.state(155.0) is RenewalState.ASKED
    assert machine.deadline == math.inf
    assert not machine.tick(300.0)
    machine.renewed(RestCredentials("v", "q", 1000.0), 156.0)
    assert machine.credentials.username == "v"
    assert machine.deadline == pytest.approx(156 + 800)


def test_failures_are_repeated_with_growing_pauses_past_the_end() -> None:
    machine = renewal(100.0)
    now, pauses = 155.0, []
    for _ in range(8):
        assert machine.tick(now)
        machine.failed(now)
        pauses.append(machine.deadline - now)
        assert not machine.tick(now)
        now = machine.deadline
    assert pauses == pytest.approx([2, 4, 8, 16, 32, 60, 60, 60])
    assert machine.state(now) is RenewalState.EXPIRED
    assert not machine.usable(now)


def test_refused_credentials_are_renewed_at_once_but_not_in_a_circle() -> None:
    machine = renewal(3600.0)
    machine.rejected(200.0)
    assert not machine.usable(200.0)
    assert machine.tick(200.0)
    machine.rejected(200.5)
    assert not machine.tick(200.5)
    machine.renewed(RestCredentials("v", "q", 3600.0), 201.0)
    assert machine.usable(201.0)
    machine.rejected(202.0)
    assert machine.deadline == 210.0
    assert machine.tick(210.0)
    machine.failed(210.0)
    machine.rejected(210.5)
    assert machine.deadline == 212.0
