"""The known answers about keys and signatures at the edges of the curve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from e2ee.errors import E2EEError
from e2ee.primitives import check_signing_key, verify
from tests.e2ee.kat import make_ed25519
from tests.support.e2ee import read_kat
from tests.support.kat import chosen


def test_the_file_is_what_the_maker_writes() -> None:
    assert read_kat("ed25519") == make_ed25519.cases()


def test_what_the_cases_are_about() -> None:
    errors = [case["error"] for case in read_kat("ed25519")]
    # Two good signatures; 28 of keys of small order, 14 of mixed order, and 7 that are no key at all.
    assert (errors.count(None), errors.count("invalid_key")) == (2, 49)


@pytest.mark.parametrize("case", chosen("ed25519", "verify"))
def test_verify(case: dict[str, Any]) -> None:
    public, body, signature = (bytes.fromhex(case[name]) for name in ("public", "body", "signature"))
    assert refusal(verify, public, "spk", body, signature) == case["error"]
    # A key says by itself whether it is one.
    assert refusal(check_signing_key, public) == (case["error"] if case["error"] == "invalid_key" else None)


def refusal(call: Callable[..., object], *arguments: object) -> str | None:
    try:
        call(*arguments)
    except E2EEError as error:
        return error.code
    return None
