"""The sound of a robot: like a voice, and in turns, as people in a call speak."""

from __future__ import annotations

from collections.abc import Iterator

import av
from av.filter import Graph

from bench.media.colours import fraction_of
from bench.media.sources import AUDIO_RATE_HZ, OPUS_FRAME_SAMPLES, chain

__all__ = ["generated_sound", "turn_of"]

# A male voice at the low end, a child's at the high end: robots in one room can be told apart by ear.
_PITCHES_HZ = (110, 260)
# One turn in about this time: three or four robots speak one after the other, and a test need not wait long for sound.
_PERIOD_S = 8.0
# A sentence; shorter when the loop is.
_TURN_SHARE = 0.23
_MIN_TURN_S = 1.5
_MAX_SHARE = 0.5
# Syllables of quiet speech.
_SYLLABLES_PER_S = 3.5


def turn_of(duration_s: float, label: str) -> tuple[float, float, float]:
    """Return when in a loop of ``duration_s`` the label's first turn to speak begins, how long it is, and after how long the next
    one comes; all in seconds.

    A turn may reach over the end of the loop into its beginning.
    """
    period_s = duration_s / max(1, round(duration_s / _PERIOD_S))
    return fraction_of(label) * period_s, min(max(period_s * _TURN_SHARE, _MIN_TURN_S), period_s * _MAX_SHARE), period_s


def generated_sound(duration_s: float, label: str) -> Iterator[av.AudioFrame]:
    """Yield 20 ms mono frames with sentences and silence between them; ``label`` sets the pitch and the turn.

    The end fits to the beginning, so a loop has no click in it.
    """
    frames = max(int(duration_s * AUDIO_RATE_HZ / OPUS_FRAME_SAMPLES), 1)
    start_s, turn_s, period_s = turn_of(frames * OPUS_FRAME_SAMPLES / AUDIO_RATE_HZ, label)
    low, high = _PITCHES_HZ
    pitch_hz = low + (high - low) * fraction_of(label)
    # All are functions of ld(0), the time since the turn began; the pitch falls towards the end of the sentence, and trembles.
    since = f"st(0,mod(t+{period_s - start_s:.6f},{period_s:.6f}))"
    phase = f"st(1,2*PI*{pitch_hz:.1f}*(1.08*ld(0)-{0.09 / turn_s:.4f}*ld(0)*ld(0)+0.0016*sin(2*PI*4.5*ld(0))))"
    harmonics = "+".join(f"sin({number}*ld(1))/{number**1.5:.2f}" for number in (1, 2, 3, 4, 5))
    syllables = f"pow(sin(PI*{round(turn_s * _SYLLABLES_PER_S)}*ld(0)/{turn_s:.6f}),2)"
    accents = "(0.75+0.25*sin(2*PI*0.9*ld(0)+1))"
    fade = f"min(1,min(ld(0),{turn_s:.6f}-ld(0))*20)"
    voice = f"0.3*({harmonics})*(0.12+0.88*{syllables})*{accents}*{fade}"
    graph = Graph()
    source = graph.add(
        "aevalsrc",
        f"exprs='{since}*0+{phase}*0+if(lt(ld(0),{turn_s:.6f}),{voice},0)':s={AUDIO_RATE_HZ}:nb_samples={OPUS_FRAME_SAMPLES}",
    )
    mono = graph.add("aformat", f"sample_fmts=s16:channel_layouts=mono:sample_rates={AUDIO_RATE_HZ}")
    chain(graph, source, mono, graph.add("abuffersink"))
    for _ in range(frames):
        frame = graph.pull()
        assert isinstance(frame, av.AudioFrame)
        yield frame
