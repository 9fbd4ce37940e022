"""How much a passphrase is worth, told from below: against a backup that a server keeps, guesses can be tried for years unseen.

No dictionary: letters in a row count as words of a list of 2,048, wherever they come from, and what repeats or counts up is worth
next to nothing. So five random words pass, and so do eleven random characters of all kinds; a word with a year does not.
"""

from __future__ import annotations

import math
import re
import unicodedata

from e2ee.errors import KdfParamsRefused, MalformedMessage

__all__ = ["MIN_PASSPHRASE_BITS", "check_passphrase", "entropy_bits", "normalized"]

# At 256 MiB and 0.7 s a try, a thousand large accelerators that try a hundred a second each need about 180 years for half of 2^50.
MIN_PASSPHRASE_BITS = 50.0
# A word of a list of 2,048; the letters after the eighth of a run at the rate of running text.
_WORD_BITS = 11.0
_WORD_LETTERS = 8
_TEXT_BITS = 1.5
_LETTER_BITS = math.log2(26)
_DIGIT_BITS = math.log2(10)
_SIGN_BITS = math.log2(33)
# A character that repeats its neighbour or follows it (aaa, 123, cba), and a piece that was there before.
_PREDICTED_BITS = 1.0
_PIECES = re.compile(r"[^\W\d_]+|\d+|\s+|(?:[^\w\s]|_)+")


def normalized(passphrase: str) -> bytes:
    """The passphrase after NFKC, in UTF-8; `MalformedMessage` for text that UTF-8 cannot carry."""
    try:
        return unicodedata.normalize("NFKC", passphrase).encode()
    except UnicodeEncodeError:
        raise MalformedMessage("a passphrase must be text that UTF-8 can carry") from None


def _run_bits(piece: str, each: float) -> float:
    bits = each
    for before, this in zip(piece, piece[1:], strict=False):
        bits += _PREDICTED_BITS if abs(ord(this) - ord(before)) <= 1 else each
    return bits


def _piece_bits(piece: str) -> float:
    if piece.isspace():
        return 0.0
    if piece.isdigit():
        return _run_bits(piece, _DIGIT_BITS)
    if not piece.isalpha():
        return _run_bits(piece, _SIGN_BITS)
    return min(_run_bits(piece, _LETTER_BITS), _WORD_BITS + _TEXT_BITS * max(len(piece) - _WORD_LETTERS, 0))


def entropy_bits(passphrase: str) -> float:
    """A low estimate of the bits of randomness in a passphrase."""
    seen: set[str] = set()
    bits = 0.0
    for piece in _PIECES.findall(normalized(passphrase).decode()):
        folded = piece.casefold()
        bits += min(_PREDICTED_BITS, _piece_bits(piece)) if folded in seen else _piece_bits(piece)
        seen.add(folded)
    return bits


def check_passphrase(passphrase: str) -> None:
    """`KdfParamsRefused` with the code ``weak_passphrase`` for one that a patient guesser would find."""
    bits = entropy_bits(passphrase)
    if bits < MIN_PASSPHRASE_BITS:
        raise KdfParamsRefused(
            f"the passphrase is worth about {bits:.0f} bits and needs {MIN_PASSPHRASE_BITS:.0f}: "
            "take five or more random words, or the recovery code",
            code="weak_passphrase",
        )
