"""Writes group.json: ``python -m tests.e2ee.kat.make_group``. All of it follows from names, so it comes out the same every time.

Kinds of cases:

- ``chain``: operations with what they were made from, and the hash and members after each.
- ``operation_refused``: after the first ``after`` operations of the chain, ``operation`` gives ``error`` and changes nothing.
- ``send``: one device's steps, from the state after ``after`` operations: apply, prepare, mark (everything that was prepared),
  encrypt. ``random`` of a step is drawn front to back; ``to`` is sorted as [user, device], by UTF-8.
- ``read``: one receiver's steps, from the state after ``after`` operations: apply, receive_key, read. A step with ``error`` changes
  nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from e2ee import content
from e2ee.certificates import NO_HASH
from e2ee.content import SenderKeyDistribution
from e2ee.encoding import lp, u8, u16, u32, u64
from e2ee.errors import E2EEError
from e2ee.group import SenderKeyGroup
from e2ee.group_operation import Member, Operation, OperationKind, Role, sign_operation
from e2ee.group_state import GroupState
from e2ee.padding import pad
from e2ee.primitives import PREFIX, sha256, sign
from e2ee.sender_keys import SendingKey
from tests.support.group_parties import Directory, Party, counted_random, make_party

PATH = Path(__file__).with_name("group.json")
NOW = 1_700_000_000
GROUP_ID = bytes(range(16))
# In UTF-8 the first of these is the lower, in UTF-16 the second.
WIDE, EMOJI = "～wide", "😀"
ALICE, ALICE_2, BOB, CAROL, DAVE = (
    make_party("alice"),
    make_party("alice", 2),
    make_party("bob"),
    make_party("carol"),
    make_party("dave"),
)
BOB_AGAIN = make_party("bob", 7, account="second")
ZAID, MALLORY = make_party("زيد", 4_294_967_295), make_party("mallory")
PARTIES = [ALICE, ALICE_2, BOB, BOB_AGAIN, CAROL, DAVE, ZAID, make_party(WIDE), make_party(EMOJI), MALLORY]
RESOLVE = Directory(PARTIES)

Case = dict[str, Any]


def member_json(member: Member) -> list[Any]:
    return [member.user_id, member.account.hex(), int(member.role)]


class Chain:
    """The chain that the cases share."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.states: list[GroupState] = []
        self.described: list[Case] = []

    def add(self, signer: Party, kind: OperationKind, *, members: tuple[Member, ...] = (), users: tuple[str, ...] = ()) -> None:
        epoch = len(self.operations)
        operation = self.sign(signer, kind, epoch, members=members, users=users)
        state = self.states[-1].apply(operation, RESOLVE) if epoch else GroupState.create(operation, RESOLVE)
        self.operations.append(operation)
        self.states.append(state)
        self.described.append(
            {
                "signer": [operation.signer_user, operation.signer_device],
                "time": operation.time,
                "op": int(kind),
                "members": [member_json(member) for member in members],
                "users": list(users),
                "operation": operation.encoded.hex(),
                "hash": state.hashes[-1].hex(),
                "members_after": [member_json(state.members[user]) for user in sorted(state.members, key=str.encode)],
            }
        )

    def sign(
        self, signer: Party, kind: OperationKind, epoch: int, *, members: tuple[Member, ...] = (), users: tuple[str, ...] = ()
    ) -> Operation:
        return sign_operation(
            signer.signing,
            group_id=GROUP_ID,
            epoch=epoch,
            prev_hash=self.states[epoch - 1].hashes[-1] if epoch else NO_HASH,
            signer_user=signer.address[0],
            signer_device=signer.address[1],
            time=NOW + epoch,
            kind=kind,
            members=members,
            users=users,
        )

    def group(self, own: Party, after: int) -> SenderKeyGroup:
        return SenderKeyGroup(own.certificate, GroupState.replay([one.encoded for one in self.operations[:after]], RESOLVE))


def make_chain() -> Chain:
    chain = Chain()
    others = (BOB.member(), CAROL.member(), make_party(EMOJI).member(), make_party(WIDE).member())
    chain.add(ALICE, OperationKind.CREATE, members=(ALICE.member(Role.ADMIN), *others))
    chain.add(ALICE_2, OperationKind.ADD, members=(ZAID.member(Role.ADMIN), DAVE.member()))
    chain.add(ZAID, OperationKind.ROLE, members=(BOB.member(Role.ADMIN),))
    chain.add(ZAID, OperationKind.REMOVE, users=(EMOJI, WIDE))
    chain.add(ALICE, OperationKind.RENEW, members=(BOB_AGAIN.member(Role.ADMIN),))
    chain.add(BOB_AGAIN, OperationKind.REKEY)
    chain.add(DAVE, OperationKind.REMOVE, users=("dave",))
    chain.add(BOB_AGAIN, OperationKind.ROLE, members=(ALICE.member(Role.MEMBER),))
    return chain


