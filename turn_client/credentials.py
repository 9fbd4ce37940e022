"""Long-term credentials: keys, nonces, password algorithms, and the check against bidding down (RFC 8489 section 9.2)."""

from __future__ import annotations

import enum
import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from salam.errors import ConfigError
from turn_client.errors import BadCredentials, BidDown, TurnError
from turn_client.opaque_string import opaque_string, prepared_password
from turn_client.stun import Attribute, MessageClass, StunMessage, build_message

__all__ = [
    "Authenticator",
    "Challenge",
    "LongTermCredentials",
    "PasswordAlgorithm",
    "SecurityFeature",
    "Signature",
    "nonce_features",
]

# RFC 8489 section 9.2: what a nonce of a server that knows the security features starts with.
_NONCE_COOKIE = b"obMatJos2"
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
# The 24 feature bits as four base64 characters.
_FEATURE_CHARACTERS = 4
_SHA256_BYTES = 32
# RFC 8489 section 14.3: "fewer than 509 bytes".
_MAX_USERNAME_BYTES = 508


class PasswordAlgorithm(enum.IntEnum):
    """How the key is made from the password (RFC 8489 section 18.5)."""

    MD5 = 0x0001
    SHA256 = 0x0002


class SecurityFeature(enum.IntFlag):
    """Security features in a nonce: bit 0 is the least significant of 24 (RFC 8489 section 18.1)."""

    PASSWORD_ALGORITHMS = 1 << 0
    USERNAME_ANONYMITY = 1 << 1


def nonce_features(nonce: bytes) -> SecurityFeature:
    """Return the security features that ``nonce`` announces; none when it has no cookie or a garbled one."""
    head = nonce[: len(_NONCE_COOKIE) + _FEATURE_CHARACTERS]
    code = head[len(_NONCE_COOKIE) :]
    if not head.startswith(_NONCE_COOKIE) or len(code) != _FEATURE_CHARACTERS:
        return SecurityFeature(0)
    bits = 0
    for char in code:
        digit = _BASE64.find(char)
        if digit < 0:
            return SecurityFeature(0)
        bits = bits << 6 | digit
    return SecurityFeature(bits & (SecurityFeature.PASSWORD_ALGORITHMS | SecurityFeature.USERNAME_ANONYMITY))


@dataclass(frozen=True, slots=True)
class LongTermCredentials:
    """A username and its password; ``realm`` restricts them to one realm (None: whatever the server names).

    The password is prepared as OpaqueString (RFC 8265) when a key is made. Never shown by ``repr``.
    Raises ConfigError for an empty username or one of 509 bytes and more, and for a password that the profile disallows.
    """

    username: str
    password: str = field(repr=False)
    realm: str | None = None

    def __post_init__(self) -> None:
        prepared_password(self.password)
        if len(self.prepared_username.encode()) > _MAX_USERNAME_BYTES:
            raise ConfigError(f"the TURN username is longer than {_MAX_USERNAME_BYTES} bytes")

    @property
    def prepared_username(self) -> str:
        """The username as it is sent and hashed."""
        return opaque_string(self.username, what="the TURN username")

    def key(self, realm: str, algorithm: PasswordAlgorithm) -> bytes:
        """Key for the message integrity in ``realm`` (RFC 8489 section 9.2.2).

        Raises ConfigError when OpaqueString does not allow the realm.
        """
        prepared_realm = opaque_string(realm, what="the realm")
        text = f"{self.prepared_username}:{prepared_realm}:{prepared_password(self.password)}".encode()
        if algorithm is PasswordAlgorithm.SHA256:
            return hashlib.sha256(text).digest()
        # The protocol fixes MD5 for servers that offer nothing else; it protects no stored secret here.
        return hashlib.md5(text, usedforsecurity=False).digest()

    def userhash(self, realm: str) -> bytes:
        """USERHASH: the username, hidden from who listens (RFC 8489 section 14.4). Raises ConfigError like `key`."""
        return hashlib.sha256(f"{self.prepared_username}:{opaque_string(realm, what='the realm')}".encode()).digest()


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a server said in a 401 or 438: how requests to it must be signed."""

    realm: str
    nonce: bytes
    algorithms: bytes | None = None
    """PASSWORD-ALGORITHMS as received, to be echoed; None when the server knows only MD5 and SHA-1."""
    algorithm: PasswordAlgorithm = PasswordAlgorithm.MD5
    anonymous: bool = False
    """Whether the username is sent as a hash."""

    @classmethod
    def parse(cls, message: StunMessage, previous: Challenge | None) -> Challenge:
        """Read the challenge of a 401 or 438 response; what a 438 leaves out is taken from ``previous``.

        Raises BidDown when the nonce announces password algorithms and the message has none, when it offers none that this client
        knows, or when the protection is weaker than ``previous`` in the same realm; TurnError when there is nothing to sign with.
        """
        nonce, realm_value = message.get(Attribute.NONCE), message.get(Attribute.REALM)
        realm = realm_value.decode() if realm_value is not None else previous.realm if previous is not None else None
        if nonce is None or realm is None:
            raise TurnError("the server asks for authentication without naming a realm and a nonce", code="turn_bad_challenge")
        try:
            opaque_string(realm, what="the realm")
        except ConfigError as error:
            raise TurnError(error.message, code="turn_bad_challenge") from None
        features = nonce_features(nonce)
        offered = message.get(Attribute.PASSWORD_ALGORITHMS)
        if offered is None and SecurityFeature.PASSWORD_ALGORITHMS in features:
            raise BidDown("the nonce announces password algorithms, but the server's list of them is missing")
        algorithm = PasswordAlgorithm.MD5 if offered is None else _first_known(offered)
        if previous is not None and previous.realm == realm and previous.algorithms is not None and offered is None:
            raise BidDown("the server offered password algorithms before and does not any more")
        return cls(realm, nonce, offered, algorithm, SecurityFeature.USERNAME_ANONYMITY in features)


def _first_known(algorithms: bytes) -> PasswordAlgorithm:
    """The first algorithm in the server's order that this client knows (RFC 8489 section 9.2.5)."""
    at = 0
    while at < len(algorithms):
        number, length = struct.unpack_from("!HH", algorithms, at)
        # Both known algorithms have no parameters.
        if number in (PasswordAlgorithm.MD5, PasswordAlgorithm.SHA256) and length == 0:
            return PasswordAlgorithm(number)
        at += 4 + (length + 3 & ~3)
    raise BidDown("the server offers no password algorithm that this client knows")


