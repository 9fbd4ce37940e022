"""Python and a browser talk: every part of the profile in both directions, over a network that loses, repeats and reorders."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import pytest_asyncio
from playwright.async_api import Page

from e2ee.attachment import AttachmentDescriptor, AttachmentOpener, AttachmentSealer
from e2ee.backup import BACKUP_HEADER_BYTES, unlock
from e2ee.backup_records import BackupReader, BackupWriter
from e2ee.certificates import DeviceCertificate, DeviceList, issue_device_list
from e2ee.errors import E2EEError
from e2ee.group_operation import OperationKind, Role
from e2ee.handshake import LocalDevice, PreKeyMessage, initiate, respond
from e2ee.limits import Policy
from e2ee.linking import LinkState, NewDevice, PrimaryDevice
from e2ee.prekeys import Bundle
from e2ee.primitives import agreement_pair, signing_pair, system_random
from e2ee.safety_number import safety_number
from e2ee.session import Session
from tests.e2ee.kat.make_backup import record_json, record_of, secret_of
from tests.support.e2ee import NOW, local_device, offer
from tests.support.e2ee_page import e2ee_page, run_module
from tests.support.interop_group import MOST_ROUNDS_LATE, BadNetwork, InteropGroup, member

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOTH_SUITES = (1, 2)
ROUNDS = 40
PER_ROUND = 25


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page() -> AsyncIterator[Page]:
    async with e2ee_page() as opened:
        yield opened


async def ask(page: Page, function: str, *arguments: Any) -> Any:
    return await run_module(page, "interop.js", function, *arguments)


@dataclass
class Talk:
    """A session between Python and the browser, after its first message. ``id`` names it there."""

    page: Page
    id: str
    here: Session

    async def encrypt_there(self, texts: list[bytes]) -> list[bytes]:
        return [bytes.fromhex(one) for one in await ask(self.page, "encrypt", self.id, [text.hex() for text in texts])]

    async def decrypt_there(self, messages: list[bytes]) -> list[bytes | str]:
        outcomes = await ask(self.page, "decrypt", self.id, [message.hex() for message in messages])
        return [bytes.fromhex(one["content"]) if "content" in one else cast(str, one["error"]) for one in outcomes]

    async def encrypt_here(self, texts: list[bytes]) -> list[bytes]:
        return [self.here.encrypt(text, now=NOW) for text in texts]

    async def decrypt_here(self, messages: list[bytes]) -> list[bytes | str]:
        return [self._outcome(message) for message in messages]

    def _outcome(self, message: bytes) -> bytes | str:
        try:
            return self.here.decrypt(message, now=NOW)
        except E2EEError as error:
            return error.code


async def begin_here(page: Page, id: str, suites: tuple[int, ...] = BOTH_SUITES) -> Talk:
    """Python sends first."""
    alice, policy = local_device("alice", 7, suites=suites), Policy(min_suite=suites[0])
    bob = await ask(page, "makeParty", id, "بوب", 4_294_967_295, list(BOTH_SUITES))
    here = initiate(alice, Bundle.parse(bytes.fromhex(bob["bundle"])), policy, now=NOW)
    first = here.encrypt(b"first", now=NOW)
    made = await ask(page, "answer", id, id, alice.certificate.encoded.hex(), first.hex(), suites[0])
    assert made == {"suite": suites[-1], "transcript": here.transcript.hex()}
    talk = Talk(page, id, here)
    assert await talk.decrypt_there([first]) == [b"first"]
    return talk


async def begin_there(page: Page, id: str, suites: tuple[int, ...] = BOTH_SUITES) -> Talk:
    """The browser sends first."""
    alice = local_device("alice", 7, suites=suites)
    offered = offer(alice, kem=2 in suites)
    bob = await ask(page, "makeParty", id, "بوب", 4_294_967_295, list(BOTH_SUITES))
    made = await ask(page, "begin", id, id, offered.bundle.encode().hex(), suites[0])
    [first] = [bytes.fromhex(one) for one in await ask(page, "encrypt", id, [b"first".hex()])]
    certificate = DeviceCertificate.parse(bytes.fromhex(bob["certificate"]))
    certificate.verify()
    policy = Policy(min_suite=suites[0])
    here = respond(alice, certificate, PreKeyMessage.parse(first), offered.secrets, policy, now=NOW)
    assert made == {"suite": suites[-1], "transcript": here.transcript.hex()}
    assert here.decrypt(first, now=NOW) == b"first"
    return Talk(page, id, here)


BEGINNINGS = {"here": begin_here, "there": begin_there}


@pytest.mark.parametrize("suites", [(1,), BOTH_SUITES], ids=["suite 1", "suite 2"])
@pytest.mark.parametrize("first", BEGINNINGS)
async def test_a_handshake_and_some_messages(page: Page, first: str, suites: tuple[int, ...]) -> None:
    talk = await BEGINNINGS[first](page, f"some/{first}/{len(suites)}", suites)
    for turn in range(4):
        texts = [f"turn {turn}, message {number}".encode() * (number * 40) for number in range(3)]
        assert await talk.decrypt_here(await talk.encrypt_there(texts)) == texts
        assert await talk.decrypt_there(await talk.encrypt_here(texts)) == texts


@dataclass
class Direction:
    """What was sent one way, what is still under way, and what has arrived."""

    name: str
    network: BadNetwork[tuple[int, bytes]]
    sent: int = 0
    arrived: set[int] = field(default_factory=set)
    repeated: int = 0

    def texts(self) -> list[bytes]:
        self.sent += PER_ROUND
        return [self.text(number) for number in range(self.sent - PER_ROUND, self.sent)]

    def text(self, number: int) -> bytes:
        return f"{self.name} {number}".encode() * (1 + number % 30)

    def put(self, messages: list[bytes], now: int) -> None:
        for item in enumerate(messages, self.sent - PER_ROUND):
            self.network.put(item, now)

    def check(self, arriving: list[tuple[int, bytes]], outcomes: list[bytes | str]) -> None:
        """The first copy is read whenever it comes, and no other one ever is."""
        assert len(outcomes) == len(arriving)
        for (number, _message), outcome in zip(arriving, outcomes, strict=True):
            if number in self.arrived:
                assert outcome in ("duplicate_message", "decryption_failed")
                self.repeated += 1
            else:
                assert outcome == self.text(number)
                self.arrived.add(number)


@pytest.mark.parametrize("first", BEGINNINGS)
async def test_a_thousand_messages_each_way_over_a_bad_network(page: Page, first: str) -> None:
    talk = await BEGINNINGS[first](page, f"thousand/{first}")
    rng = random.Random(f"bad network, first {first}")
    to_there, to_here = Direction("to the browser", BadNetwork(rng)), Direction("to python", BadNetwork(rng))
    for now in range(ROUNDS + MOST_ROUNDS_LATE):
        if now < ROUNDS:
            to_there.put(await talk.encrypt_here(to_there.texts()), now)
            to_here.put(await talk.encrypt_there(to_here.texts()), now)
        arriving = to_there.network.due(now)
        to_there.check(arriving, await talk.decrypt_there([message for _, message in arriving]))
        arriving = to_here.network.due(now)
        to_here.check(arriving, await talk.decrypt_here([message for _, message in arriving]))
        if now % 10 == 9:
            # Both sides go on from what a store would have kept.
            reloaded = await ask(page, "reload", talk.id)
            assert reloaded["skipped"] == reloaded["kept"] > 0
    for direction in (to_there, to_here):
        assert direction.sent == ROUNDS * PER_ROUND == 1_000
        assert len(direction.arrived) == direction.sent - direction.network.lost
        assert direction.network.lost > 50
        assert direction.repeated > 50


@pytest.mark.parametrize("size", [0, 1, 1_024, 65_536, 200_000])
async def test_attachments(page: Page, size: int) -> None:
    content = random.Random(size).randbytes(size)
    made = await ask(page, "sealAttachment", content.hex())
    descriptor, sealed = AttachmentDescriptor.parse(bytes.fromhex(made["descriptor"])), bytes.fromhex(made["sealed"])
    opener = AttachmentOpener(descriptor)
    assert opener.feed(sealed) == content
    opener.finish()
    assert (descriptor.size, descriptor.mime_type, descriptor.name) == (size, "image/png", "صورة.png")
    sealer = AttachmentSealer()
    sealed = b"".join([sealer.feed(content), *sealer.finish()])
    described = sealer.descriptor(mime_type="text/plain", name="a.txt").encode()
    opened = await ask(page, "openAttachment", sealed.hex(), described.hex())
    assert opened == {"content": content.hex(), "mimeType": "text/plain", "name": "a.txt"}


async def test_a_group_whose_members_are_removed(page: Page) -> None:
    world = InteropGroup(page, "group")
    await world.meet()
    names = ["alice", "bob", "carol", "dave"]
    shown = {name: member(world.certificates[name]) for name in names}
    world.create_here("alice", [member(world.certificates["bob"], Role.ADMIN), shown["carol"], shown["dave"]])
    for name in names:
        text = f"hello from {name}".encode()
        assert set((await world.say(name, text, names)).values()) == {text}
    assert len(await world.state_hashes(names)) == 1

    # Everybody is told, the one who is removed too.
    removal = await world.propose_here("alice", OperationKind.REMOVE, users=("carol",))
    world.tell("alice", [removal], ["bob", "carol", "dave"])
    left = ["alice", "bob", "dave"]
    for name in left:
        assert await world.say(name, b"without carol", left) == {
            "carol": "not_a_member",
            **{reader: b"without carol" for reader in left if reader != name},
        }
    assert len(await world.state_hashes(names)) == 1

    # Who is not told that it was removed goes on with what it had, and that opens nothing either.
    removal = await world.propose_there("bob", "remove", users=["dave"])
    world.tell("bob", [removal], ["alice"])
    for name, other in (("bob", "alice"), ("alice", "bob")):
        assert await world.say(name, b"two of us", ["alice", "bob"]) == {
            other: b"two of us",
            "carol": "group_state_mismatch",
            "dave": "group_state_mismatch",
        }
    world.tell("bob", [removal], ["carol", "dave"])
    await world.settle()
    assert len(await world.state_hashes(names)) == 1
    assert await world.say("bob", b"indeed", ["alice", "bob"]) == {
        "alice": b"indeed",
        "carol": "not_a_member",
        "dave": "not_a_member",
    }
    assert world.delivered > 40
    assert world.network.lost > 10
    assert world.refused > 3


async def test_a_group_that_the_browser_made(page: Page) -> None:
    world = InteropGroup(page, "made there")
    await world.meet()
    created = await world.create_there("bob", ["alice", "carol"])
    await world.settle()
    joined = ["alice", "bob", "carol"]
    assert await world.say("alice", b"three", joined) == {"bob": b"three", "carol": b"three", "dave": "no group"}
    dave = world.certificates["dave"]
    added = await world.propose_there("bob", "add", members=[{"user": "dave", "account": dave.account.hex(), "role": "member"}])
    world.tell("bob", [added], ["alice", "carol"])
    world.tell("bob", [created, added], ["dave"])
    names = [*joined, "dave"]
    # Who made the operation speaks first: it is under way together with what is said after it.
    for name in ("bob", "dave", "carol", "alice"):
        assert set((await world.say(name, b"all here", names)).values()) == {b"all here"}
    removal = await world.propose_there("bob", "remove", users=["alice"])
    world.tell("bob", [removal], ["alice", "carol", "dave"])
    left = ["bob", "carol", "dave"]
    for name in left:
        assert await world.say(name, b"without alice", left) == {
            "alice": "not_a_member",
            **{reader: b"without alice" for reader in left if reader != name},
        }
    assert len(await world.state_hashes(names)) == 1
    assert world.network.lost > 10
    assert world.refused > 3


RECORDS: list[dict[str, Any]] = [
    {"record": "account", "seed": "11" * 32, "user": "زيد"},
    {"record": "contact", "user": "bob", "account": "22" * 32, "verified": True, "seq": 7, "list_hash": "33" * 32},
    {"record": "group", "group_id": "44" * 16, "operations": ["55" * 300, "66"]},
    {"record": "history", "conversation": b"room".hex(), "kept": "77" * 150_000},
]
SECRETS: dict[str, dict[str, Any]] = {
    "recovery code": {"code": "88" * 32},
    "passphrase": {"passphrase": "ﬁve words of ﬆone Ⅷ café make it", "memory_kib": 65_536, "passes": 3},
}


@pytest.mark.parametrize("kind", SECRETS)
async def test_backups(page: Page, kind: str) -> None:
    secret = secret_of(SECRETS[kind])
    there = bytes.fromhex(await ask(page, "writeBackup", RECORDS, SECRETS[kind]))
    reader = BackupReader(unlock(there[:BACKUP_HEADER_BYTES], secret))
    restored = [*reader.feed(there[BACKUP_HEADER_BYTES:]), *reader.finish()]
    assert [record_json(record) for record in restored] == RECORDS
    writer = BackupWriter(secret)
    here = b"".join([writer.header, *(writer.add(record_of(record)) for record in RECORDS), writer.finish()])
    assert await ask(page, "restoreBackup", here.hex(), SECRETS[kind]) == RECORDS


async def test_the_same_safety_number(page: Page) -> None:
    alice, bob = signing_pair(system_random(32)).public, signing_pair(system_random(32)).public
    number = safety_number("alice", alice, "بوب", bob)
    assert await ask(page, "numberOf", "بوب", bob.hex(), "alice", alice.hex()) == number


async def test_the_browser_is_linked_to_an_account_here(page: Page) -> None:
    account = signing_pair(system_random(32))
    own: LocalDevice = local_device("alice", account=account)
    primary = PrimaryDevice(account, user_id="alice", device_id=2)
    proposal = primary.propose(bytes.fromhex(await ask(page, "offerDevice", list(BOTH_SUITES))))
    answer = await ask(page, "readProposal", proposal.hex())
    primary.accept(bytes.fromhex(answer["accept"]))
    assert answer["code"] == primary.code
    primary.confirm()
    added = primary.certificate(created=int(NOW))
    devices = issue_device_list(account, user_id="alice", created=int(NOW), certificates=(own.certificate, added))
    linked = await ask(page, "completeDevice", primary.complete(devices).hex())
    assert linked == {"certificate": added.encoded.hex(), "devices": devices.encoded.hex()}


async def test_a_device_here_is_linked_to_the_browsers_account(page: Page) -> None:
    await ask(page, "makeParty", "primary", "carol", 1, list(BOTH_SUITES))
    signing, agreement = signing_pair(system_random(32)), agreement_pair(system_random(32))
    fresh = NewDevice(signing=signing, agreement=agreement, suites=BOTH_SUITES)
    accept = fresh.propose(bytes.fromhex(await ask(page, "proposeDevice", "primary", 9, fresh.offer.hex())))
    assert await ask(page, "readAccept", accept.hex()) == fresh.code
    fresh.confirm()
    admitted = await ask(page, "admitDevice", "primary")
    certificate, devices = fresh.complete(bytes.fromhex(admitted["complete"]))
    assert (certificate.user_id, certificate.device_id, certificate.signing) == ("carol", 9, signing.public)
    assert devices == DeviceList.parse(bytes.fromhex(admitted["devices"]))
    assert fresh.state is LinkState.LINKED
