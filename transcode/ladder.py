"""Which renditions a source gets: sizes, rates, and frame rates. Policy only; nothing here touches a codec."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Rung", "plan_ladder"]

# Short side, and the bit rate at 16:9 and 30 fps. Twitch's and Apple's published ladders lie around these.
_STEPS = ((240, 400_000), (480, 1_200_000), (720, 2_800_000), (1080, 5_000_000))
# A larger encode would cost more than a core for itself; a larger source can still be passed through.
_MAX_ENCODED = 1080
# A step this close below the source's own rung would cost a whole encode and save viewers hardly any bits.
_TOO_CLOSE = 0.9
# Bits grow slower than pixels, because larger pictures are smoother per pixel; the exponent fits the steps above.
_PIXEL_EXPONENT = 0.75
_RATE_EXPONENT = 0.6
# Headers alone need some of this; it only matters for pictures of a few pixels.
_MIN_BIT_RATE_BPS = 32_000
_NOMINAL_FPS = 30
# Small pictures are watched on slow links, where 60 fps spends bits that sharpness needs. The margin keeps jittery 30 fps whole.
_HALVE_BELOW_SHORT_SIDE = 720
_HALVE_ABOVE_FPS = 32


@dataclass(frozen=True, slots=True)
class Rung:
    """One rendition of the video."""

    name: str
    """By its short side, such as ``720p``."""
    width: int
    height: int
    bit_rate_bps: int
    """The most that the encoder may spend over a second; for a rung passed through, an estimate."""
    halve_frame_rate: bool = False
    passthrough: bool = False


def _bit_rate(width: int, height: int, fps: float) -> int:
    short = min(width, height)
    base_short, base_bps = min(_STEPS, key=lambda step: abs(step[0] - short))
    pixels = width * height / (base_short * base_short * 16 / 9)
    rate = min(max(fps / _NOMINAL_FPS, 0.5), 2.0)
    return max(int(round(base_bps * pixels**_PIXEL_EXPONENT * rate**_RATE_EXPONENT, -3)), _MIN_BIT_RATE_BPS)


def _scaled(width: int, height: int, short: int) -> tuple[int, int]:
    """Return the size with this short side: both even as 4:2:0 needs, neither above the source."""
    scale = Fraction(short, min(width, height))
    return min(round(width * scale / 2) * 2, width // 2 * 2), min(round(height * scale / 2) * 2, height // 2 * 2)


def plan_ladder(width: int, height: int, frame_rate: float, *, passthrough: bool) -> tuple[Rung, ...]:
    """Return the rungs for a source of ``width`` x ``height`` pixels, largest first; never larger than the source.

    The steps are 240, 480, 720 and 1080 by the short side, so that a portrait source gets a ladder too; the source's own size is a
    rung besides. With ``passthrough`` that one is not re-encoded, whatever its size; otherwise it is at most 1080.
    ``frame_rate`` is in frames per second; 0 when unknown.
    """
    fps = frame_rate or _NOMINAL_FPS
    source_short = min(width, height)
    top = source_short if passthrough else min(source_short, _MAX_ENCODED)
    shorts = [top, *(short for short, _ in reversed(_STEPS) if short <= top * _TOO_CLOSE)]
    rungs = []
    for short in shorts:
        copied = passthrough and short == top
        size = (width, height) if copied else _scaled(width, height, short)
        halve = not copied and short < _HALVE_BELOW_SHORT_SIDE and fps > _HALVE_ABOVE_FPS
        rate = _bit_rate(*size, fps / 2 if halve else fps)
        rungs.append(Rung(f"{short}p", *size, rate, halve, copied))
    return tuple(rungs)