def forged(signer: Party, epoch: int, prev_hash: bytes, rest: bytes) -> bytes:
    """A signed operation with any bytes for its kind and arguments."""
    user, device = signer.address
    body = u8(1) + GROUP_ID + u32(epoch) + prev_hash + lp(user.encode()) + u32(device) + u64(NOW) + rest
    return body + sign(signer.signing, "group-op", body)


def refused_operations(chain: Chain) -> list[Case]:
    kind = OperationKind
    first, hashes = chain.states[0], [state.hashes[-1] for state in chain.states]
    good = chain.operations[1].encoded
    bob, carol = BOB.member().encode(), CAROL.member().encode()
    stranger = MALLORY.member()
    wrong: list[tuple[str, int, bytes]] = [
        ("a chain that does not start with the creation", 0, chain.operations[1].encoded),
        (
            "a creation by somebody who is not in it",
            0,
            chain.sign(ALICE, kind.CREATE, 0, members=(BOB.member(Role.ADMIN),)).encoded,
        ),
        ("a creation by somebody who is no admin", 0, chain.sign(ALICE, kind.CREATE, 0, members=(ALICE.member(),)).encoded),
        ("a creation that names a hash", 0, forged(ALICE, 0, hashes[0], u8(1) + u16(1) + ALICE.member(Role.ADMIN).encode())),
        ("the creation once more", 1, forged(ALICE, 1, hashes[0], u8(1) + u16(1) + ALICE.member(Role.ADMIN).encode())),
        ("an operation that was applied before", 2, good),
        ("an operation ahead", 1, chain.operations[2].encoded),
        ("another hash before it", 1, forged(ALICE, 1, hashes[1], u8(6))),
        ("a signer who is no member", 1, forged(MALLORY, 1, hashes[0], u8(6))),
        ("an adding by somebody who is no admin", 1, chain.sign(BOB, kind.ADD, 1, members=(stranger,)).encoded),
        ("a removal by somebody who is no admin", 1, chain.sign(BOB, kind.REMOVE, 1, users=("carol",)).encoded),
        ("a leaving that takes another along", 1, chain.sign(BOB, kind.REMOVE, 1, users=("bob", "carol")).encoded),
        ("a rekey by somebody who is no admin", 1, chain.sign(BOB, kind.REKEY, 1).encoded),
        ("the leaving of the last admin", 1, chain.sign(ALICE, kind.REMOVE, 1, users=("alice",)).encoded),
        ("the last admin made a member", 1, chain.sign(ALICE, kind.ROLE, 1, members=(ALICE.member(),)).encoded),
        ("somebody added who is there", 1, chain.sign(ALICE, kind.ADD, 1, members=(BOB.member(), stranger)).encoded),
        ("somebody removed who is not there", 1, chain.sign(ALICE, kind.REMOVE, 1, users=("bob", "mallory")).encoded),
        ("a role for somebody who is not there", 1, chain.sign(ALICE, kind.ROLE, 1, members=(stranger,)).encoded),
        ("a role with another account key", 1, chain.sign(ALICE, kind.ROLE, 1, members=(BOB_AGAIN.member(),)).encoded),
        ("a renewal with the same account key", 1, chain.sign(ALICE, kind.RENEW, 1, members=(BOB.member(),)).encoded),
        ("a renewal with another role", 1, chain.sign(ALICE, kind.RENEW, 1, members=(BOB_AGAIN.member(Role.ADMIN),)).encoded),
        ("a renewal of somebody who is not there", 1, chain.sign(ALICE, kind.RENEW, 1, members=(stranger,)).encoded),
        ("a signature of another device", 1, good[:-64] + chain.sign(ALICE, kind.REKEY, 1).encoded[-64:]),
        ("a device that is in no list", 1, chain.sign(make_party("alice", 3), kind.REKEY, 1).encoded),
        ("a device of an account key that is not the group's", 3, chain.sign(BOB_AGAIN, kind.REKEY, 3).encoded),
        ("a device of an account key that was renewed", 5, chain.sign(BOB, kind.REKEY, 5).encoded),
        ("another version", 1, b"\x02" + good[1:]),
        ("an unknown kind", 1, forged(ALICE, 1, hashes[0], u8(7))),
        ("an unknown role", 1, forged(ALICE, 1, hashes[0], u8(2) + u16(1) + stranger.encode()[:-1] + b"\x02")),
        ("nobody added", 1, forged(ALICE, 1, hashes[0], u8(2) + u16(0))),
        ("nobody removed", 1, forged(ALICE, 1, hashes[0], u8(3) + u16(0))),
        (
            "members in the wrong order",
            1,
            forged(ALICE, 1, hashes[0], u8(2) + u16(2) + ZAID.member().encode() + DAVE.member().encode()),
        ),
        ("a member twice", 0, forged(ALICE, 0, NO_HASH, u8(1) + u16(3) + ALICE.member(Role.ADMIN).encode() + bob + bob)),
        ("users in the order of UTF-16", 1, forged(ALICE, 1, hashes[0], u8(3) + u16(2) + lp(EMOJI.encode()) + lp(WIDE.encode()))),
        ("a byte left over", 1, forged(ALICE, 1, hashes[0], u8(6) + b"\x00")),
        ("an end in the middle", 1, good[:-1]),
        ("a count that is too high", 1, forged(ALICE, 1, hashes[0], u8(2) + u16(3) + bob + carol)),
        ("an empty user id", 1, forged(ALICE, 1, hashes[0], u8(3) + u16(1) + lp(b""))),
        ("a user id that is not UTF-8", 1, forged(ALICE, 1, hashes[0], u8(3) + u16(1) + lp(b"\xff"))),
        ("too many members", 1, chain.sign(ALICE, kind.ADD, 1, members=crowd(257 - len(first.members))).encoded),
    ]
    return [refused_operation(chain, *one) for one in wrong]


