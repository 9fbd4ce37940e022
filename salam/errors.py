"""The error tree that every package of Salam shares.

::

    SalamError
    ├── ConfigError          a setting is unknown, missing or out of range
    ├── ResourceError        the machine refuses: a taken port, a full disk, a missing codec
    ├── ProtocolError        a peer sent what its protocol does not allow
    ├── AuthError            a token is missing, wrong, expired or lacks a grant
    ├── RequestError         a well-formed request that cannot be carried out now
    │   ├── NotFoundError
    │   ├── ConflictError
    │   └── LimitError       a documented bound was reached
    └── ClosedError          the object was closed; `reason` says by whom

Every class has a stable ``code``: programs branch on it, people read the message. A subclass or a raise site may narrow the code; a
code never changes its meaning afterwards.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AuthError",
    "ClosedError",
    "ConfigError",
    "ConflictError",
    "LimitError",
    "NotFoundError",
    "ProtocolError",
    "RequestError",
    "ResourceError",
    "SalamError",
]


class SalamError(Exception):
    """Base of every error that Salam raises on purpose.

    ``message`` is one sentence for a person: what was wrong and what is allowed. It holds no secret and no peer address.
    ``code`` narrows the class's own code, for example ``"token_expired"`` on an `AuthError`.
    ``retryable`` says whether the same call may succeed later without any change on the caller's side.
    """

    default_code: ClassVar[str] = "error"
    default_retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, code: str | None = None, retryable: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code
        self.retryable = self.default_retryable if retryable is None else retryable

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.message!r}, code={self.code!r})"


class ConfigError(SalamError):
    """A setting is unknown, missing or out of range; the message names the key, the value and what is allowed."""

    default_code = "bad_setting"


class ResourceError(SalamError):
    """The machine refused something the engine needs: a port, a file, a codec."""

    default_code = "resource_unavailable"


class ProtocolError(SalamError):
    """A peer sent bytes or messages that its protocol does not allow.

    This is the only exception that a parser of network input may raise. Anything else that escapes one is a bug.
    """

    default_code = "protocol_error"


class AuthError(SalamError):
    """A token is missing, wrong, expired, or does not grant what was asked."""

    default_code = "not_authorized"


class RequestError(SalamError):
    """A well-formed request that cannot be carried out in the present state."""

    default_code = "bad_request"


class NotFoundError(RequestError):
    """What the request names does not exist (any more)."""

    default_code = "not_found"


class ConflictError(RequestError):
    """What the request would make exists already, or belongs to somebody else."""

    default_code = "conflict"


class LimitError(RequestError):
    """A documented bound was reached; the message names the bound."""

    default_code = "limit_reached"
    default_retryable = True


class ClosedError(SalamError):
    """The object was closed earlier; ``reason`` tells by whom or by what."""

    default_code = "closed"

    def __init__(self, message: str, *, reason: str = "closed") -> None:
        super().__init__(message)
        self.reason = reason
