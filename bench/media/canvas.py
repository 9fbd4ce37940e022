"""Drawing into 4:2:0 pictures: rectangles, seven-segment figures, smooth discs, rings and strokes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import av

__all__ = ["Canvas", "Colour", "Point"]

Colour = tuple[int, int, int]
"""Luma and both colour differences, BT.601 in limited range, as untagged video is shown."""

Point = tuple[float, float]

# Which of the seven segments each figure lights: top, top left, top right, middle, bottom left, bottom right, bottom.
_LIT = ("1110111", "0010010", "1011101", "1011011", "0111010", "1101011", "1101111", "1010010", "1111111", "1111011")

_NOWHERE = (0, -1)


class Canvas:
    """Draws into the three planes of ``frame``, which must be yuv420p; what lies outside of the picture is cut off."""

    def __init__(self, frame: av.VideoFrame) -> None:
        self.width = frame.width
        self.height = frame.height
        self._planes = [(memoryview(plane), plane.line_size) for plane in frame.planes]

    def fill(self, left: int, top: int, wide: int, high: int, colour: Colour) -> None:
        """Fill a rectangle, rounded to the two-by-two grid of the colour planes."""
        first_x, first_y = max(0, left) // 2, max(0, top) // 2
        last_x, last_y = min(self.width, left + wide) // 2, min(self.height, top + high) // 2
        if last_x <= first_x:
            return
        for index, (plane, line_bytes) in enumerate(self._planes):
            scale = 2 if index == 0 else 1
            row = bytes((colour[index],)) * ((last_x - first_x) * scale)
            for y in range(first_y * scale, last_y * scale):
                at = y * line_bytes + first_x * scale
                plane[at : at + len(row)] = row

    def gradient(self, first: Colour, last: Colour) -> None:
        """Fill the picture from ``first`` in the top left corner to ``last`` in the opposite one."""
        for index, (plane, line_bytes) in enumerate(self._planes):
            wide, high = self._plane_size(index)
            # Every row is the same ramp, begun further on: one slice for a row instead of a sum for each pixel.
            steps = wide + high
            ramp = bytes(round(first[index] + (last[index] - first[index]) * step / steps) for step in range(steps))
            for y in range(high):
                plane[y * line_bytes : y * line_bytes + wide] = ramp[y : y + wide]

    def ring(self, centre: Point, radius: float, colour: Colour, *, hole: float = 0.0, alpha: float = 1.0) -> None:
        """Lay a disc with smooth edges over the picture; ``hole`` is the radius of what is left out in its middle.

        The ring is at least a pixel wide.
        """
        for index, (plane, line_bytes) in enumerate(self._planes):
            scale = 1.0 if index == 0 else 0.5
            value = colour[index]
            mixed = bytes(round(old + (value - old) * alpha) for old in range(256))
            place = (centre[0] * scale, centre[1] * scale)
            for y, first, last, share in _ring_runs(place, radius * scale, hole * scale, *self._plane_size(index)):
                at, end = y * line_bytes + first, y * line_bytes + last + 1
                if share >= 1:
                    plane[at:end] = bytes(plane[at:end]).translate(mixed)
                else:
                    plane[at] += round((value - plane[at]) * share * alpha)

    def strokes(self, lines: Sequence[Sequence[Point]], thickness: float, colour: Colour) -> None:
        """Draw lines through the points with round ends and smooth edges."""
        for index, (plane, line_bytes) in enumerate(self._planes):
            scale = 1.0 if index == 0 else 0.5
            wide, high = self._plane_size(index)
            # Where strokes meet, the larger share counts: adding them up would show the joints.
            shares: dict[int, float] = {}
            for line in lines:
                for start, end in zip(line, line[1:], strict=False):
                    a, b = (start[0] * scale, start[1] * scale), (end[0] * scale, end[1] * scale)
                    for x, y, share in _stroke_pixels(a, b, thickness * scale / 2, wide, high):
                        at = y * line_bytes + x
                        shares[at] = max(share, shares.get(at, 0.0))
            for at, share in shares.items():
                plane[at] += round((colour[index] - plane[at]) * share)

    def text(self, text: str, figure_height: int, *, left: int, top: int, colour: Colour) -> None:
        """Draw figures, colons, points and spaces as on a seven-segment display."""
        gap = figure_height // 7
        for sign, step in zip(text, _steps(text, figure_height), strict=True):
            if sign == ":":
                for row in (1, 2):
                    self.fill(left + gap // 4, top + figure_height * row // 3 - gap // 2, gap, gap, colour)
            elif sign == ".":
                self.fill(left + gap // 4, top + figure_height - gap, gap, gap, colour)
            elif sign != " ":
                self._figure(_LIT[int(sign)], left, top, figure_height, colour)
            left += step

    @staticmethod
    def text_width(text: str, figure_height: int) -> int:
        """Return how many pixels `text` takes from the left edge of the first figure to the right edge of the last."""
        return sum(_steps(text, figure_height)) - figure_height // 7

    def _figure(self, lit: str, left: int, top: int, high: int, colour: Colour) -> None:
        wide, thick = high * 5 // 9, max(2, high // 8)
        half, right, low = (high + thick) // 2, left + wide - thick, top + (high - thick) // 2
        segments = (
            (left, top, wide, thick),
            (left, top, thick, half),
            (right, top, thick, half),
            (left, low, wide, thick),
            (left, low, thick, half),
            (right, low, thick, half),
            (left, top + high - thick, wide, thick),
        )
        for on, segment in zip(lit, segments, strict=True):
            if on == "1":
                self.fill(*segment, colour)

    def _plane_size(self, index: int) -> tuple[int, int]:
        return (self.width, self.height) if index == 0 else (self.width // 2, self.height // 2)


def _steps(text: str, figure_height: int) -> list[int]:
    gap = figure_height // 7
    return [gap * 2 if sign in ":." else figure_height * 5 // 9 + gap for sign in text]


def _ring_runs(centre: Point, radius: float, hole: float, wide: int, high: int) -> Iterator[tuple[int, int, int, float]]:
    """Yield row, first and last column, and the covered share of a ring's pixels; only runs of whole ones are longer than one."""
    cx, cy = centre
    for y in range(max(0, math.floor(cy - radius - 1)), min(high, math.ceil(cy + radius + 1))):
        dy = y + 0.5 - cy
        solid = _within(cx, radius - 0.5, dy)
        inner = _within(cx, hole + 0.5, dy) if hole else _NOWHERE
        for first, last in _without(_within(cx, radius + 0.5, dy), solid):
            for x in range(max(first, 0), min(last, wide - 1) + 1):
                yield y, x, x, radius + 0.5 - math.hypot(x + 0.5 - cx, dy)
        for first, last in _without(solid, inner):
            if max(first, 0) <= min(last, wide - 1):
                yield y, max(first, 0), min(last, wide - 1), 1.0
        for first, last in _without(inner, _within(cx, hole - 0.5, dy)):
            for x in range(max(first, 0), min(last, wide - 1) + 1):
                yield y, x, x, math.hypot(x + 0.5 - cx, dy) - hole + 0.5