def refused_operation(chain: Chain, name: str, after: int, operation: bytes) -> Case:
    error = error_of(lambda: attempt(chain, after, operation))
    return {"name": name, "case": "operation_refused", "after": after, "operation": operation.hex(), "error": error}


def crowd(count: int) -> tuple[Member, ...]:
    """So many members, whose keys nobody asks for; short, for the file is to stay small."""
    return tuple(Member(f"u{number:03}", bytes(32)) for number in range(count))


def attempt(chain: Chain, after: int, encoded: bytes) -> None:
    operation = Operation.parse(encoded)
    if after:
        chain.states[after - 1].apply(operation, RESOLVE)
    else:
        GroupState.create(operation, RESOLVE)


def error_of(work: Callable[[], object]) -> str:
    try:
        work()
    except E2EEError as error:
        return error.code
    raise AssertionError("nothing was refused")


class Recorder:
    """Draws, and remembers what was drawn since it was last asked."""

    def __init__(self, label: str) -> None:
        self._draw = counted_random(label)
        self._drawn = b""

    def __call__(self, length: int) -> bytes:
        drawn = self._draw(length)
        self._drawn += drawn
        return drawn

    def taken(self) -> str:
        drawn, self._drawn = self._drawn, b""
        return drawn.hex()


class Sender:
    """One device that sends, and the steps it took."""

    def __init__(self, chain: Chain, own: Party, after: int, label: str) -> None:
        self.group = chain.group(own, after)
        self.own, self.after, self.chain = own, after, chain
        self.random = Recorder(label)
        self.steps: list[Case] = []

    def apply(self, number: int) -> None:
        operation = self.chain.operations[number]
        self.group.apply(operation.encoded, RESOLVE)
        self.steps.append({"do": "apply", "operation": operation.encoded.hex()})

    def prepare(self, *parties: Party, now: int = NOW) -> bytes:
        deliveries = self.group.prepare_send([party.certificate for party in parties], now=now, random=self.random)
        key = content.encode(deliveries[0][2]) if deliveries else b""
        to = sorted([user, device] for user, device, _ in deliveries)
        asked = [list(party.address) for party in parties]
        step = {"do": "prepare", "devices": asked, "now": now, "random": self.random.taken(), "to": to, "content": key.hex()}
        self.steps += [{**step, "withheld": sorted(self.group.withheld)}, {"do": "mark"}]
        self.group.mark_distributed(deliveries)
        return key

    def encrypt(self, data: bytes, *, now: int = NOW) -> bytes:
        message = self.group.encrypt(data, now=now, random=self.random)
        step = {"do": "encrypt", "content": data.hex(), "now": now, "random": self.random.taken(), "message": message.hex()}
        self.steps.append(step)
        return message

    def refused(self, *, now: int = NOW) -> None:
        error = error_of(lambda: self.group.encrypt(b"", now=now))
        self.steps.append({"do": "encrypt", "content": "", "now": now, "error": error})

    def case(self, name: str) -> Case:
        return {"name": name, "case": "send", "own": list(self.own.address), "after": self.after, "steps": self.steps}


