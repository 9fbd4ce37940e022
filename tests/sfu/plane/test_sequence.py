"""Straight numbers and the map of received to sent numbers, by table."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sfu.plane.sequence import NumberMap, Unwrapper, signed_difference

# Each row: what happens to an input number, and the expected output. "f" forwards, "d" drops, "r" restarts at (input, output).
TABLES: dict[str, list[tuple[str, int, object]]] = {
    "straight through": [("r", 100, 5), ("f", 100, 5), ("f", 101, 6), ("f", 102, 7)],
    "a loss keeps its place": [("r", 100, 5), ("f", 100, 5), ("f", 103, 8), ("f", 101, 6), ("f", 102, 7)],
    "a drop closes the gap": [("r", 100, 5), ("f", 100, 5), ("d", 101, True), ("f", 102, 6), ("d", 103, True), ("f", 104, 7)],
    "drops in a row": [
        ("r", 10, 0),
        ("f", 10, 0),
        ("d", 11, True),
        ("d", 12, True),
        ("d", 13, True),
        ("f", 14, 1),
        ("f", 12, None),
    ],
    "a dropped number that comes again": [("r", 10, 0), ("f", 10, 0), ("d", 11, True), ("f", 12, 1), ("f", 11, None)],
    "late numbers get what they would have had": [
        ("r", 10, 50),
        ("f", 10, 50),
        ("f", 12, 52),
        ("d", 13, True),
        ("f", 15, 54),
        ("f", 11, 51),
        ("f", 14, 53),
    ],
    "only the newest can be dropped": [
        ("r", 10, 0),
        ("f", 10, 0),
        ("f", 12, 2),
        ("d", 11, False),
        ("d", 12, False),
        ("f", 11, 1),
    ],
    "a drop after a loss": [("r", 10, 0), ("f", 10, 0), ("d", 12, True), ("f", 13, 2), ("f", 11, 1), ("f", 12, None)],
    "nothing before the start": [("r", 10, 0), ("f", 9, None), ("f", 10, 0), ("f", 3, None)],
    "dropped from the start": [("r", 10, 0), ("d", 10, True), ("d", 11, True), ("f", 12, 0), ("f", 10, None)],
    "a new start forgets the old one": [("r", 10, 0), ("f", 10, 0), ("f", 11, 1), ("r", 900, 3), ("f", 900, 3), ("f", 12, None)],
    "large jumps": [("r", 65_530, 1000), ("f", 65_530, 1000), ("f", 75_530, 11_000), ("d", 75_531, True), ("f", 75_532, 11_001)],
}


@pytest.mark.parametrize("name", TABLES)
def test_table(name: str) -> None:
    numbers = NumberMap()
    for step, (action, number, expected) in enumerate(TABLES[name]):
        if action == "r":
            assert isinstance(expected, int)
            numbers.restart(number, expected)
        elif action == "f":
            assert numbers.forward(number) == expected, f"step {step}"
        else:
            assert numbers.drop(number, number) is expected, f"step {step}"


@given(st.lists(st.tuples(st.sampled_from("ffffdl"), st.integers(1, 3)), max_size=400))
def test_outputs_are_unique_ordered_and_without_holes_but_for_losses(steps: list[tuple[str, int]]) -> None:
    numbers = NumberMap()
    numbers.restart(1000, 7)
    outputs: dict[int, int] = {}
    number = 1000
    expected = 7
    lost: list[int] = []
    for action, count in steps:
        for _ in range(count):
            if action == "f":
                output = numbers.forward(number)
                assert output == expected
                outputs[number] = output
                expected += 1
            elif action == "d":
                assert numbers.drop(number, number)
            else:
                lost.append(number)
                expected += 1
            number += 1
    for late in lost[-20:]:
        # Those that came before any later number was handled are still ahead of the map.
        if late < numbers.highest:
            output = numbers.forward(late)
            assert output is not None
            outputs[late] = output
    ordered = [outputs[key] for key in sorted(outputs)]
    assert ordered == sorted(set(ordered))


def test_the_map_stays_small_and_forgets_the_oldest() -> None:
    numbers = NumberMap()
    numbers.restart(0, 0)
    for number in range(0, 4000, 2):
        numbers.forward(number)
        numbers.drop(number + 1, number + 1)
    assert numbers.forward(2) is None
    assert numbers.forward(3998) == 1999


@given(st.integers(0, 65_535), st.lists(st.integers(-3000, 3000), max_size=200))
def test_unwrapping_follows_any_walk(start: int, steps: list[int]) -> None:
    unwrapper = Unwrapper(16)
    base = unwrapper.unwrap(start)
    position = highest = 0
    for step in steps:
        position = highest + step
        assert unwrapper.unwrap(start + position & 0xFFFF) == base + position
        highest = max(highest, position)


def test_signed_difference_is_the_nearest() -> None:
    assert signed_difference(1, 0xFFFFFFFF) == 2
    assert signed_difference(0xFFFFFFFF, 1) == -2
    assert signed_difference(3, 120, 7) == 11
