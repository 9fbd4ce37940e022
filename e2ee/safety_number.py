"""Safety numbers: what two people compare to know that nobody stands between them (the profile's section 12).

The number depends on the users' account keys alone, so another device does not change it.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from e2ee.encoding import Reader, fixed, lp, u16, user_bytes
from e2ee.errors import MalformedMessage, UntrustedIdentity
from e2ee.primitives import KEY_BYTES

__all__ = ["DIGITS", "SafetyCode", "check_code", "grouped", "safety_number"]

_VERSION = 1
# As Signal does: each try to find a key with the same digits costs this many hashes, 5 ms.
_HASHES = 5_200
_GROUPS = 6
_GROUP_BYTES = 5
DIGITS = 60
_MAGIC = b"SLS1"


def _half(user_id: str, account: bytes) -> str:
    user = user_bytes(user_id)
    digest = hashlib.sha512(u16(_VERSION) + lp(user) + fixed(account, KEY_BYTES)).digest()
    for _ in range(_HASHES - 1):
        digest = hashlib.sha512(digest + account).digest()
    numbers = (int.from_bytes(digest[at : at + _GROUP_BYTES], "big") for at in range(0, _GROUPS * _GROUP_BYTES, _GROUP_BYTES))
    return "".join(f"{number % 100_000:05d}" for number in numbers)


def safety_number(user_id: str, account: bytes, peer_id: str, peer_account: bytes) -> str:
    """60 digits, the same on both sides whoever asks; `MalformedMessage` for an id or key that the profile does not allow."""
    return "".join(sorted((_half(user_id, account), _half(peer_id, peer_account))))


def grouped(number: str) -> str:
    """A safety number as people read it aloud: twelve groups of five digits."""
    return " ".join(number[at : at + 5] for at in range(0, len(number), 5))


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyCode:
    """The same comparison by camera: what one user's screen shows as a QR code about itself and the other."""

    user_id: str
    account: bytes
    peer_id: str
    peer_account: bytes

    def encode(self) -> bytes:
        """The QR code's bytes; `MalformedMessage` for an id or key that the profile does not allow."""
        own = lp(user_bytes(self.user_id)) + fixed(self.account, KEY_BYTES)
        return _MAGIC + own + lp(user_bytes(self.peer_id)) + fixed(self.peer_account, KEY_BYTES)

    @staticmethod
    def parse(data: bytes) -> SafetyCode:
        """Read what a camera saw; `MalformedMessage` for anything else."""
        reader = Reader(data)
        if reader.take(len(_MAGIC)) != _MAGIC:
            raise MalformedMessage("this is no code of a safety number")
        user_id, account = reader.user(), reader.take(KEY_BYTES)
        peer_id, peer_account = reader.user(), reader.take(KEY_BYTES)
        reader.done()
        return SafetyCode(user_id=user_id, account=account, peer_id=peer_id, peer_account=peer_account)


def check_code(scanned: bytes, *, user_id: str, account: bytes, peer_id: str, peer_account: bytes) -> None:
    """Compare what the peer's screen shows with what this device (``user_id``, ``account``) knows.

    Raises `MalformedMessage` for another code, and `UntrustedIdentity` when the code is about other people, when the peer has
    another key than the one known here, or knows another key of this user: then somebody stands between.
    """
    code = SafetyCode.parse(scanned)
    if (code.user_id, code.peer_id) != (peer_id, user_id):
        raise UntrustedIdentity("the code is about other users")
    if not hmac.compare_digest(code.account, peer_account):
        raise UntrustedIdentity("the peer has another account key than the one known here", old=peer_account, new=code.account)
    if not hmac.compare_digest(code.peer_account, account):
        raise UntrustedIdentity("the peer knows another account key of this user", old=account, new=code.peer_account)
