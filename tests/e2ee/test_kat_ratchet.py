"""The known answers of the ratchet, which the browser's implementation runs too."""

from __future__ import annotations

from typing import Any

import pytest

from e2ee.errors import E2EEError
from e2ee.padding import pad, unpad
from e2ee.primitives import agreement_pair
from e2ee.ratchet import Ratchet
from tests.support.e2ee import Recorded, edited, read_kat

ALL = {case["name"]: case for case in read_kat("ratchet")}


def unhex(values: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(values[name]) for name in names]


@pytest.mark.parametrize("name", ALL)
def test_script(name: str) -> None:
    case = ALL[name]
    transcript, keys, signed, first = unhex(case, "transcript", "keys", "signed_prekey_seed", "initiator_random")
    pair = agreement_pair(signed)
    sides = {
        "a": Ratchet.initiator(case["suite"], transcript, keys, pair.public, Recorded(first)),
        "b": Ratchet.responder(case["suite"], transcript, keys, pair),
    }
    messages: dict[str, bytes] = {}
    for step in case["steps"]:
        ratchet = sides[step["side"]]
        if step["do"] == "burn":
            for _ in range(step["count"]):
                ratchet.encrypt(pad(b""), outer=b"", random=bytes)
        elif step["do"] == "encrypt":
            content, outer, random, message = unhex(step, "content", "outer", "random", "message")
            source = Recorded(random)
            assert ratchet.encrypt(pad(content), outer=outer, random=source) == message
            assert source.left == b""
            messages[step["name"]] = message
        else:
            read(ratchet, step, edited(messages[step["name"]], step["edit"]))


def read(ratchet: Ratchet, step: dict[str, Any], message: bytes) -> None:
    outer, before = bytes.fromhex(step["outer"]), ratchet.to_record()
    if "error" in step:
        with pytest.raises(E2EEError) as caught:
            ratchet.decrypt(message, outer=outer, now=step["now"], accept=unpad)
        assert caught.value.code == step["error"]
        assert ratchet.to_record() == before
    else:
        assert ratchet.decrypt(message, outer=outer, now=step["now"], accept=unpad).hex() == step["content"]
        assert ratchet.to_record() != before
    assert ratchet.skipped_count == step["skipped"]
