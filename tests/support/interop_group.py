"""A group with devices in Python and in a browser; all it is made of travels in pairwise sessions over a bad network."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Generic, TypeVar

from playwright.async_api import Page

from e2ee import content as contents
from e2ee.certificates import DeviceCertificate
from e2ee.content import Content, GroupOperations, SenderKeyDistribution
from e2ee.errors import E2EEError, GroupStateMismatch
from e2ee.group import SenderKeyGroup
from e2ee.group_operation import Member, Operation, OperationKind, Role
from e2ee.handshake import PreKeyMessage, initiate, respond
from e2ee.limits import Policy
from e2ee.prekeys import Bundle
from e2ee.session import Session
from tests.support.e2ee import NOW, Offer, local_device, offer
from tests.support.e2ee_page import run_module

__all__ = ["MOST_ROUNDS_LATE", "BadNetwork", "InteropGroup", "member"]

T = TypeVar("T")

# How many rounds a message may be late: fewer than the receiving chains whose skipped keys are kept.
MOST_ROUNDS_LATE = 3
# Later than everything that was sent before has come, if it comes at all.
_ROUNDS_BETWEEN_TRIES = MOST_ROUNDS_LATE + 1
_MOST_ROUNDS = 200
_SUITES = (1, 2)
_HERE, _THERE = ("alice", "dave"), ("bob", "carol")


class BadNetwork(Generic[T]):
    """Loses so many of a hundred things, repeats as many, and delivers late and in disorder. Who uses it counts the rounds."""

    def __init__(self, rng: random.Random, percent: int = 10) -> None:
        self._rng = rng
        self._weights = [percent, 100 - 2 * percent, percent]
        # The round in which a copy arrives.
        self._under_way: list[tuple[int, T]] = []
        self.lost = 0

    def put(self, item: T, now: int) -> None:
        copies = self._rng.choices([0, 1, 2], self._weights)[0]
        self.lost += copies == 0
        for _ in range(copies):
            self._under_way.append((now + self._rng.randrange(MOST_ROUNDS_LATE), item))

    def due(self, now: int) -> list[T]:
        arriving = [item for when, item in self._under_way if when <= now]
        self._under_way = [one for one in self._under_way if one[0] > now]
        self._rng.shuffle(arriving)
        return arriving

    @property
    def empty(self) -> bool:
        return not self._under_way


@dataclass(frozen=True)
class _Parcel:
    """What one device has to tell another one in their session, however often it takes."""

    sender: str
    receiver: str
    content: bytes


@dataclass(frozen=True)
class _Pairwise:
    """A message of such a session."""

    sender: str
    receiver: str
    message: bytes


@dataclass(frozen=True)
class _Said:
    """The same message of the group for each reader."""

    reader: str
    message: bytes


def member(certificate: DeviceCertificate, role: Role = Role.MEMBER) -> Member:
    return Member(certificate.user_id, certificate.account, role)


class InteropGroup:
    """Two devices here (alice, dave) and two in the browser (bob, carol), who begin their sessions with each other both ways."""

    def __init__(self, page: Page, id: str) -> None:
        self._page, self._id = page, id
        self.local = {name: local_device(name) for name in _HERE}
        self.certificates = {name: device.certificate for name, device in self.local.items()}
        self.groups: dict[str, SenderKeyGroup] = {}
        self.network: BadNetwork[_Pairwise | _Said] = BadNetwork(random.Random(f"group {id}"), percent=25)
        self.delivered = 0
        self.refused = 0
        self._there: set[str] = set()
        self._sessions: dict[tuple[str, str], Session] = {}
        self._offers: dict[tuple[str, str], Offer] = {}
        self._begun: set[tuple[str, str]] = set()
        self._outstanding: list[_Parcel] = []
        self._round = 0

    async def meet(self) -> None:
        """Every two devices get a session: of two here and there, some are begun here and some there."""
        for name in _THERE:
            made = await self._ask("makeParty", self._party(name), name, 1, list(_SUITES))
            self.certificates[name] = DeviceCertificate.parse(bytes.fromhex(made["certificate"]))
        await self._ask("know", [one.encoded.hex() for one in self.certificates.values()])
        for first, second in (
            ("alice", "bob"),
            ("carol", "alice"),
            ("dave", "carol"),
            ("bob", "dave"),
            ("alice", "dave"),
            ("bob", "carol"),
        ):
            await self._begin(first, second)
        for one, other in permutations(self.certificates, 2):
            self._outstanding.append(
                _Parcel(one, other, contents.encode(contents.ApplicationContent(f"{one} to {other}".encode())))
            )
        await self.settle()

    def create_here(self, name: str, others: list[Member]) -> None:
        local = self.local[name]
        self.groups[name], created = SenderKeyGroup.create(local.certificate, local.signing, others, time=int(NOW))
        self.tell(name, [created.encoded], [other.user_id for other in others])

    async def create_there(self, name: str, others: list[str]) -> bytes:
        named = [self.certificates[other].encoded.hex() for other in others]
        created = bytes.fromhex(await self._ask("createGroup", self._party(name), self._id, named))
        self._there.add(name)
        self.tell(name, [created], others)
        return created

    async def propose_here(self, name: str, kind: OperationKind, **change: Any) -> bytes:
        """An operation of a device here, which knows of it at once; the others have to be told."""
        operation = self.groups[name].propose(self.local[name].signing, kind, time=int(NOW), **change)
        self.groups[name].apply(operation.encoded, self._resolve)
        return operation.encoded

    async def propose_there(self, name: str, kind: str, **change: Any) -> bytes:
        operation: str = await self._ask("propose", self._party(name), self._id, kind, change)
        await self._ask("apply", self._party(name), self._id, operation)
        return bytes.fromhex(operation)

    def tell(self, name: str, operations: list[bytes], others: list[str]) -> None:
        """Put operations on their way, in the sessions of who made them."""
        chain = contents.encode(GroupOperations(group_id=Operation.parse(operations[0]).group_id, operations=tuple(operations)))
        self._outstanding += [_Parcel(name, other, chain) for other in others]

    async def say(self, name: str, text: bytes, members: list[str]) -> dict[str, bytes | str]:
        """``name`` sends to the group of ``members``: what everybody in the world reads, or the code of why not.

        What is outstanding, the sender keys and the message itself are under way together, and come in any order.
        """
        certificates = [self.certificates[one] for one in members]
        if name in self.groups:
            group = self.groups[name]
            deliveries = group.prepare_send(certificates, now=NOW)
            group.mark_distributed(deliveries)
            keys = [(user, contents.encode(key)) for user, _, key in deliveries]
            message = group.encrypt(text, now=NOW)
        else:
            prepared = await self._ask("prepareSend", self._party(name), self._id, [one.encoded.hex() for one in certificates])
            keys = [(one["user"], bytes.fromhex(one["content"])) for one in prepared]
            message = bytes.fromhex(await self._ask("encryptGroup", self._party(name), self._id, text.hex()))
        assert {user for user, _ in keys} <= set(members), "a sender key goes to members alone"
        self._outstanding += [_Parcel(name, user, key) for user, key in keys]
        return await self.settle(name, message, members)

    async def settle(self, sender: str = "", message: bytes = b"", members: list[str] | None = None) -> dict[str, bytes | str]:
        """Go on until everything outstanding has arrived, members have read ``message``, and the others have failed to."""
        readers = [name for name in self.certificates if message and name != sender]
        wanted = set(readers) & set(members or ())
        read: dict[str, bytes | str] = {}
        start = self._round
        while self._outstanding or not self._is_read(readers, wanted, read) or not self.network.empty:
            if (self._round - start) % _ROUNDS_BETWEEN_TRIES == 0:
                await self._try_again([_Said(one, message) for one in readers if not self._is_read([one], wanted, read)])
            for item in self.network.due(self._round):
                if isinstance(item, _Pairwise):
                    await self._arrived(item)
                else:
                    outcome = await self._read(item.reader, sender, item.message)
                    if isinstance(already := read.get(item.reader), bytes):
                        assert outcome == "duplicate_message", already
                    else:
                        read[item.reader] = outcome
            self._round += 1
            assert self._round - start < _MOST_ROUNDS, f"{self._outstanding} does not arrive: {read}"
        # With everything that there is for them, the others try once more.
        return {one: read[one] if one in wanted else await self._read(one, sender, message) for one in readers}

    async def state_hashes(self, names: list[str]) -> set[str]:
        """What these devices take the group for."""
        here = {self.groups[name].state.hashes[-1].hex() for name in names if name in self.groups}
        there = {await self._ask("stateHash", self._party(name), self._id) for name in names if name in self._there}
        return here | there

    @staticmethod
    def _is_read(readers: list[str], wanted: set[str], read: dict[str, bytes | str]) -> bool:
        return all(isinstance(read.get(one), bytes) if one in wanted else one in read for one in readers)

    async def _try_again(self, said: list[_Said]) -> None:
        for parcel in self._outstanding:
            sender, receiver = parcel.sender, parcel.receiver
            # Who did not begin has no session before the first message has come.
            if (sender, receiver) in self._begun:
                self.network.put(_Pairwise(sender, receiver, await self._encrypt(sender, receiver, parcel.content)), self._round)
        for one in said:
            self.network.put(one, self._round)

    async def _begin(self, first: str, second: str) -> None:
        if second in self.local:
            self._offers[second, first] = offered = offer(self.local[second])
            bundle = offered.bundle
        else:
            bundle = Bundle.parse(bytes.fromhex(await self._ask("makeOffer", self._party(second), self._session(second, first))))
        if first in self.local:
            self._sessions[first, second] = initiate(self.local[first], bundle, Policy(), now=NOW)
        else:
            await self._ask("begin", self._party(first), self._session(first, second), bundle.encode().hex(), 2)
        self._begun.add((first, second))

    async def _encrypt(self, owner: str, peer: str, content: bytes) -> bytes:
        if owner in self.local:
            return self._sessions[owner, peer].encrypt(content, now=NOW)
        [message] = await self._ask("encrypt", self._session(owner, peer), [content.hex()])
        return bytes.fromhex(message)

    async def _arrived(self, item: _Pairwise) -> None:
        owner, peer = item.receiver, item.sender
        if (owner, peer) not in self._begun:
            await self._answer(owner, peer, item.message)
        if owner in self.local:
            outcome = _outcome(lambda: self._sessions[owner, peer].decrypt(item.message, now=NOW))
        else:
            [told] = await self._ask("decrypt", self._session(owner, peer), [item.message.hex()])
            outcome = bytes.fromhex(told["content"]) if "content" in told else str(told["error"])
        if isinstance(outcome, str):
            assert outcome in ("duplicate_message", "decryption_failed")
            self.refused += 1
            return
        self.delivered += 1
        parcel = _Parcel(peer, owner, outcome)
        # What came before needs no more tries; what comes too early does.
        if await self._take(owner, peer, outcome) and parcel in self._outstanding:
            self._outstanding.remove(parcel)

    async def _answer(self, owner: str, peer: str, message: bytes) -> None:
        certificate = self.certificates[peer]
        if owner in self.local:
            secrets = self._offers.pop((owner, peer)).secrets
            first = PreKeyMessage.parse(message)
            self._sessions[owner, peer] = respond(self.local[owner], certificate, first, secrets, Policy(), now=NOW)
        else:
            await self._ask("answer", self._party(owner), self._session(owner, peer), certificate.encoded.hex(), message.hex(), 2)
        self._begun.add((owner, peer))

    async def _take(self, owner: str, sender: str, content: bytes) -> bool:
        """Hand over what a session carried; false for what cannot be used yet."""
        if owner in self.local:
            outcome = _outcome(lambda: self._take_here(owner, sender, contents.parse(content)))
        else:
            told = await self._ask("takeContent", self._party(owner), self._id, sender, content.hex())
            outcome = told.get("error", b"")
            if content[0] == contents.ContentKind.GROUP_OPERATIONS and not outcome:
                self._there.add(owner)
        assert outcome in (b"", "group_state_mismatch"), outcome
        return not outcome

    def _take_here(self, owner: str, sender: str, content: Content) -> bytes:
        group = self.groups.get(owner)
        if isinstance(content, SenderKeyDistribution):
            if group is None:
                raise GroupStateMismatch("the key is there before the group")
            group.receive_key(sender, 1, content)
        elif isinstance(content, GroupOperations):
            if group is None:
                self.groups[owner] = SenderKeyGroup.join(self.certificates[owner], content.operations, self._resolve)
                return b""
            for operation in content.operations:
                if Operation.parse(operation).epoch > group.epoch:
                    group.apply(operation, self._resolve)
        return b""

    async def _read(self, reader: str, sender: str, message: bytes) -> bytes | str:
        if reader in self.local:
            if reader not in self.groups:
                return "no group"
            return _outcome(lambda: self.groups[reader].decrypt(sender, 1, message, now=NOW))
        if reader not in self._there:
            return "no group"
        told = await self._ask("decryptGroup", self._party(reader), self._id, sender, 1, message.hex())
        return bytes.fromhex(told["content"]) if "content" in told else str(told["error"])

    def _resolve(self, user_id: str, device_id: int) -> DeviceCertificate | None:
        return self.certificates[user_id] if device_id == 1 else None

    def _party(self, name: str) -> str:
        return f"{self._id}/{name}"

    def _session(self, owner: str, peer: str) -> str:
        return f"{self._id}/{owner} with {peer}"

    async def _ask(self, function: str, *arguments: Any) -> Any:
        return await run_module(self._page, "interop.js", function, *arguments)


def _outcome(step: Any) -> bytes | str:
    try:
        done: bytes = step()
        return done
    except E2EEError as error:
        return error.code
