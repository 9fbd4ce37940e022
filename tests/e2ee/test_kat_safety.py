"""The known answers of safety numbers."""

from __future__ import annotations

from typing import Any

import pytest

from e2ee.errors import E2EEError
from e2ee.safety_number import DIGITS, SafetyCode, check_code, safety_number
from tests.e2ee.kat import make_safety
from tests.support.e2ee import read_kat
from tests.support.kat import chosen


def test_the_file_is_what_the_maker_writes() -> None:
    assert read_kat("safety") == make_safety.cases()


@pytest.mark.parametrize("case", chosen("safety", "number"))
def test_number(case: dict[str, Any]) -> None:
    one, other = (case["user"], bytes.fromhex(case["account"])), (case["peer"], bytes.fromhex(case["peer_account"]))
    assert safety_number(*one, *other) == safety_number(*other, *one) == case["number"]
    assert len(case["number"]) == DIGITS


@pytest.mark.parametrize("case", chosen("safety", "code"))
def test_code(case: dict[str, Any]) -> None:
    account, peer_account = bytes.fromhex(case["account"]), bytes.fromhex(case["peer_account"])
    code = SafetyCode(user_id=case["user"], account=account, peer_id=case["peer"], peer_account=peer_account)
    assert code.encode().hex() == case["encoded"]
    assert SafetyCode.parse(code.encode()) == code
    assert any(check["error"] is None for check in case["checked"])
    for check in case["checked"]:
        assert code_of_check(code.encode(), check) == check["error"]


def code_of_check(scanned: bytes, check: dict[str, Any]) -> str | None:
    account, peer_account = bytes.fromhex(check["account"]), bytes.fromhex(check["peer_account"])
    try:
        check_code(scanned, user_id=check["user"], account=account, peer_id=check["peer"], peer_account=peer_account)
    except E2EEError as error:
        return error.code
    return None


@pytest.mark.parametrize("case", chosen("safety", "code_refused"))
def test_code_refused(case: dict[str, Any]) -> None:
    with pytest.raises(E2EEError) as refused:
        SafetyCode.parse(bytes.fromhex(case["encoded"]))
    assert refused.value.code == case["error"]
