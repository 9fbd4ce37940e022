"""Access tokens: what is minted is what is verified, and nothing else gets in."""

from __future__ import annotations

import base64
import json

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salam import AuthError, ConfigError
from signaling import Grants, TokenIssuer

SECRET = "a secret that is at least 32 bytes long"
NOW = 1_700_000_000.0
names = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")


def code_of(token: str, *, now_wall: float = NOW, secret: str = SECRET) -> str:
    with pytest.raises(AuthError) as caught:
        TokenIssuer(secret).verify(token, now_wall=now_wall)
    return caught.value.code


def raw(header: dict[str, object], claims: object, signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@given(
    st.builds(
        Grants,
        identity=st.text(min_size=1, max_size=128).filter(lambda text: text.isprintable()),
        room=st.none() | st.just("*") | names,
        publish=st.booleans(),
        subscribe=st.booleans(),
        moderate=st.booleans(),
        stream=st.none() | st.just("*") | names,
        watch=st.booleans(),
        chat=st.booleans(),
    )
)
def test_what_is_minted_is_what_is_verified(grants: Grants) -> None:
    issuer = TokenIssuer(SECRET)
    assert issuer.verify(issuer.mint(grants, ttl_s=60, now_wall=NOW), now_wall=NOW + 59) == grants


def test_a_token_expires() -> None:
    token = TokenIssuer(SECRET).mint(Grants(identity="ada"), ttl_s=60, now_wall=NOW)
    assert TokenIssuer(SECRET).verify(token, now_wall=NOW + 64).identity == "ada", "clocks may differ by 5 s"
    assert code_of(token, now_wall=NOW + 66) == "token_expired"


def test_another_secret_and_other_algorithms_are_refused() -> None:
    claims = {"sub": "eve", "exp": NOW + 60, "grants": {"room": "*"}}
    token = TokenIssuer("another secret that is 32 bytes long!").mint(Grants(identity="eve"), ttl_s=60, now_wall=NOW)
    assert code_of(token) == "token_signature"
    assert code_of(raw({"alg": "none", "typ": "JWT"}, claims)) == "token_signature"
    assert code_of(raw({"alg": "HS512", "typ": "JWT"}, claims)) == "token_signature"
    assert code_of(jwt.encode(claims, SECRET * 2, algorithm="HS512"), secret=SECRET * 2) == "token_signature"


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW + 60},
        {"sub": "ada"},
        {"sub": "", "exp": NOW + 60},
        {"sub": 7, "exp": NOW + 60},
        {"sub": "ada", "exp": "soon"},
        {"sub": "ada", "exp": NOW + 60, "nbf": NOW + 30},
        {"sub": "ada", "exp": NOW + 60, "grants": []},
        {"sub": "ada", "exp": NOW + 60, "grants": {"room": "../etc"}},
        {"sub": "ada", "exp": NOW + 60, "grants": {"publish": "yes"}},
    ],
)
def test_wrong_claims_are_refused(claims: dict[str, object]) -> None:
    assert code_of(jwt.encode(claims, SECRET, algorithm="HS256")) == "token_malformed"


def test_no_token_and_huge_tokens_are_refused() -> None:
    assert code_of("") == "token_missing"
    assert code_of("x" * 10_000) == "token_malformed"


@given(st.text(max_size=200) | st.from_regex(r"\A[\w-]*\.[\w-]*\.[\w-]*\Z"))
def test_any_text_is_refused_with_our_error(text: str) -> None:
    assert code_of(text).startswith("token_")


def test_a_changed_token_is_refused() -> None:
    header, _, signature = TokenIssuer(SECRET).mint(Grants(identity="ada"), ttl_s=60, now_wall=NOW).split(".")
    forged = raw({}, {"sub": "root", "exp": NOW + 60}).split(".")[1]
    assert code_of(f"{header}.{forged}.{signature}") == "token_signature"


def test_secrets_must_be_long_and_stay_hidden() -> None:
    with pytest.raises(ConfigError, match="at least 32"):
        TokenIssuer("short")
    assert SECRET not in repr(TokenIssuer(SECRET))


def test_a_token_that_could_not_be_verified_is_not_minted() -> None:
    issuer = TokenIssuer(SECRET)
    for grants in (Grants(identity=""), Grants(identity="a", room="no/slash")):
        with pytest.raises(ConfigError):
            issuer.mint(grants, ttl_s=60, now_wall=NOW)
    with pytest.raises(ConfigError):
        issuer.mint(Grants(identity="a"), ttl_s=0, now_wall=NOW)


def test_each_grant_is_required_by_its_name() -> None:
    nothing = Grants(identity="a", watch=False, chat=False)
    everything = Grants.everything("a")
    for check in ("publish", "subscribe", "moderate", "watch", "chat"):
        getattr(everything, f"require_{check}")()
        with pytest.raises(AuthError) as caught:
            getattr(nothing, f"require_{check}")()
        assert caught.value.code == "grant_missing"
    Grants(identity="a", room="x").require_room("x")
    Grants(identity="a", stream="x").require_stream("x")
    with pytest.raises(AuthError):
        Grants(identity="a", room="x").require_room("y")
    with pytest.raises(AuthError):
        nothing.require_stream("x")
