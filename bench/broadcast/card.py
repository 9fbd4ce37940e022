"""A moving test card: a slow gradient with a clock, a frame counter, colour bars and a mark that sweeps once a second.

Everything on it can be measured: the clock and the frame counter tell latency and lost pictures, the mark tells stutter, the
flash that comes with the beep of `card_sound` tells whether sound and picture are in step, and the bars tell colours.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import av
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import PictureType

from bench.media.canvas import Canvas, Colour

__all__ = ["TONE_FRAME_SAMPLES", "TONE_RATE_HZ", "card_pictures", "card_sound"]

TONE_RATE_HZ = 48_000
"""What browsers and AAC both like."""

TONE_FRAME_SAMPLES = 1024
"""One AAC frame, so that the encoder need not gather."""

# BT.601 limited range, as untagged video is shown.
_WHITE: Colour = (235, 128, 128)
_SHADE: Colour = (30, 134, 124)
_AMBER: Colour = (190, 70, 150)
_BARS: tuple[Colour, ...] = (
    (180, 128, 128),
    (162, 44, 142),
    (131, 156, 44),
    (112, 72, 58),
    (84, 184, 198),
    (65, 100, 212),
    (35, 212, 114),
)
# Dark, quiet colours, so that the white figures stay readable over all of them.
_GRADIENT = "nb_colors=4:c0=0x101c3c:c1=0x1d5c63:c2=0x6b3fa0:c3=0x0f3460:speed=0.004:seed=7:x0=0:y0=0:x1=320:y1=180"


def card_pictures(width: int, height: int, fps: int) -> Iterator[av.VideoFrame]:
    """Give the pictures of the card without end; all even sizes from 64 by 64 up can be drawn. Picture ``n`` has pts ``n``, in
    1/fps s."""
    # The gradient is smooth: made small and enlarged, it costs a tenth.
    graph = Graph()
    _chain(
        graph,
        graph.add("gradients", f"size=320x180:rate={fps}:{_GRADIENT}"),
        graph.add("scale", f"{width}:{height}:flags=bilinear"),
        graph.add("format", "pix_fmts=yuv420p"),
        graph.add("buffersink"),
    )
    number = 0
    while True:
        frame = graph.pull()
        assert isinstance(frame, av.VideoFrame)
        _Card(frame).draw(number, fps)
        frame.pts = number
        # The source marks every picture as an I picture, and the encoder would obey.
        frame.pict_type = PictureType.NONE
        yield frame
        number += 1


def card_sound() -> Iterator[av.AudioFrame]:
    """Give mono frames of a soft tone with a beep at the start of each second, without end; pts counts samples."""
    graph = Graph()
    _chain(
        graph,
        graph.add("sine", f"frequency=220:beep_factor=4:sample_rate={TONE_RATE_HZ}:samples_per_frame={TONE_FRAME_SAMPLES}"),
        graph.add("aformat", f"sample_fmts=fltp:channel_layouts=mono:sample_rates={TONE_RATE_HZ}"),
        graph.add("abuffersink"),
    )
    samples = 0
    while True:
        frame = graph.pull()
        assert isinstance(frame, av.AudioFrame)
        frame.pts = samples
        samples += frame.samples
        yield frame


def _chain(graph: Graph, *steps: FilterContext) -> None:
    for before, after in pairwise(steps):
        before.link_to(after)
    graph.configure()


class _Card(Canvas):
    """The card's own marks."""

    def draw(self, number: int, fps: int) -> None:
        """Draw everything that lies over the gradient in picture ``number``."""
        width, height = self.width, self.height
        self._draw_bars(height // 16)
        figure_height = min(height // 4, width * 2 // 15)
        seconds, picture = divmod(number, fps)
        text = f"{seconds // 60 % 100:02d}:{seconds % 60:02d}:{picture:02d}"
        self._draw_clock(text, figure_height, top=(height - figure_height) // 2)
        self._draw_sweep(picture / fps, top=height * 3 // 4)
        # The beep of the tone lasts a twenty-fifth of a second: one picture at the usual rates.
        if picture == 0:
            side = height // 8
            self.fill(width - side * 3 // 2, height - side * 3 // 2, side, side, _WHITE)

    def _draw_bars(self, bar_height: int) -> None:
        bar_width = self.width // len(_BARS)
        for index, colour in enumerate(_BARS):
            wide = bar_width if index + 1 < len(_BARS) else self.width - index * bar_width
            self.fill(index * bar_width, 0, wide, bar_height, colour)

    def _draw_clock(self, text: str, figure_height: int, *, top: int) -> None:
        wide, gap = self.text_width(text, figure_height), figure_height // 7
        left = (self.width - wide) // 2
        self.fill(left - gap, top - gap, wide + 2 * gap, figure_height + 2 * gap, _SHADE)
        self.text(text, figure_height, left=left, top=top, colour=_WHITE)

    def _draw_sweep(self, share: float, *, top: int) -> None:
        track, thick = self.width * 7 // 10, max(2, self.height // 90)
        left, mark = (self.width - track) // 2, self.height // 24
        self.fill(left, top, track, thick, _SHADE)
        self.fill(left, top, int(track * share), thick, _AMBER)
        self.fill(left + int((track - mark) * share), top + thick // 2 - mark // 2, mark, mark, _AMBER)
