"""Frames out of packets: order, holes, repair, layer switches, and bounds."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.media import FrameAssembler, GeneratedMedia, LoopLibrary, ReceivedFrame
from bench.media.h264 import H264Packetizer
from bench.media.vp8 import Vp8Packetizer

Packet = tuple[int, int, bytes, bool]

_KEY, _DELTA = b"\x00", b"\x01"


def _vp8_packets(kinds: list[bytes], *, first: int = 65530, size: int = 2500) -> list[list[Packet]]:
    """Packets of frames, each of three packets, that begin with the given kind of byte."""
    packetizer = Vp8Packetizer()
    frames: list[list[Packet]] = []
    sequence = first
    for index, kind in enumerate(kinds):
        payloads = packetizer.packetize(kind + index.to_bytes(4, "big") + bytes(size))
        packets = []
        for payload in payloads:
            packets.append((sequence & 0xFFFF, (index * 3000) & 0xFFFFFFFF, payload, payload is payloads[-1]))
            sequence += 1
        frames.append(packets)
    return frames


def _push(assembler: FrameAssembler, packets: list[Packet], now: float = 0.0) -> list[ReceivedFrame]:
    frames = []
    for sequence, timestamp, payload, marker in packets:
        frames += assembler.push(sequence, timestamp, payload, now, marker=marker)
    return frames


def _numbers(frames: list[ReceivedFrame]) -> list[int]:
    return [int.from_bytes(frame.data[1:5], "big") for frame in frames]


def test_frames_come_out_whole_and_in_order_over_the_wrap() -> None:
    assembler = FrameAssembler("VP8")
    sent = _vp8_packets([_KEY, _DELTA, _DELTA])
    frames = _push(assembler, [packet for frame in sent for packet in frame])
    assert _numbers(frames) == [0, 1, 2]
    assert [frame.keyframe for frame in frames] == [True, False, False]
    assert [len(frame.data) for frame in frames] == [2505] * 3
    assert assembler.stats().frames == 3


@given(st.integers(0, 2**32), st.integers(0, 65535))
@settings(max_examples=40, deadline=None)
def test_any_order_and_duplicates_give_the_same_frames(seed: int, first: int) -> None:
    shuffled = [packet for frame in _vp8_packets([_KEY] + [_DELTA] * 20, first=first) for packet in frame]
    shuffled += shuffled[::3]
    head, rest = shuffled[:1], shuffled[1:]
    random.Random(seed).shuffle(rest)
    assembler = FrameAssembler("VP8")
    assert _numbers(_push(assembler, head + rest)) == list(range(21))
    assert assembler.stats().frames_given_up == 0
    assert assembler.stats().late_packets == 21


def test_joining_in_the_middle_waits_for_a_keyframe() -> None:
    assembler = FrameAssembler("VP8")
    sent = _vp8_packets([_DELTA, _DELTA, _KEY, _DELTA])
    assert assembler.wants_keyframe()
    frames = _push(assembler, [packet for frame in sent for packet in frame])
    assert _numbers(frames) == [2, 3]
    assert not assembler.wants_keyframe()
    assert assembler.stats().frames_given_up == 0


def test_a_repaired_hole_delays_but_loses_nothing() -> None:
    assembler = FrameAssembler("VP8")
    sent = [packet for frame in _vp8_packets([_KEY, _DELTA, _DELTA]) for packet in frame]
    missing = sent.pop(4)
    assert _numbers(_push(assembler, sent)) == [0]
    assert _numbers(_push(assembler, [missing], now=0.5)) == [1, 2]


def test_a_hole_that_is_never_filled_needs_a_keyframe() -> None:
    assembler = FrameAssembler("VP8")
    sent = _vp8_packets([_KEY, _DELTA, _DELTA, _DELTA, _KEY, _DELTA])
    del sent[1][1]
    assert _numbers(_push(assembler, [packet for frame in sent[:3] for packet in frame])) == [0]
    assert assembler.advance(0.9) == []
    assert not assembler.wants_keyframe()
    assert assembler.advance(1.1) == []
    assert assembler.wants_keyframe()
    assert _numbers(_push(assembler, [packet for frame in sent[3:] for packet in frame], now=1.2)) == [4, 5]
    assert not assembler.wants_keyframe()
    assert assembler.stats().frames_given_up == 3


def test_a_whole_keyframe_behind_a_hole_is_shown_soon() -> None:
    assembler = FrameAssembler("VP8")
    sent = _vp8_packets([_KEY, _DELTA, _KEY, _DELTA])
    # A switch of layers breaks a frame off: its rest, and its marker, never come, and one number is left out.
    del sent[1][1:]
    assert _numbers(_push(assembler, [packet for frame in sent for packet in frame])) == [0]
    assert assembler.advance(0.1) == []
    assert _numbers(assembler.advance(0.21)) == [2, 3]
    assert assembler.stats().frames_given_up == 1


def test_a_frame_without_a_marker_before_the_next_keyframe_is_given_up() -> None:
    assembler = FrameAssembler("VP8")
    before = _vp8_packets([_KEY, _DELTA], first=100)
    after = _vp8_packets([_KEY, _DELTA], first=105)
    packets = [
        *before[0],
        *before[1][:2],
        *[(seq, ts + 90_000, payload, marker) for frame in after for seq, ts, payload, marker in frame],
    ]
    frames = _push(assembler, packets)
    assert [frame.keyframe for frame in frames] == [True, True, False]
    assert assembler.stats().frames_given_up == 1


def test_padding_between_frames_is_passed_over() -> None:
    assembler = FrameAssembler("VP8")
    first, second = _vp8_packets([_KEY, _DELTA], first=10)
    moved = [(sequence + 2, timestamp, payload, marker) for sequence, timestamp, payload, marker in second]
    assert _numbers(_push(assembler, [*first, (13, 0, b"", False), (14, 0, b"", False), *moved])) == [0, 1]


def test_bad_payloads_are_counted_and_end_nothing() -> None:
    assembler = FrameAssembler("VP8")
    (first,) = _vp8_packets([_KEY], first=10)
    assert assembler.push(9, 0, b"\x80", 0.0, marker=False) == []
    assert _numbers(_push(assembler, first)) == [0]
    assert assembler.stats().bad_payloads == 1


def test_h264_starts_at_its_parameter_sets(library: LoopLibrary) -> None:
    loop = library.get(GeneratedMedia(width=320, height=180, fps=10, loop_s=1, codec="H264")).video
    assert loop is not None
    packetizer, assembler = H264Packetizer(), FrameAssembler("H264")
    sequence, frames = 0, []
    sent = [*loop.layers[2].frames[5:], *loop.layers[2].frames]
    for index, frame in enumerate(sent):
        payloads = packetizer.packetize(frame.data)
        for payload in payloads:
            frames += assembler.push(sequence, index * 9000, payload, index * 0.1, marker=payload is payloads[-1])
            sequence += 1
    assert len(frames) == 10
    assert [frame.keyframe for frame in frames] == [True] + [False] * 9


def test_late_sound_is_left_out_after_a_short_wait() -> None:
    assembler = FrameAssembler("opus")
    assert len(assembler.push(1, 0, b"a", 0.0, marker=True)) == 1
    assert assembler.push(3, 1920, b"c", 0.04, marker=False) == []
    assert [frame.data for frame in assembler.push(4, 2880, b"d", 0.15, marker=False)] == [b"c", b"d"]
    assert assembler.push(2, 960, b"b", 0.16, marker=False) == []
    assert assembler.stats().late_packets == 1


@given(
    st.sampled_from(["VP8", "H264", "opus"]),
    st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 5), st.binary(max_size=12), st.booleans()), max_size=60),
)
@settings(deadline=None)
def test_garbage_never_raises(codec: str, packets: list[Packet]) -> None:
    assembler = FrameAssembler(codec)  # type: ignore[arg-type]
    for index, (sequence, timestamp, payload, marker) in enumerate(packets):
        assembler.push(sequence, timestamp, payload, index * 0.1, marker=marker)
    assembler.advance(1000.0)


def test_held_packets_are_bounded() -> None:
    assembler = FrameAssembler("VP8")
    for number in range(20_000):
        assembler.push(number & 0xFFFF, number, b"\x10\x01", 0.0, marker=False)
    assert assembler.held_packets <= 3_000
