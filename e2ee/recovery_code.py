"""Recovery codes: 256 random bits that a person writes down (the profile's section 10).

52 characters of Crockford's base 32: the 256 bits, then the first 4 bits of their SHA-256, by which a slip of the pen is noticed.
"""

from __future__ import annotations

from e2ee.encoding import fixed
from e2ee.errors import MalformedMessage
from e2ee.primitives import KEY_BYTES, Random, sha256, system_random

__all__ = ["CODE_CHARACTERS", "draw_code", "format_code", "parse_code"]

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
CODE_CHARACTERS = 52
_GROUP = 4
_CHECK_BITS = 4
# Crockford: letters that look like digits are read as those, and U is left out for what it would spell.
_VALUES = {character: value for value, character in enumerate(_ALPHABET)} | {"O": 0, "I": 1, "L": 1}
# What people put between groups.
_IGNORED = str.maketrans("", "", "- \t\r\n")


def _check(secret: bytes) -> int:
    return sha256(secret)[0] >> (8 - _CHECK_BITS)


def draw_code(random: Random = system_random) -> str:
    """A new recovery code, to be shown once; draws 32 bytes."""
    return format_code(random(KEY_BYTES))


def format_code(secret: bytes) -> str:
    """32 bytes as 13 groups of four characters; `MalformedMessage` for another length."""
    bits = int.from_bytes(fixed(secret, KEY_BYTES), "big") << _CHECK_BITS | _check(secret)
    characters = "".join(_ALPHABET[bits >> 5 * place & 31] for place in reversed(range(CODE_CHARACTERS)))
    return "-".join(characters[at : at + _GROUP] for at in range(0, CODE_CHARACTERS, _GROUP))


def parse_code(code: str) -> bytes:
    """The 32 bytes of a code as somebody typed it: any case, any grouping, O for 0, I and L for 1.

    Raises `MalformedMessage` for a wrong length, a character that no code has, or a check that is wrong: it was mistyped.
    """
    characters = code.translate(_IGNORED).upper()
    if len(characters) != CODE_CHARACTERS:
        raise MalformedMessage(f"a recovery code has {CODE_CHARACTERS} characters, not {len(characters)}")
    bits = 0
    for place, character in enumerate(characters, 1):
        value = _VALUES.get(character)
        if value is None:
            raise MalformedMessage(f"character {place} of the recovery code is none that a code has")
        bits = bits << 5 | value
    secret = (bits >> _CHECK_BITS).to_bytes(KEY_BYTES, "big")
    if bits & ((1 << _CHECK_BITS) - 1) != _check(secret):
        raise MalformedMessage("the recovery code was mistyped: its check is wrong")
    return secret
