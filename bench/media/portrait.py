"""The picture of a robot: a quiet background, a disc with its initial, and things that move so that a freeze is seen.

The disc breathes and a dot goes around it; both end where they began, so the loop has no seam. A clock and a frame counter tell
which picture of the loop is shown. What stands still is drawn once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import av

from bench.media.canvas import Canvas
from bench.media.colours import Palette, palette_of, to_yuv
from bench.media.letters import initial_of, strokes_of

__all__ = ["generated_pictures"]

# Slow enough to be calm, fast enough that the dot is elsewhere in the next picture, even in the smallest layer.
_ORBIT_S = 8.0
_BREATH_S = 4.0
# Shares of the shorter side. Everything is within the middle square, so that a tile of any shape shows it.
_DISC, _HALO, _BREATH, _ORBIT, _DOT = 0.22, 0.262, 0.014, 0.305, 0.019
_FIGURES, _FIGURES_TOP = 0.082, 0.84
_CENTRE_Y = 0.43
_HALO_ALPHA = 0.22
# Smaller figures have no holes any more: their strokes are two pixels wide.
_MIN_FIGURE_HEIGHT = 14


def generated_pictures(width: int, height: int, fps: int, count: int, label: str) -> Iterator[av.VideoFrame]:
    """Yield the ``count`` pictures of a loop; ``label`` gives its initial and the colours. All even sizes can be drawn."""
    palette = palette_of(label)
    still = av.VideoFrame(width, height, "yuv420p")
    _draw_still(Canvas(still), palette, initial_of(label))
    planes = [bytes(plane) for plane in still.planes]
    for number in range(count):
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane, data in zip(frame.planes, planes, strict=True):
            plane.update(data)
        _draw_moving(Canvas(frame), palette, number, fps, count)
        yield frame


def _draw_still(canvas: Canvas, palette: Palette, initial: str) -> None:
    canvas.gradient(to_yuv(palette.first), to_yuv(palette.last))
    (x, y), side = _centre(canvas), _side(canvas)
    radius, white = side * _DISC, to_yuv(palette.letter)
    canvas.ring((x, y), radius, to_yuv(palette.disc))
    if not initial:
        # Somebody without a name, or whose initial there are no strokes for: head and shoulders.
        canvas.ring((x, y - radius * 0.25), radius * 0.3, white)
        canvas.strokes([((x - radius * 0.22, y + radius * 0.44), (x + radius * 0.22, y + radius * 0.44))], radius * 0.5, white)
        return
    lines, wide = strokes_of(initial)
    high = radius * 0.86
    left, top = x - wide * high / 2, y - high / 2
    canvas.strokes([[(left + px * high, top + py * high) for px, py in line] for line in lines], high * 0.14, white)


def _draw_moving(canvas: Canvas, palette: Palette, number: int, fps: int, count: int) -> None:
    (x, y), side = _centre(canvas), _side(canvas)
    breath = math.sin(2 * math.pi * _turns(_BREATH_S, count, fps) * number / count)
    accent = to_yuv(palette.accent)
    canvas.ring((x, y), side * (_HALO + _BREATH * breath), accent, hole=side * _DISC, alpha=_HALO_ALPHA)
    angle = 2 * math.pi * (_turns(_ORBIT_S, count, fps) * number / count - 0.25)
    orbit = side * _ORBIT
    canvas.ring((x + orbit * math.cos(angle), y + orbit * math.sin(angle)), max(side * _DOT, 1.5), accent)
    high = round(side * _FIGURES)
    if high < _MIN_FIGURE_HEIGHT:
        return
    tenths = number * 10 // fps
    text = f"{tenths // 600 % 100:02d}:{tenths // 10 % 60:02d}.{tenths % 10} {number % 1000:03d}"
    left = round(x - canvas.text_width(text, high) / 2)
    top = round(canvas.height / 2 + side * (_FIGURES_TOP - 0.5))
    canvas.text(text, high, left=left, top=top, colour=to_yuv(palette.figures))


def _centre(canvas: Canvas) -> tuple[float, float]:
    return canvas.width / 2, canvas.height / 2 + _side(canvas) * (_CENTRE_Y - 0.5)


def _side(canvas: Canvas) -> int:
    return min(canvas.width, canvas.height)


def _turns(period_s: float, count: int, fps: int) -> int:
    """Return how often something of about that period comes around within the loop: a whole number, or there would be a seam."""
    return max(1, round(count / fps / period_s))
