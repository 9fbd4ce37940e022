"""A short, repeatable run of every fuzz target; `make fuzz` runs them for as long as one likes."""

from __future__ import annotations

import importlib

import pytest

from fuzz.__main__ import targets
from fuzz.mutate import cases

# Enough to meet every branch of the mutator many times, and a few seconds for each target.
CASES = 1_500
SEED = 20_260_101


@pytest.mark.parametrize("name", targets())
def test_nothing_escapes(name: str) -> None:
    target = importlib.import_module(f"fuzz.{name}")
    assert target.SEEDS, "a target without seeds never gets past the first check of its parser"
    for number, data in enumerate(cases(target.SEEDS, seed=SEED, count=CASES)):
        try:
            target.one_input(data)
        except Exception as error:
            pytest.fail(f"input {number} raised {error!r}: {data[:80]!r}")