class Receiver:
    """One device that reads, and the steps it took."""

    def __init__(self, chain: Chain, own: Party, after: int) -> None:
        self.group = chain.group(own, after)
        self.own, self.after, self.chain = own, after, chain
        self.steps: list[Case] = []

    def apply(self, number: int) -> None:
        operation = self.chain.operations[number]
        self.group.apply(operation.encoded, RESOLVE)
        self.steps.append({"do": "apply", "operation": operation.encoded.hex()})

    def receive_key(self, sender: Party, key: bytes) -> None:
        parsed = content.parse(key)
        assert isinstance(parsed, SenderKeyDistribution)
        self._step({"do": "receive_key", "from": list(sender.address), "content": key.hex()}, lambda: self._take(sender, parsed))

    def _take(self, sender: Party, key: SenderKeyDistribution) -> bytes:
        self.group.receive_key(*sender.address, key)
        return b""

    def read(self, sender: Party, message: bytes, *, now: int = NOW) -> None:
        step = {"do": "read", "from": list(sender.address), "message": message.hex(), "now": now}
        self._step(step, lambda: self.group.decrypt(*sender.address, message, now=now))

    def _step(self, step: Case, work: Callable[[], bytes]) -> None:
        try:
            result = work()
        except E2EEError as error:
            self.steps.append({**step, "error": error.code})
        else:
            self.steps.append({**step, "result": result.hex()} if step["do"] == "read" else step)

    def case(self, name: str) -> Case:
        return {"name": name, "case": "read", "own": list(self.own.address), "after": self.after, "steps": self.steps}


def flipped(message: bytes, position: int) -> bytes:
    return message[:position] + bytes([message[position] ^ 1]) + message[position + 1 :]


def in_order_and_not(chain: Chain) -> list[Case]:
    sender = Sender(chain, ALICE, 2, "order")
    sender.refused()
    key = sender.prepare(ALICE, ALICE_2, BOB, CAROL, ZAID)
    texts = [b"", b"one", "السلام عليكم".encode(), bytes(63), bytes(64), b"x" * 1023, b"x" * 1024]
    messages = [sender.encrypt(text) for text in texts]
    late_key = sender.prepare(ALICE, ALICE_2, BOB, CAROL, ZAID, DAVE)
    messages.append(sender.encrypt(b"after somebody joined"))
    reader = Receiver(chain, BOB, 2)
    reader.read(ALICE, messages[0])
    reader.receive_key(ALICE, key)
    for number in (0, 4, 2, 2, 1, 4, 7, 3, 0, 6, 5):
        reader.read(ALICE, messages[number])
    reader.receive_key(ALICE, key)
    reader.read(ALICE, messages[1])
    joined = Receiver(chain, DAVE, 2)
    joined.receive_key(ALICE, late_key)
    joined.read(ALICE, messages[6])
    joined.read(ALICE, messages[7])
    return [sender.case("a new key, and one given at its present iteration"), reader.case("out of order"), joined.case("no past")]


def tampering(chain: Chain) -> list[Case]:
    sender = Sender(chain, CAROL, 2, "tampering")
    key = sender.prepare(CAROL, BOB, DAVE)
    message = sender.encrypt(b"whole")
    reader = Receiver(chain, BOB, 2)
    reader.receive_key(CAROL, key)
    positions = (0, 1, 2, 3, 4, 20, 24, 32, 36, 48, len(message) - 80, len(message) - 64, len(message) - 1)
    for position in positions:
        reader.read(CAROL, flipped(message, position))
    reader.read(CAROL, message + b"\x00")
    reader.read(CAROL, message[:100])
    reader.read(MALLORY, message)
    # Another member passes the key on as its own, and claims the message.
    reader.receive_key(DAVE, key)
    reader.read(DAVE, message)
    reader.receive_key(MALLORY, key)
    other_group = bytes([key[0]]) + bytes(16) + key[17:]
    reader.receive_key(CAROL, other_group)
    small_order = key[:-32] + b"\x01" + bytes(31)
    reader.receive_key(ZAID, small_order)
    reader.receive_key(ZAID, key[:29] + u32(2**31) + key[33:])
    reader.read(CAROL, message)
    return [sender.case("one message"), reader.case("tampering and claiming")]


