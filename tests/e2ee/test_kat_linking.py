"""The known answers of linking: both sides played, each refusal met at its step before the right message is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from e2ee.certificates import DeviceList
from e2ee.errors import E2EEError
from e2ee.linking import LinkState, NewDevice, PrimaryDevice
from e2ee.primitives import agreement_pair, signing_pair
from tests.e2ee.kat import make_linking
from tests.support.e2ee import Recorded, edited, read_kat
from tests.support.kat import chosen


def test_the_file_is_what_the_maker_writes() -> None:
    assert read_kat("linking") == make_linking.cases()


def refuse(case: dict[str, Any], step: int, side: NewDevice | PrimaryDevice, read: Callable[[bytes], Any], message: bytes) -> None:
    """Every refusal of that step: the error is the recorded one, and the side is where it was."""
    refusals = [one for one in case["refused"] if one["step"] == step]
    assert refusals
    before = side.state
    for one in refusals:
        with pytest.raises(E2EEError) as refused:
            read(bytes.fromhex(one["message"]) if "message" in one else edited(message, one["edit"]))
        assert (one["name"], refused.value.code) == (one["name"], one["error"])
        assert side.state is before


@pytest.mark.parametrize("case", chosen("linking", "link"))
def test_link(case: dict[str, Any]) -> None:
    seeds = {name: bytes.fromhex(case[f"{name}_seed"]) for name in ("account", "signing", "agreement")}
    account = signing_pair(seeds["account"])
    new_random, primary_random = Recorded(bytes.fromhex(case["new_random"])), Recorded(bytes.fromhex(case["primary_random"]))
    new = NewDevice(
        signing=signing_pair(seeds["signing"]),
        agreement=agreement_pair(seeds["agreement"]),
        suites=tuple(case["suites"]),
        random=new_random,
    )
    primary = PrimaryDevice(account, user_id=case["user"], device_id=case["device"], random=primary_random)
    assert new.offer.hex() == case["offer"]
    proposal = primary.propose(new.offer)
    assert proposal.hex() == case["proposal"]
    refuse(case, 2, new, new.propose, proposal)
    accept = new.propose(proposal)
    assert accept.hex() == case["accept"]
    assert (new.user_id, new.device_id, new.account) == (case["user"], case["device"], account.public)
    refuse(case, 3, primary, primary.accept, accept)
    primary.accept(accept)
    assert primary.code == new.code == case["code"]
    primary.confirm()
    new.confirm()
    assert primary.certificate(created=case["created"]).encoded.hex() == case["certificate"]
    devices = DeviceList.parse(bytes.fromhex(case["devices"]))
    complete = primary.complete(devices)
    assert complete.hex() == case["complete"]
    refuse(case, 4, new, new.complete, complete)
    certificate, listed = new.complete(complete)
    assert (certificate.encoded.hex(), listed) == (case["certificate"], devices)
    assert new.state is primary.state is LinkState.LINKED
    assert not new_random.left
    assert not primary_random.left


@pytest.mark.parametrize("case", chosen("linking", "offer_refused"))
def test_offer_refused(case: dict[str, Any]) -> None:
    primary = PrimaryDevice(signing_pair(bytes(32)), user_id="alice", device_id=2)
    with pytest.raises(E2EEError) as refused:
        primary.propose(bytes.fromhex(case["offer"]))
    assert refused.value.code == case["error"]
    assert primary.state is LinkState.STARTED
