"""The known answers of groups: what was recorded is what is computed, and what was refused is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from e2ee import content
from e2ee.certificates import NO_HASH, DeviceCertificate
from e2ee.content import SenderKeyDistribution
from e2ee.errors import E2EEError
from e2ee.group import SenderKeyGroup
from e2ee.group_operation import Member, Operation, OperationKind, Role, sign_operation
from e2ee.group_state import GroupState
from e2ee.primitives import KeyPair, Random
from tests.e2ee.kat import make_group

DATA = json.loads(make_group.PATH.read_text())
CERTIFICATES = {(one["user"], one["device"]): DeviceCertificate.parse(bytes.fromhex(one["certificate"])) for one in DATA["devices"]}
SIGNING = {
    (one["user"], one["device"]): KeyPair(bytes.fromhex(one["signing_seed"]), bytes.fromhex(one["signing"]))
    for one in DATA["devices"]
}
CHAIN = next(case for case in DATA["cases"] if case["case"] == "chain")
OPERATIONS = [bytes.fromhex(one["operation"]) for one in CHAIN["operations"]]


def cases(kind: str) -> pytest.MarkDecorator:
    chosen = [case for case in DATA["cases"] if case["case"] == kind]
    return pytest.mark.parametrize("case", chosen, ids=[case["name"] for case in chosen])


def resolve(user_id: str, device_id: int) -> DeviceCertificate | None:
    return CERTIFICATES.get((user_id, device_id))


def member(described: list[Any]) -> Member:
    return Member(described[0], bytes.fromhex(described[1]), Role(described[2]))


def replay(random_hex: str) -> tuple[Random, Callable[[], None]]:
    left = bytes.fromhex(random_hex)

    def draw(length: int) -> bytes:
        nonlocal left
        drawn, left = left[:length], left[length:]
        assert len(drawn) == length
        return drawn

    def done() -> None:
        assert not left

    return draw, done


def test_the_file_is_what_the_maker_writes() -> None:
    assert make_group.PATH.read_text() == make_group.dump()


def test_every_certificate_verifies() -> None:
    for address, certificate in CERTIFICATES.items():
        certificate.verify()
        assert (certificate.user_id, certificate.device_id) == address


def test_the_chain() -> None:
    state: GroupState | None = None
    previous = NO_HASH
    for epoch, described in enumerate(CHAIN["operations"]):
        user, device = described["signer"]
        operation = sign_operation(
            SIGNING[user, device],
            group_id=bytes.fromhex(CHAIN["group_id"]),
            epoch=epoch,
            prev_hash=previous,
            signer_user=user,
            signer_device=device,
            time=described["time"],
            kind=OperationKind(described["op"]),
            members=tuple(map(member, described["members"])),
            users=tuple(described["users"]),
        )
        assert operation.encoded.hex() == described["operation"]
        state = GroupState.create(operation, resolve) if state is None else state.apply(operation, resolve)
        previous = state.hashes[-1]
        assert previous.hex() == described["hash"]
        assert [state.members[one[0]] for one in described["members_after"]] == list(map(member, described["members_after"]))
        assert len(state.members) == len(described["members_after"])


@cases("operation_refused")
def test_refused_operations(case: dict[str, Any]) -> None:
    def apply() -> None:
        operation = Operation.parse(bytes.fromhex(case["operation"]))
        if case["after"]:
            GroupState.replay(OPERATIONS[: case["after"]], resolve).apply(operation, resolve)
        else:
            GroupState.create(operation, resolve)

    assert make_group.error_of(apply) == case["error"]


def group_of(case: dict[str, Any]) -> SenderKeyGroup:
    return SenderKeyGroup.join(CERTIFICATES[tuple(case["own"])], OPERATIONS[: case["after"]], resolve)


@cases("send")
def test_sending(case: dict[str, Any]) -> None:
    group = group_of(case)
    prepared: list[tuple[str, int, SenderKeyDistribution]] = []
    for step in case["steps"]:
        match step["do"]:
            case "apply":
                group.apply(bytes.fromhex(step["operation"]), resolve)
            case "prepare":
                draw, done = replay(step["random"])
                certificates = [CERTIFICATES[user, device] for user, device in step["devices"]]
                prepared = group.prepare_send(certificates, now=step["now"], random=draw)
                done()
                assert sorted([user, device] for user, device, _ in prepared) == step["to"]
                assert {content.encode(key).hex() for _, _, key in prepared} == {step["content"]} - {""}
                assert sorted(group.withheld) == step["withheld"]
            case "mark":
                group.mark_distributed(prepared)
            case "encrypt" if "error" in step:
                with pytest.raises(E2EEError) as raised:
                    group.encrypt(bytes.fromhex(step["content"]), now=step["now"])
                assert raised.value.code == step["error"]
            case "encrypt":
                draw, done = replay(step["random"])
                message = group.encrypt(bytes.fromhex(step["content"]), now=step["now"], random=draw)
                done()
                assert message.hex() == step["message"]


@cases("read")
def test_reading(case: dict[str, Any]) -> None:
    group = group_of(case)

    def take(step: dict[str, Any]) -> bytes:
        user, device = step.get("from", ("", 0))
        match step["do"]:
            case "apply":
                group.apply(bytes.fromhex(step["operation"]), resolve)
            case "receive_key":
                key = content.parse(bytes.fromhex(step["content"]))
                assert isinstance(key, SenderKeyDistribution)
                group.receive_key(user, device, key)
            case "read":
                return group.decrypt(user, device, bytes.fromhex(step["message"]), now=step["now"])
        return b""

    for step in case["steps"]:
        if "error" in step:
            group.drain_changes()
            assert make_group.error_of(lambda step=step: take(step)) == step["error"]  # type: ignore[misc]
            assert group.drain_changes() == {}
        else:
            assert take(step).hex() == step.get("result", "")
