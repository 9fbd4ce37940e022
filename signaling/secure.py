"""End-to-end encryption as the server sees it: who published which keys, and what waits for whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from salam.errors import RequestError
from signaling.effects import ReplyTo
from signaling.limits import Limits, Rate, too_fast
from signaling.messages import Done
from signaling.room import Participant
from signaling.seats import Seats
from signaling.secure_messages import (
    Devices,
    FetchBundles,
    FetchDevices,
    KeyBundles,
    KeysLow,
    KeysPublished,
    PublishKeys,
    RefusedReason,
    RefusedSecure,
    SecureEnvelope,
    SecureSent,
    SendSecure,
    TakeSecure,
)
from signaling.session import Session, Sessions

__all__ = ["Secure"]


class Secure:
    """Keys and encrypted messages of seated participants. Methods that take a request raise SalamError when it is refused."""

    def __init__(self, sessions: Sessions, seats: Seats, limits: Limits, *, on_drop: Callable[[str], None]) -> None:
        self._sessions = sessions
        self._seats = seats
        self._limits = limits
        self._on_drop = on_drop

    # ------------------------------------------------------------------------------------------- keys

    def publish(self, session: Session, message: PublishKeys, reply_to: ReplyTo) -> None:
        """Put keys on offer; others look again when the device or its list is another one now."""
        participant = self._seats.of(session)
        shelf = participant.shelf
        revision = shelf.revision
        if shelf.publish(message):
            participant.mailbox.clear()
        self._sessions.reply(
            reply_to,
            KeysPublished(
                re=reply_to.request_id,
                revision=shelf.revision,
                one_time_left=shelf.one_time_left,
                kem_one_time_left=shelf.kem_one_time_left,
            ),
        )
        if shelf.revision != revision:
            self._seats.tell_update(participant)
        # A page that was loaded again missed what was sent to the one before.
        self.send_again(participant)

    def devices(self, session: Session, message: FetchDevices, reply_to: ReplyTo) -> None:
        """Tell the devices of participants."""
        found = [
            other.shelf.device(other.participant_id, other.session.grants.identity)
            for other in self._with_keys(session, message.participant_ids)
        ]
        self._sessions.reply(reply_to, Devices(re=reply_to.request_id, devices=found))

    def bundles(self, session: Session, message: FetchBundles, reply_to: ReplyTo, now: float) -> None:
        """Hand out one bundle for each participant; those who run low are told."""
        asked = self._with_keys(session, message.participant_ids)
        bundles = [other.shelf.bundle(other.participant_id, session.grants.identity, now) for other in asked]
        self._sessions.reply(reply_to, KeyBundles(re=reply_to.request_id, bundles=bundles))
        for other in asked:
            self._tell_low(other)

    def _with_keys(self, session: Session, participant_ids: list[str]) -> list[Participant]:
        room = self._seats.of(session).room
        wanted = [room.participants.get(participant_id) for participant_id in dict.fromkeys(participant_ids)]
        return [other for other in wanted if other is not None and other.seated and other.shelf.revision]

    def _tell_low(self, participant: Participant) -> None:
        shelf = participant.shelf
        if shelf.low:
            low = KeysLow(one_time_left=shelf.one_time_left, kem_one_time_left=shelf.kem_one_time_left)
            self._sessions.send(participant.session, low)

    # ------------------------------------------------------------------------------------------- messages

    def send(self, session: Session, message: SendSecure, reply_to: ReplyTo, now: float) -> None:
        """Put messages into the mailboxes of their receivers."""
        sender = self._seats.of(session)
        if message.purpose == "chat":
            session.grants.require_chat()
            lines = max(Counter(envelope.participant_id for envelope in message.messages).values())
            self._require(session.chat.take(now, lines), "lines of chat", self._limits.chat)
        if not sender.shelf.revision:
            raise RequestError("publish the keys of your own device first", code="no_keys")
        self._require(session.secure.take(now, len(message.messages)), "encrypted messages", self._limits.secure)
        refused = [
            RefusedSecure(participant_id=envelope.participant_id, device_id=envelope.device_id, reason=reason)
            for envelope in message.messages
            if (reason := self._deliver(sender, message, envelope)) is not None
        ]
        self._sessions.reply(reply_to, SecureSent(re=reply_to.request_id, refused=refused))

    def _require(self, allowed: bool, what: str, rate: Rate) -> None:
        if not allowed:
            self._on_drop("rate_limited")
            raise too_fast(what, rate)

    def _deliver(self, sender: Participant, message: SendSecure, envelope: SecureEnvelope) -> RefusedReason | None:
        receiver = sender.room.participants.get(envelope.participant_id)
        if receiver is None or not receiver.seated:
            return "gone"
        if receiver.shelf.device_id != envelope.device_id:
            return "device"
        identity = sender.session.grants.identity
        if not receiver.mailbox.put(sender.participant_id, identity, sender.shelf.device_id, message.purpose, envelope.message):
            self._on_drop("secure_full")
            return "full"
        self._pump(receiver)
        return None

    def take(self, session: Session, message: TakeSecure, reply_to: ReplyTo) -> None:
        """Forget what was acknowledged and send what waited for that."""
        participant = self._seats.of(session)
        participant.mailbox.take(message.number)
        self._sessions.reply(reply_to, Done(re=reply_to.request_id))
        self._pump(participant)

    def session_resumed(self, session: Session) -> None:
        """Another connection carries ``session``: what was on its way on the old one may be lost."""
        participant = self._seats.seated(session)
        if participant is not None:
            self.send_again(participant)
            if participant.shelf.revision:
                self._tell_low(participant)

    def send_again(self, participant: Participant) -> None:
        """Send what was not acknowledged once more, from the first on."""
        participant.mailbox.rewind()
        self._pump(participant)

    def _pump(self, receiver: Participant) -> None:
        if receiver.session.connection_id is not None:
            for waiting in receiver.mailbox.to_send():
                self._sessions.send(receiver.session, waiting)

    # ------------------------------------------------------------------------------------------- figures

    def with_keys(self) -> int:
        """Return how many participants have published keys."""
        return sum(participant.shelf.revision > 0 for room in self._seats.rooms.values() for participant in room.seated())

    def waiting(self) -> int:
        """Return how many messages wait to be acknowledged."""
        return sum(len(participant.mailbox) for room in self._seats.rooms.values() for participant in room.seated())