def _within(cx: float, radius: float, dy: float) -> tuple[int, int]:
    """Return the first and last column whose middle is not further than ``radius`` away; an empty range when there is none."""
    square = radius * radius - dy * dy
    if radius <= 0 or square <= 0:
        return _NOWHERE
    half = math.sqrt(square)
    return math.ceil(cx - half - 0.5), math.floor(cx + half - 0.5)


def _without(outer: tuple[int, int], inner: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Return what is left of a range on both sides of another one inside it."""
    if inner[0] > inner[1]:
        return (outer,)
    return (outer[0], inner[0] - 1), (inner[1] + 1, outer[1])


def _stroke_pixels(a: Point, b: Point, radius: float, wide: int, high: int) -> Iterator[tuple[int, int, float]]:
    """Yield column, row and covered share of the pixels of one straight stroke."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    length = dx * dx + dy * dy
    reach = radius + 1
    for y in range(max(0, math.floor(min(a[1], b[1]) - reach)), min(high, math.ceil(max(a[1], b[1]) + reach))):
        for x in range(max(0, math.floor(min(a[0], b[0]) - reach)), min(wide, math.ceil(max(a[0], b[0]) + reach))):
            px, py = x + 0.5 - a[0], y + 0.5 - a[1]
            along = min(max((px * dx + py * dy) / length, 0.0), 1.0) if length else 0.0
            share = radius + 0.5 - math.hypot(px - along * dx, py - along * dy)
            if share > 0:
                yield x, y, min(share, 1.0)