def crafted(chain: Chain) -> Case:
    """Messages that only a hostile or broken owner of a key makes."""
    state = chain.states[1]
    draw = counted_random("crafted")
    sending = SendingKey.make(random=draw, now=NOW)
    key = SenderKeyDistribution(
        group_id=GROUP_ID,
        epoch=1,
        key_id=sending.key_id,
        iteration=0,
        chain_key=sending.chain_key,
        signing_public=sending.public,
    )
    binding = state.hashes[-1] + lp(b"carol") + u32(1)

    def craft(padded: bytes, *, epoch: int = 1, bound: bytes = binding) -> bytes:
        return sending.encrypt(padded, group_id=GROUP_ID, epoch=epoch, binding=bound, random=draw)

    first = craft(pad(b"first"))
    bad_padding = craft(bytes(64))
    split_view = craft(pad(b"split"), bound=sha256(PREFIX) + binding[32:])
    ahead = craft(pad(b"ahead"), epoch=2)
    messages = [craft(pad(b"many")) for _ in range(2000 - 4)]
    reader = Receiver(chain, BOB, 2)
    reader.receive_key(CAROL, content.encode(key))
    for message in (first, bad_padding, split_view, ahead, messages[998], messages[997], messages[0], split_view):
        reader.read(CAROL, message)
    week = 7 * 86_400
    reader.read(CAROL, messages[1], now=NOW + week - 1)
    reader.read(CAROL, messages[2], now=NOW + week)
    reader.read(CAROL, messages[999], now=NOW + week)
    return reader.case("bad padding, another state, too many skipped, too old")


def rotation(chain: Chain) -> list[Case]:
    wide, emoji = make_party(WIDE), make_party(EMOJI)
    everybody = (ALICE, ALICE_2, BOB, CAROL, ZAID, DAVE, wide, emoji)
    sender = Sender(chain, CAROL, 3, "rotation")
    key_3 = sender.prepare(*everybody)
    before = sender.encrypt(b"before the removal")
    under_way = sender.encrypt(b"under way")
    sender.apply(3)
    sender.refused()
    key_4 = sender.prepare(*everybody)
    after = sender.encrypt(b"after the removal")
    sender.apply(4)
    sender.refused()
    sender.prepare(*everybody)
    key_5 = sender.prepare(ALICE, ALICE_2, BOB_AGAIN, ZAID, DAVE, CAROL)
    renewed = sender.encrypt(b"after the renewal")
    sender.apply(5)
    sender.refused()
    sender.prepare(ALICE, ALICE_2, BOB_AGAIN, ZAID, DAVE)
    without_device = sender.prepare(ALICE, BOB_AGAIN, ZAID, DAVE)
    sender.encrypt(b"without a device")
    assert without_device
    sender.refused(now=NOW + 7 * 86_400)
    sender.prepare(ALICE, BOB_AGAIN, ZAID, DAVE, now=NOW + 7 * 86_400)
    sender.encrypt(b"next week", now=NOW + 7 * 86_400)
    removed = Receiver(chain, emoji, 3)
    removed.receive_key(CAROL, key_3)
    removed.read(CAROL, before)
    removed.apply(3)
    removed.read(CAROL, under_way)
    removed.receive_key(CAROL, key_4)
    removed.read(CAROL, after)
    stayed = Receiver(chain, ZAID, 3)
    stayed.receive_key(CAROL, key_4)
    stayed.receive_key(CAROL, key_3)
    stayed.read(CAROL, after)
    stayed.apply(3)
    stayed.read(CAROL, after)
    stayed.read(CAROL, under_way)
    stayed.read(CAROL, before)
    stayed.apply(4)
    stayed.receive_key(CAROL, key_5)
    stayed.read(CAROL, renewed)
    left = Sender(chain, DAVE, 6, "leaving")
    left.prepare(ALICE, ZAID)
    left.encrypt(b"farewell")
    left.apply(6)
    left.refused()
    return [sender.case("rotation"), removed.case("a removed member"), stayed.case("one who stays"), left.case("leaving")]


def make() -> dict[str, Any]:
    chain = make_chain()
    devices = [
        {
            "user": party.address[0],
            "device": party.address[1],
            "account": party.certificate.account.hex(),
            "signing_seed": party.signing.secret.hex(),
            "signing": party.signing.public.hex(),
            "certificate": party.certificate.encoded.hex(),
        }
        for party in PARTIES
    ]
    whole = {"name": "a chain of every kind", "case": "chain", "group_id": GROUP_ID.hex(), "operations": chain.described}
    cases = [whole, *refused_operations(chain), *in_order_and_not(chain), *tampering(chain), crafted(chain), *rotation(chain)]
    note = (
        "Cases as in make_group.py; 'after' is how many operations of the first case's chain come before; "
        "'devices' is all that the resolver knows."
    )
    return {"profile": "salam-e2ee v1", "kind": "group", "note": note, "devices": devices, "cases": cases}


def dump() -> str:
    return json.dumps(make(), ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(dump())
