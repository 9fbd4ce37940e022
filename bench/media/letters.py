"""The capital letters as strokes: FFmpeg as it comes with PyAV cannot draw text."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator

from bench.media.canvas import Point

__all__ = ["initial_of", "strokes_of"]

Line = tuple[Point, ...]

# One corner in ten degrees looks round at any size a letter is drawn in.
_ARC_STEP_DEGREES = 10


def initial_of(label: str) -> str:
    """Return the first letter of ``label`` as a capital without its accents; empty when it is not a Latin one."""
    first = unicodedata.normalize("NFKD", label.strip())[:1].upper()
    return first if first in _LETTERS else ""


def strokes_of(letter: str) -> tuple[tuple[Line, ...], float]:
    """Return the lines of a capital letter that is one high, with y going down, and how wide it is."""
    lines = _LETTERS[letter]
    return lines, max(x for line in lines for x, _ in line)


def _arc(cx: float, cy: float, rx: float, ry: float, first: int, last: int) -> Iterator[Point]:
    """Yield points of an ellipse; 0 degrees is right and 90 is down."""
    count = max(abs(last - first) // _ARC_STEP_DEGREES, 1)
    for step in range(count + 1):
        angle = math.radians(first + (last - first) * step / count)
        yield cx + rx * math.cos(angle), cy + ry * math.sin(angle)


_STEM: Line = ((0, 0), (0, 1))
_BOWL: Line = ((0, 0), *_arc(0.32, 0.27, 0.28, 0.27, -90, 90), (0, 0.54))
_ROUND: Line = tuple(_arc(0.45, 0.5, 0.45, 0.5, 0, 360))
_LETTERS: dict[str, tuple[Line, ...]] = {
    "A": (((0, 1), (0.39, 0), (0.78, 1)), ((0.15, 0.66), (0.63, 0.66))),
    "B": (
        _STEM,
        ((0, 0), *_arc(0.31, 0.24, 0.24, 0.24, -90, 90), (0, 0.48)),
        ((0, 0.48), *_arc(0.34, 0.74, 0.27, 0.26, -90, 90), (0, 1)),
    ),
    "C": (tuple(_arc(0.45, 0.5, 0.45, 0.5, -50, -310)),),
    "D": (_STEM, ((0, 0), *_arc(0.24, 0.5, 0.48, 0.5, -90, 90), (0, 1))),
    "E": (((0.56, 0), (0, 0), (0, 1), (0.56, 1)), ((0, 0.48), (0.48, 0.48))),
    "F": (((0.56, 0), (0, 0), (0, 1)), ((0, 0.5), (0.48, 0.5))),
    "G": ((*_arc(0.45, 0.5, 0.45, 0.5, -50, -350), (0.9, 0.54), (0.52, 0.54)),),
    "H": (((0, 0), (0, 1)), ((0.7, 0), (0.7, 1)), ((0, 0.5), (0.7, 0.5))),
    "I": (_STEM,),
    "J": (((0.48, 0), *_arc(0.24, 0.74, 0.24, 0.26, 0, 160)),),
    "K": (_STEM, ((0.62, 0), (0, 0.6)), ((0.22, 0.4), (0.66, 1))),
    "L": (((0, 0), (0, 1), (0.54, 1)),),
    "M": (((0, 1), (0, 0), (0.43, 0.64), (0.86, 0), (0.86, 1)),),
    "N": (((0, 1), (0, 0), (0.7, 1), (0.7, 0)),),
    "O": (_ROUND,),
    "P": (_STEM, _BOWL),
    "Q": (_ROUND, ((0.58, 0.72), (0.9, 1.04))),
    "R": (_STEM, _BOWL, ((0.3, 0.54), (0.62, 1))),
    "S": ((*_arc(0.32, 0.25, 0.29, 0.25, -25, -270), *_arc(0.32, 0.75, 0.32, 0.25, -90, 155)),),
    "T": (((0, 0), (0.72, 0)), ((0.36, 0), (0.36, 1))),
    "U": (((0, 0), *_arc(0.35, 0.65, 0.35, 0.35, 180, 0), (0.7, 0)),),
    "V": (((0, 0), (0.38, 1), (0.76, 0)),),
    "W": (((0, 0), (0.28, 1), (0.55, 0.2), (0.82, 1), (1.1, 0)),),
    "X": (((0, 0), (0.7, 1)), ((0.7, 0), (0, 1))),
    "Y": (((0, 0), (0.37, 0.52), (0.74, 0)), ((0.37, 0.52), (0.37, 1))),
    "Z": (((0, 0), (0.66, 0), (0, 1), (0.66, 1)),),
}
