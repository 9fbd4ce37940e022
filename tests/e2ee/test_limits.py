"""Settings that the profile does not allow are refused by name."""

from __future__ import annotations

from dataclasses import fields

import pytest

from e2ee import Limits, Policy
from salam import ConfigError

MOST = {
    "max_content_bytes": 1024 * 1024,
    "max_devices": 65_535,
    "max_group_members": 65_535,
    "max_group_operations": 65_535,
    "sender_keys_waiting": 65_535,
    "max_attachment_bytes": 2**32 * 65_536,
    "max_skip": 25_000,
    "max_skipped_stored": 50_000,
}


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
def test_every_limit_is_at_least_one(name: str) -> None:
    assert getattr(Limits(**{name: 1}), name) == 1
    with pytest.raises(ConfigError, match=name):
        Limits(**{name: 0})


@pytest.mark.parametrize("name", MOST)
def test_what_the_wire_or_a_record_can_carry(name: str) -> None:
    assert getattr(Limits(**{name: MOST[name]}), name) == MOST[name]
    with pytest.raises(ConfigError, match=name):
        Limits(**{name: MOST[name] + 1})


@pytest.mark.parametrize("suites", [(), (2, 1), (1, 1), (3,)])
def test_suites_that_are_none(suites: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="suites"):
        Policy(suites=suites)


@pytest.mark.parametrize(("min_suite", "suites"), [(0, (1,)), (3, (1, 2)), (2, (1,))])
def test_a_least_suite_that_cannot_be(min_suite: int, suites: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="min_suite"):
        Policy(min_suite=min_suite, suites=suites)
