"""How usernames, realms and passwords are prepared before they are hashed, with the Unicode tables of the standard library."""

from __future__ import annotations

import stringprep
import unicodedata

from salam.errors import ConfigError

__all__ = ["opaque_string", "prepared_password", "saslprep"]

# RFC 8264 section 9: what the FreeformClass leaves out. Cc controls, Cs surrogates, Cn unassigned (noncharacters among them).
# Cf holds the ignorable and directional controls (PrecisIgnorableProperties) that would be invisible in a password.
_DISALLOWED = frozenset({"Cc", "Cs", "Cn", "Co", "Cf"})
# RFC 8264 section 9.10: conjoining Hangul jamo are disallowed; NFC has composed those that belong together.
_OLD_HANGUL = (range(0x1100, 0x1200), range(0xA960, 0xA980), range(0xD7B0, 0xD800))
# RFC 5892 appendix A.1 and A.2: the joiners are allowed after a virama only.
_JOINERS = "\u200c\u200d"
_VIRAMA_CLASS = 9


def opaque_string(text: str, *, what: str) -> str:
    """Return ``text`` in the OpaqueString profile (RFC 8265 section 4.2): spaces unified, normalisation form C, its case kept.

    ``what`` names the value in the error. Raises ConfigError for an empty text and for characters that the profile disallows.
    """
    spaced = "".join(" " if unicodedata.category(char) == "Zs" else char for char in text)
    prepared = unicodedata.normalize("NFC", spaced)
    if not prepared:
        raise ConfigError(f"{what} is empty; at least one character is needed")
    for at, char in enumerate(prepared):
        if not _allowed(prepared, at):
            raise ConfigError(f"{what} has the character U+{ord(char):04X}, which RFC 8265 does not allow there")
    return prepared


def _allowed(text: str, at: int) -> bool:
    char = text[at]
    if char in _JOINERS:
        return at > 0 and unicodedata.combining(text[at - 1]) == _VIRAMA_CLASS
    if any(ord(char) in block for block in _OLD_HANGUL):
        return False
    return unicodedata.category(char) not in _DISALLOWED


# RFC 4013 section 2.3.
_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str, *, what: str) -> str:
    """Return ``text`` in the SASLprep profile (RFC 4013), which servers of RFC 5389 hash.

    The rule about mixed directions (RFC 3454 section 6) is not applied: it protects identifiers that people compare.
    Raises ConfigError for a text that is empty afterwards or has a prohibited character.
    """
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in text if char in " " or not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.normalize("NFKC", mapped)
    if not prepared or any(prohibited(char) for char in prepared for prohibited in _PROHIBITED):
        raise ConfigError(f"{what} is empty or has characters that RFC 4013 does not allow")
    return prepared


def prepared_password(text: str) -> str:
    """Return the password as both sides must hash it.

    RFC 8489 asks for OpaqueString. A password that this refuses (it holds soft hyphens, for example) can only have been set on a
    server that prepares by the older SASLprep, as the password of the test vectors in RFC 5769 section 2.4 was.
    Raises ConfigError when neither profile allows it.
    """
    what = "the TURN password"
    try:
        return opaque_string(text, what=what)
    except ConfigError:
        return saslprep(text, what=what)
