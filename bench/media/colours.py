"""The colours of a robot: one hue for each label, all equally bright, so that any of them look well side by side."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

from bench.media.canvas import Colour

__all__ = ["Palette", "Rgb", "contrast", "fraction_of", "palette_of", "to_yuv"]

Rgb = tuple[float, float, float]
"""Red, green and blue as in sRGB, each from 0 to 1."""

# Degrees around the OKLCH circle. Dark yellows are left out: they look like mud.
_HUES = (25, 55, 150, 185, 220, 252, 285, 320, 355)


# Any prefix would do; with this one, the names that the demo and the documentation use get hues and turns that are far apart.
_SALT = "hue "
# A prime, so that the fraction does not depend on the hue.
_FRACTIONS = 997


@dataclass(frozen=True, slots=True)
class Palette:
    """What one robot's picture is made of."""

    first: Rgb
    """The background where the light comes from."""
    last: Rgb
    """The background in the opposite corner."""
    disc: Rgb
    accent: Rgb
    figures: Rgb
    letter: Rgb


def palette_of(label: str) -> Palette:
    """Return the colours of ``label``; the letter stands out from the disc, and the figures from the background, by 4.5 to 1."""
    hue = _HUES[_number_of(label) % len(_HUES)]
    # Towards blue and violet, whichever way is shorter: shadows are cool, and dark orange is brown.
    shadow = hue + 35 if 90 < hue < 285 else hue - 35
    return Palette(
        first=_oklch(0.46, 0.065, hue),
        last=_oklch(0.25, 0.045, shadow),
        disc=_oklch(0.55, 0.105, hue),
        accent=_oklch(0.82, 0.09, hue),
        figures=_oklch(0.9, 0.03, hue),
        letter=(1.0, 1.0, 1.0),
    )


def fraction_of(label: str) -> float:
    """Return a number in [0, 1) that is the same for the same label in every process."""
    return _number_of(label) % _FRACTIONS / _FRACTIONS


def contrast(one: Rgb, other: Rgb) -> float:
    """Return the contrast ratio of two colours, from 1 to 21 (WCAG 2.2, relative luminance)."""
    darker, lighter = sorted(_luminance(colour) for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def to_yuv(colour: Rgb) -> Colour:
    """Return ``colour`` in limited-range BT.601."""
    red, green, blue = colour
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return round(16 + 219 * luma), round(128 + 224 * (blue - luma) / 1.772), round(128 + 224 * (red - luma) / 1.402)


def _number_of(label: str) -> int:
    return zlib.crc32((_SALT + label).encode())


def _luminance(colour: Rgb) -> float:
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _oklch(lightness: float, chroma: float, hue: float) -> Rgb:
    """Return an OKLCH colour (CSS Color 4, section 10) in sRGB, clipped to what can be shown."""
    a, b = chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        _encoded(4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short),
        _encoded(-1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short),
        _encoded(-0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short),
    )


def _encoded(linear: float) -> float:
    clipped = min(max(linear, 0.0), 1.0)
    return 12.92 * clipped if clipped <= 0.0031308 else 1.055 * clipped ** (1 / 2.4) - 0.055
