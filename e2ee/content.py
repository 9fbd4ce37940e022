"""What a session carries once it is decrypted: the kinds of content (the profile's section 6)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from e2ee.encoding import Reader, fixed, lp, u8, u16, u32
from e2ee.errors import MalformedMessage
from e2ee.primitives import KEY_BYTES

__all__ = [
    "CALL_ID_BYTES",
    "GROUP_ID_BYTES",
    "KEY_ID_BYTES",
    "MAX_CALL_STEP",
    "ApplicationContent",
    "CallKey",
    "CallKeyAck",
    "Content",
    "ContentKind",
    "GroupOperations",
    "Reset",
    "SenderKeyDistribution",
    "encode",
    "parse",
]

GROUP_ID_BYTES = 16
CALL_ID_BYTES = 16
KEY_ID_BYTES = 8
# Four bits of the SFrame key id hold the step (the profile's section 11).
MAX_CALL_STEP = 15
# SFrame's ratchet (RFC 9605 section 5.1) gives as many bytes as its hash, SHA-512, has.
_RATCHETED_KEY_BYTES = 64


class ContentKind(IntEnum):
    """The first byte of content."""

    APPLICATION = 0
    SENDER_KEY = 1
    GROUP_OPERATIONS = 2
    CALL_KEY = 3
    RESET = 4
    CALL_KEY_ACK = 5


@dataclass(frozen=True, slots=True)
class ApplicationContent:
    """Whatever the application says to its other side."""

    data: bytes = field(repr=False)

    kind = ContentKind.APPLICATION

    def body(self) -> bytes:
        return self.data

    @staticmethod
    def read(reader: Reader) -> ApplicationContent:
        return ApplicationContent(reader.rest())


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderKeyDistribution:
    """A device's sender key for a group, at the iteration from which the receiver may read."""

    group_id: bytes
    epoch: int
    key_id: bytes
    iteration: int
    chain_key: bytes = field(repr=False)
    signing_public: bytes

    kind = ContentKind.SENDER_KEY

    def body(self) -> bytes:
        place = fixed(self.group_id, GROUP_ID_BYTES) + u32(self.epoch) + fixed(self.key_id, KEY_ID_BYTES) + u32(self.iteration)
        return place + fixed(self.chain_key, KEY_BYTES) + fixed(self.signing_public, KEY_BYTES)

    @staticmethod
    def read(reader: Reader) -> SenderKeyDistribution:
        return SenderKeyDistribution(
            group_id=reader.take(GROUP_ID_BYTES),
            epoch=reader.u32(),
            key_id=reader.take(KEY_ID_BYTES),
            iteration=reader.u32(),
            chain_key=reader.take(KEY_BYTES),
            signing_public=reader.take(KEY_BYTES),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOperations:
    """A group's chain of signed operations, for somebody who joins."""

    group_id: bytes
    operations: tuple[bytes, ...]

    kind = ContentKind.GROUP_OPERATIONS

    def body(self) -> bytes:
        return fixed(self.group_id, GROUP_ID_BYTES) + u16(len(self.operations)) + b"".join(map(lp, self.operations))

    @staticmethod
    def read(reader: Reader) -> GroupOperations:
        return GroupOperations(group_id=reader.take(GROUP_ID_BYTES), operations=tuple(reader.lp() for _ in range(reader.u16())))


@dataclass(frozen=True, slots=True, kw_only=True)
class CallKey:
    """The sender's media key of one call: 32 bytes as it was drawn (step 0), 64 once it was ratcheted."""

    call_id: bytes
    generation: int
    step: int
    base_key: bytes = field(repr=False)

    kind = ContentKind.CALL_KEY

    def body(self) -> bytes:
        place = fixed(self.call_id, CALL_ID_BYTES) + u32(self.generation) + u8(self.step)
        return place + lp(fixed(self.base_key, _base_key_bytes(self.step)))

    @staticmethod
    def read(reader: Reader) -> CallKey:
        call_id, generation, step = reader.take(CALL_ID_BYTES), reader.u32(), reader.u8()
        return CallKey(call_id=call_id, generation=generation, step=step, base_key=fixed(reader.lp(), _base_key_bytes(step)))


def _base_key_bytes(step: int) -> int:
    if step > MAX_CALL_STEP:
        raise MalformedMessage(f"a call key has step {step}; it must be 0 to {MAX_CALL_STEP}")
    return _RATCHETED_KEY_BYTES if step else KEY_BYTES


@dataclass(frozen=True, slots=True)
class Reset:
    """The sender lost its state: this session is the one to use."""

    kind = ContentKind.RESET

    def body(self) -> bytes:
        return b""

    @staticmethod
    def read(reader: Reader) -> Reset:
        return Reset()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallKeyAck:
    """The sender holds the receiver's media key of this generation."""

    call_id: bytes
    generation: int

    kind = ContentKind.CALL_KEY_ACK

    def body(self) -> bytes:
        return fixed(self.call_id, CALL_ID_BYTES) + u32(self.generation)

    @staticmethod
    def read(reader: Reader) -> CallKeyAck:
        return CallKeyAck(call_id=reader.take(CALL_ID_BYTES), generation=reader.u32())


Content = ApplicationContent | SenderKeyDistribution | GroupOperations | CallKey | Reset | CallKeyAck

_KINDS: dict[int, type[Content]] = {
    cls.kind: cls for cls in (ApplicationContent, SenderKeyDistribution, GroupOperations, CallKey, Reset, CallKeyAck)
}


def encode(content: Content) -> bytes:
    """The bytes that `Session.encrypt` takes; `MalformedMessage` for a field of the wrong length."""
    return u8(content.kind) + content.body()


def parse(data: bytes) -> Content:
    """What `encode` was given; `MalformedMessage` for an unknown kind or another layout."""
    reader = Reader(data)
    kind = reader.u8()
    if kind not in _KINDS:
        raise MalformedMessage(f"content of the unknown kind {kind}")
    content = _KINDS[kind].read(reader)
    reader.done()
    return content