@dataclass(frozen=True, slots=True)
class Signature:
    """How a request was signed, to check its answer by the same key (RFC 8489 section 9.2.5)."""

    key: bytes = field(repr=False)
    sha256: bool
    nonce: bytes

    def verifies(self, message: StunMessage) -> bool:
        """Whether ``message`` carries the integrity that answers this request.

        TURN does not allow a truncated SHA-256 (RFC 8489 section 14.6 leaves that to the usage).
        """
        if not self.sha256:
            return message.check_integrity(self.key)
        value = message.get(Attribute.MESSAGE_INTEGRITY_SHA256)
        return value is not None and len(value) == _SHA256_BYTES and message.check_integrity_sha256(self.key)


class Authenticator:
    """Signs requests by the newest challenge and the newest credentials; one per allocation."""

    def __init__(self, credentials: LongTermCredentials) -> None:
        self.credentials = credentials
        self.challenge: Challenge | None = None
        # The key costs a hash and the preparation of three strings: it is made once per realm, algorithm and credentials.
        self._key: bytes | None = None
        self._identity: tuple[int, bytes] | None = None

    def learn(self, message: StunMessage) -> None:
        """Take over the challenge of a 401 or 438 response.

        Raises what `Challenge.parse` raises, and BadCredentials when the realm is not the one that the credentials are for.
        """
        challenge = Challenge.parse(message, self.challenge)
        wanted = self.credentials.realm
        if wanted is not None and wanted != challenge.realm:
            raise BadCredentials(401, "the credentials are for another realm")
        old = self.challenge
        self.challenge = challenge
        if old is None or (old.realm, old.algorithm, old.anonymous) != (challenge.realm, challenge.algorithm, challenge.anonymous):
            self._key = None

    def copy(self) -> Authenticator:
        """Return another with the same credentials and challenge, for a second connection: some servers keep a nonce for each."""
        twin = Authenticator(self.credentials)
        twin.challenge = self.challenge
        return twin

    def renew(self, credentials: LongTermCredentials) -> None:
        """Sign the next requests with other credentials."""
        self.credentials = credentials
        self._key = None

    def key(self) -> bytes | None:
        """The key that the next request is signed with, None before the first challenge."""
        return None if self.challenge is None else self._material(self.challenge)[0]

    def build(self, method: int, transaction_id: bytes, attributes: Iterable[tuple[int, bytes]]) -> tuple[bytes, Signature | None]:
        """Serialise a request, signed when a challenge is known, and say how it was signed."""
        challenge = self.challenge
        if challenge is None:
            return build_message(method, MessageClass.REQUEST, transaction_id, attributes), None
        key, identity = self._material(challenge)
        signed = [*attributes, identity, (Attribute.REALM, challenge.realm.encode()), (Attribute.NONCE, challenge.nonce)]
        if challenge.algorithms is None:
            data = build_message(method, MessageClass.REQUEST, transaction_id, signed, integrity_key=key)
            return data, Signature(key, sha256=False, nonce=challenge.nonce)
        signed.append((Attribute.PASSWORD_ALGORITHMS, challenge.algorithms))
        signed.append((Attribute.PASSWORD_ALGORITHM, struct.pack("!HH", challenge.algorithm, 0)))
        data = build_message(method, MessageClass.REQUEST, transaction_id, signed, integrity_sha256_key=key)
        return data, Signature(key, sha256=True, nonce=challenge.nonce)

    def _material(self, challenge: Challenge) -> tuple[bytes, tuple[int, bytes]]:
        if self._key is None or self._identity is None:
            self._key = self.credentials.key(challenge.realm, challenge.algorithm)
            if challenge.anonymous:
                self._identity = (Attribute.USERHASH, self.credentials.userhash(challenge.realm))
            else:
                self._identity = (Attribute.USERNAME, self.credentials.prepared_username.encode())
        return self._key, self._identity
