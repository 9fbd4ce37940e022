"""Devices for the tests of encrypted groups, made from names so that they are the same every time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from e2ee.certificates import DeviceCertificate, device_key_signature, issue_certificate
from e2ee.group import SenderKeyGroup
from e2ee.group_operation import Member, Role
from e2ee.limits import SUITE_PQ, SUITE_X25519
from e2ee.primitives import KeyPair, Random, agreement_pair, signing_pair

__all__ = ["Directory", "Party", "apply_changes", "counted_random", "make_party"]


@dataclass(frozen=True, slots=True)
class Party:
    """One device, with its secrets."""

    certificate: DeviceCertificate
    signing: KeyPair

    @property
    def address(self) -> tuple[str, int]:
        return self.certificate.user_id, self.certificate.device_id

    def member(self, role: Role = Role.MEMBER) -> Member:
        return Member(self.certificate.user_id, self.certificate.account, role)


def make_party(user_id: str, device_id: int = 1, *, account: str = "first") -> Party:
    """The device of a user under its account key of this name; the same arguments give the same keys."""
    account_pair = signing_pair(_seed("account", user_id, account))
    signing = signing_pair(_seed("signing", user_id, account, str(device_id)))
    agreement = agreement_pair(_seed("agreement", user_id, account, str(device_id)))
    certificate = issue_certificate(
        account_pair,
        user_id=user_id,
        device_id=device_id,
        signing_public=signing.public,
        agreement_public=agreement.public,
        device_signature=device_key_signature(signing, user_id, device_id, agreement.public),
        created=1_700_000_000,
        suites=(SUITE_X25519, SUITE_PQ),
    )
    return Party(certificate, signing)


class Directory:
    """The resolver of these devices; more can be put in and taken out."""

    def __init__(self, parties: Iterable[Party]) -> None:
        self.known = {party.address: party.certificate for party in parties}

    def __call__(self, user_id: str, device_id: int) -> DeviceCertificate | None:
        return self.known.get((user_id, device_id))


def counted_random(label: str) -> Random:
    """Bytes that look random, follow from the label alone, and differ with every draw."""
    count = 0

    def draw(length: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{label}/{count}".encode()).digest(length)

    return draw


def apply_changes(records: dict[bytes, bytes], group: SenderKeyGroup) -> dict[bytes, bytes]:
    """The records of the store after what changed was written."""
    for name, record in group.drain_changes().items():
        if record is None:
            del records[name]
        else:
            records[name] = record
    return records


def _seed(*names: str) -> bytes:
    return hashlib.sha256("/".join(names).encode()).digest()
