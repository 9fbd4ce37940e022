"""Access tokens: who a client is and what it may do, signed by whoever shares the server's secret.

A token is a JWT (RFC 7519) signed with HS256 and nothing else. ``sub`` is the identity, ``exp`` is required, ``nbf`` is honoured,
and ``grants`` is an object with the fields of `Grants` other than the identity. Services mint tokens with `TokenIssuer` or with any
JWT library that they have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import jwt
import msgspec
from msgspec import Meta, Struct

from salam.errors import AuthError, ConfigError

__all__ = ["ANY", "MIN_SECRET_BYTES", "Grants", "TokenIssuer", "VerifiedToken"]

ANY = "*"
"""In place of a room or stream name: every one of them."""

# RFC 7518, section 3.2: a key of the same size as the hash output or larger must be used with HS256.
MIN_SECRET_BYTES = 32
# Our own tokens have some 300 characters; a proxy's usual 8 KiB header limit is the most that could reach us elsewhere anyway.
_MAX_TOKEN_CHARS = 8_192
_ALGORITHM = "HS256"
# Difference allowed between the clock of the minting machine and ours; NTP keeps machines within a second.
_CLOCK_SKEW_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """Who a client is and what it may do. No room, media or moderation is granted unless said."""

    identity: str
    """1 to 128 characters; the same identity joining a room twice replaces its older self."""
    room: str | None = None
    """The room that may be joined, `ANY`, or None."""
    publish: bool = False
    """May send audio and video in the room."""
    subscribe: bool = False
    """May receive audio and video in the room."""
    moderate: bool = False
    """May mute and remove others in the room."""
    stream: str | None = None
    """The livestream that may be published, `ANY`, or None."""
    watch: bool = True
    """May follow livestreams: state, viewer count, chat."""
    chat: bool = True
    """May write in the chat of the room it is in and of livestreams that it watches."""

    @classmethod
    def everything(cls, identity: str) -> Grants:
        """Return all rights everywhere."""
        return cls(
            identity=identity,
            room=ANY,
            publish=True,
            subscribe=True,
            moderate=True,
            stream=ANY,
            watch=True,
            chat=True,
        )

    def require_room(self, room: str) -> None:
        """Raise AuthError (``grant_missing``) unless ``room`` may be joined."""
        if self.room not in (ANY, room):
            raise _missing(f"join the room {room}")

    def require_stream(self, stream: str) -> None:
        """Raise AuthError (``grant_missing``) unless the livestream ``stream`` may be published."""
        if self.stream not in (ANY, stream):
            raise _missing(f"publish the stream {stream}")

    def require_publish(self) -> None:
        """Raise AuthError (``grant_missing``) unless audio and video may be sent in the room."""
        if not self.publish:
            raise _missing("publish audio or video")

    def require_subscribe(self) -> None:
        """Raise AuthError (``grant_missing``) unless audio and video may be received in the room."""
        if not self.subscribe:
            raise _missing("receive audio or video")

    def require_moderate(self) -> None:
        """Raise AuthError (``grant_missing``) unless others may be muted and removed."""
        if not self.moderate:
            raise _missing("moderate")

    def require_watch(self) -> None:
        """Raise AuthError (``grant_missing``) unless livestreams may be followed."""
        if not self.watch:
            raise _missing("watch livestreams")

    def require_chat(self) -> None:
        """Raise AuthError (``grant_missing``) unless chat lines may be written."""
        if not self.chat:
            raise _missing("chat")


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """What a token grants, and until when."""

    grants: Grants
    valid_until: float
    """Unix seconds, the allowed difference between clocks included."""


# The pattern of `messages.Name`, or the star.
_NameOrAny = Annotated[str, Meta(pattern=r"^(?:\*|[A-Za-z0-9][A-Za-z0-9_.-]{0,63})$(?!\n)")]


class _GrantClaims(Struct, omit_defaults=True, kw_only=True):
    room: _NameOrAny | None = None
    publish: bool = False
    subscribe: bool = False
    moderate: bool = False
    stream: _NameOrAny | None = None
    watch: bool = True
    chat: bool = True


class _Claims(Struct, omit_defaults=True, kw_only=True):
    sub: Annotated[str, Meta(min_length=1, max_length=128)]
    exp: float
    iat: float = 0.0
    nbf: float = 0.0
    grants: _GrantClaims = msgspec.field(default_factory=_GrantClaims)


class TokenIssuer:
    """Mints and verifies tokens with one shared secret, which never appears in a repr or a message.

    Raises ConfigError when ``secret`` has fewer than `MIN_SECRET_BYTES` bytes (a str counts as UTF-8).
    """

    def __init__(self, secret: str | bytes) -> None:
        key = secret.encode() if isinstance(secret, str) else bytes(secret)
        if len(key) < MIN_SECRET_BYTES:
            raise ConfigError(
                f"secret has {len(key)} bytes; allowed: at least {MIN_SECRET_BYTES}, for example from `openssl rand -hex 32`"
            )
        self._key = key

    def __repr__(self) -> str:
        return "<TokenIssuer>"

    def mint(self, grants: Grants, *, ttl_s: float, now_wall: float) -> str:
        """Return a token for ``grants`` that is valid for ``ttl_s`` seconds from ``now_wall`` (Unix seconds).

        Raises ConfigError when the lifetime is not positive, or the identity, room or stream is not one that `verify` accepts.
        """
        if ttl_s <= 0:
            raise ConfigError(f"ttl_s is {ttl_s}; allowed: more than 0")
        claims = {
            "sub": grants.identity,
            "iat": int(now_wall),
            "exp": int(now_wall + ttl_s),
            "grants": {
                "room": grants.room,
                "publish": grants.publish,
                "subscribe": grants.subscribe,
                "moderate": grants.moderate,
                "stream": grants.stream,
                "watch": grants.watch,
                "chat": grants.chat,
            },
        }
        try:
            checked = msgspec.to_builtins(msgspec.convert(claims, _Claims))
        except msgspec.ValidationError as error:
            raise ConfigError(f"the grants cannot be put into a token: {error}") from error
        # Whole seconds, because some JWT libraries refuse a fraction in `exp`.
        checked |= {"iat": int(now_wall), "exp": int(now_wall + ttl_s)}
        return jwt.encode(checked, self._key, algorithm=_ALGORITHM)

    def verify(self, token: str, *, now_wall: float) -> Grants:
        """Return the grants of ``token`` at ``now_wall`` (Unix seconds). Raises AuthError, see `read`."""
        return self.read(token, now_wall=now_wall).grants

    def read(self, token: str, *, now_wall: float) -> VerifiedToken:
        """Return the grants of ``token`` at ``now_wall`` (Unix seconds) and the end of its time.

        Raises AuthError with the code ``token_missing``, ``token_malformed``, ``token_signature`` (wrong key or another algorithm,
        ``none`` included) or ``token_expired``; nothing else, whatever the token holds.
        """
        if not token:
            raise AuthError("this server needs a token, and none was given", code="token_missing")
        if len(token) > _MAX_TOKEN_CHARS:
            raise AuthError(f"the token is longer than {_MAX_TOKEN_CHARS} characters", code="token_malformed")
        claims = self._claims(token)
        if not claims.exp > now_wall - _CLOCK_SKEW_S:
            raise AuthError("the token has expired; ask for a new one", code="token_expired")
        if claims.nbf > now_wall + _CLOCK_SKEW_S:
            raise AuthError("the token is not valid yet", code="token_malformed")
        grants = claims.grants
        return VerifiedToken(
            Grants(
                identity=claims.sub,
                room=grants.room,
                publish=grants.publish,
                subscribe=grants.subscribe,
                moderate=grants.moderate,
                stream=grants.stream,
                watch=grants.watch,
                chat=grants.chat,
            ),
            valid_until=claims.exp + _CLOCK_SKEW_S,
        )

    def _claims(self, token: str) -> _Claims:
        try:
            # Only the signature is checked here: the library would read the machine's clock for the times.
            payload = jwt.decode_complete(
                token,
                self._key,
                algorithms=[_ALGORITHM],
                options={
                    "require": ["exp", "sub"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_aud": False,
                    "verify_iss": False,
                    "verify_sub": False,
                    "verify_jti": False,
                },
            )["payload"]
            return msgspec.convert(payload, _Claims)
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError, jwt.InvalidKeyError) as error:
            raise AuthError("the token was not signed with this server's secret and HS256", code="token_signature") from error
        # The library leaves some malformed inputs to the standard library's own errors.
        except (jwt.PyJWTError, msgspec.MsgspecError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise AuthError("the token cannot be read, or a claim in it is missing or wrong", code="token_malformed") from error


def _missing(what: str) -> AuthError:
    return AuthError(f"the token does not allow to {what}", code="grant_missing")
