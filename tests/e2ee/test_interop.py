"""Python and a browser talk: every part of the profile in both directions, over a network that loses, repeats and reorders."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import pytest_asyncio
from playwright.async_api import Page

from e2ee import content as contents
from e2ee.attachment import AttachmentDescriptor, AttachmentOpener, AttachmentSealer
from e2ee.backup import BACKUP_HEADER_BYTES, unlock
from e2ee.backup_records import BackupReader, BackupWriter
from e2ee.certificates import DeviceCertificate, DeviceList, issue_device_list
from e2ee.content import SenderKeyDistribution
from e2ee.errors import E2EEError
from e2ee.group import Delivery, SenderKeyGroup
from e2ee.group_operation import Member, OperationKind, Role
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

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOTH_SUITES = (1, 2)
# How many rounds a message may be late: fewer than the receiving chains whose skipped keys are kept.
MOST_ROUNDS_LATE = 3
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
    rng: random.Random
    sent: int = 0
    # The round in which a copy of a message arrives, its number, and its bytes.
    under_way: list[tuple[int, int, bytes]] = field(default_factory=list)
    arrived: set[int] = field(default_factory=set)
    lost: int = 0
    repeated: int = 0

    def texts(self) -> list[bytes]:
        self.sent += PER_ROUND
        return [self.text(number) for number in range(self.sent - PER_ROUND, self.sent)]

    def text(self, number: int) -> bytes:
        return f"{self.name} {number}".encode() * (1 + number % 30)

    def put(self, messages: list[bytes], now: int) -> None:
        for number, message in enumerate(messages, self.sent - PER_ROUND):
            copies = self.rng.choices([0, 1, 2], [10, 80, 10])[0]
            self.lost += copies == 0
            for _ in range(copies):
                self.under_way.append((now + self.rng.randrange(MOST_ROUNDS_LATE), number, message))

    def due(self, now: int) -> list[tuple[int, bytes]]:
        arriving = [(number, message) for when, number, message in self.under_way if when <= now]
        self.under_way = [one for one in self.under_way if one[0] > now]
        self.rng.shuffle(arriving)
        return arriving

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
    to_there, to_here = Direction("to the browser", rng), Direction("to python", rng)
    for now in range(ROUNDS + MOST_ROUNDS_LATE):
        if now < ROUNDS:
            to_there.put(await talk.encrypt_here(to_there.texts()), now)
            to_here.put(await talk.encrypt_there(to_here.texts()), now)
        arriving = to_there.due(now)
        to_there.check(arriving, await talk.decrypt_there([message for _, message in arriving]))
        arriving = to_here.due(now)
        to_here.check(arriving, await talk.decrypt_here([message for _, message in arriving]))
        if now % 10 == 9:
            # Both sides go on from what a store would have kept.
            reloaded = await ask(page, "reload", talk.id)
            assert reloaded["skipped"] == reloaded["kept"] > 0
    for direction in (to_there, to_here):
        assert direction.sent == ROUNDS * PER_ROUND == 1_000
        assert len(direction.arrived) == direction.sent - direction.lost
        assert direction.lost > 50
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


class Group:
    """A group of two devices here (alice, dave) and two in the browser (bob, carol). Sender keys are handed over here."""

    def __init__(self, page: Page, id: str) -> None:
        self.page, self.id = page, id
        self.here = {name: local_device(name) for name in ("alice", "dave")}
        self.certificates = {name: device.certificate for name, device in self.here.items()}
        self.there: list[str] = []
        self.groups: dict[str, SenderKeyGroup] = {}

    async def prepare(self) -> None:
        for name in ("bob", "carol"):
            made = await ask(self.page, "makeParty", name, name, 1, list(BOTH_SUITES))
            self.certificates[name] = DeviceCertificate.parse(bytes.fromhex(made["certificate"]))
            self.there.append(name)
        await ask(self.page, "know", [one.encoded.hex() for one in self.certificates.values()])

    def resolve(self, user_id: str, device_id: int) -> DeviceCertificate | None:
        return self.certificates[user_id] if device_id == 1 else None

    def member(self, name: str, role: Role = Role.MEMBER) -> Member:
        return Member(name, self.certificates[name].account, role)

    async def joined(self, name: str, operations: list[bytes]) -> None:
        if name in self.there:
            await ask(self.page, "joinGroup", name, self.id, [one.hex() for one in operations])
        else:
            self.groups[name] = SenderKeyGroup.join(self.certificates[name], operations, self.resolve)

    async def apply(self, operation: bytes) -> None:
        hashes = set()
        for group in self.groups.values():
            group.apply(operation, self.resolve)
            hashes.add(group.state.hashes[-1].hex())
        for name in self.there:
            hashes.add((await ask(self.page, "apply", name, self.id, operation.hex()))["hash"])
        assert len(hashes) == 1

    async def say(self, name: str, text: bytes, members: list[str]) -> dict[str, bytes | str]:
        """``name`` sends to the group of ``members``, and everybody who ever was in it tries to read."""
        certificates = [self.certificates[member] for member in members]
        if name in self.there:
            prepared = await ask(self.page, "prepareSend", name, self.id, [one.encoded.hex() for one in certificates])
            keys = {one["user"]: bytes.fromhex(one["content"]) for one in prepared}
            message = bytes.fromhex(await ask(self.page, "encryptGroup", name, self.id, text.hex()))
        else:
            deliveries: list[Delivery[SenderKeyDistribution]] = self.groups[name].prepare_send(certificates, now=NOW)
            self.groups[name].mark_distributed(deliveries)
            keys = {user: contents.encode(key) for user, _, key in deliveries}
            message = self.groups[name].encrypt(text, now=NOW)
        assert keys.keys() <= set(members)
        for user, key in keys.items():
            await self._give(user, name, key)
        everybody = [one for one in self.certificates if one != name]
        return {reader: await self._read(reader, name, message) for reader in everybody}

    async def _give(self, to: str, sender: str, key: bytes) -> None:
        if to in self.there:
            assert await ask(self.page, "receiveKey", to, self.id, sender, 1, key.hex()) == {"content": ""}
        else:
            parsed = contents.parse(key)
            assert isinstance(parsed, SenderKeyDistribution)
            self.groups[to].receive_key(sender, 1, parsed)

    async def _read(self, reader: str, sender: str, message: bytes) -> bytes | str:
        if reader in self.there:
            outcome = await ask(self.page, "decryptGroup", reader, self.id, sender, 1, message.hex())
            return bytes.fromhex(outcome["content"]) if "content" in outcome else cast(str, outcome["error"])
        try:
            return self.groups[reader].decrypt(sender, 1, message, now=NOW)
        except E2EEError as error:
            return error.code


async def test_a_group_whose_members_are_removed(page: Page) -> None:
    group = Group(page, "group")
    await group.prepare()
    names = ["alice", "bob", "carol", "dave"]
    alice = group.here["alice"]
    others = [group.member("bob", Role.ADMIN), group.member("carol"), group.member("dave")]
    group.groups["alice"], created = SenderKeyGroup.create(alice.certificate, alice.signing, others, time=int(NOW))
    for name in names[1:]:
        await group.joined(name, [created.encoded])
    for name in names:
        text = f"hello from {name}".encode()
        assert set((await group.say(name, text, names)).values()) == {text}
    removal = group.groups["alice"].propose(alice.signing, OperationKind.REMOVE, time=int(NOW), users=("carol",))
    await group.apply(removal.encoded)
    for name in ("alice", "bob"):
        assert await group.say(name, b"without carol", ["alice", "bob", "dave"]) == {
            "carol": "not_a_member",
            **{reader: b"without carol" for reader in ("alice", "bob", "dave") if reader != name},
        }
    removal_there = await ask(page, "propose", "bob", group.id, "remove", {"users": ["dave"]})
    await group.apply(bytes.fromhex(removal_there))
    assert await group.say("alice", b"two of us", ["alice", "bob"]) == {
        "bob": b"two of us",
        "carol": "not_a_member",
        "dave": "not_a_member",
    }
    assert (await group.say("bob", b"indeed", ["alice", "bob"]))["alice"] == b"indeed"


async def test_a_group_that_the_browser_made(page: Page) -> None:
    group = Group(page, "made there")
    await group.prepare()
    named = [group.certificates[name].encoded.hex() for name in ("alice", "carol")]
    created = bytes.fromhex(await ask(page, "createGroup", "bob", group.id, named))
    await group.joined("alice", [created])
    await group.joined("carol", [created])
    dave = group.certificates["dave"]
    change = {"members": [{"user": "dave", "account": dave.account.hex(), "role": "member"}]}
    added = bytes.fromhex(await ask(page, "propose", "bob", group.id, "add", change))
    await group.apply(added)
    await group.joined("dave", [created, added])
    names = ["alice", "bob", "carol", "dave"]
    for name in names:
        assert set((await group.say(name, b"all here", names)).values()) == {b"all here"}


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
