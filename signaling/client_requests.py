"""What a client can ask the server for, each as one method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

from salam.errors import ProtocolError
from signaling.messages import (
    Chat,
    Done,
    Join,
    Joined,
    Leave,
    Moderate,
    Mute,
    PublishAnswer,
    PublishedTrack,
    PublishOffer,
    RaiseHand,
    React,
    Reply,
    Request,
    RestartIce,
    SetLayer,
    SubscribeAnswer,
    Unwatch,
    Watch,
    Watching,
    Welcome,
)
from signaling.secure_messages import (
    Devices,
    FetchBundles,
    FetchDevices,
    KeyBundle,
    KeyBundles,
    KeysPublished,
    ParticipantDevice,
    PublishKeys,
    Purpose,
    RefusedSecure,
    SecureEnvelope,
    SecureSent,
    SendSecure,
    TakeSecure,
)

__all__ = ["ClientRequests", "checked"]

_ReplyT = TypeVar("_ReplyT", Welcome, Joined, PublishAnswer, Watching, KeysPublished, Devices, KeyBundles, SecureSent, Done)


class ClientRequests(ABC):
    """One method for each request; all raise what `request` raises."""

    @abstractmethod
    async def request(self, message: Request, *, timeout_s: float | None = None) -> Reply:
        """Send ``message`` with an id of its own and return the reply."""

    async def join(self, room: str, name: str) -> Joined:
        """Enter ``room``; it is entered again by itself when a lost session cannot be resumed."""
        return await self._ask(Join(id=0, room=room, name=name), Joined)

    async def leave(self) -> None:
        """Leave the room."""
        await self._ask(Leave(id=0), Done)

    async def publish_offer(self, sdp: str, tracks: list[PublishedTrack]) -> PublishAnswer:
        """Negotiate the publish connection."""
        return await self._ask(PublishOffer(id=0, sdp=sdp, tracks=tracks), PublishAnswer)

    async def subscribe_answer(self, revision: int, sdp: str) -> None:
        """Answer the `SubscribeOffer` of ``revision``."""
        await self._ask(SubscribeAnswer(id=0, revision=revision, sdp=sdp), Done)

    async def restart_ice(self) -> None:
        """Ask for a `SubscribeOffer` with new ICE credentials."""
        await self._ask(RestartIce(id=0), Done)

    async def set_layer(self, track_id: str, *, height: int = 720, rid: str = "") -> None:
        """Say how large a video is shown (device pixels), or which layer is wanted."""
        await self._ask(SetLayer(id=0, track_id=track_id, height=height, rid=rid), Done)

    async def mute(self, track_id: str, muted: bool = True) -> None:
        """Mute or unmute an own track."""
        await self._ask(Mute(id=0, track_id=track_id, muted=muted), Done)

    async def raise_hand(self, raised: bool = True) -> None:
        """Raise or lower the own hand."""
        await self._ask(RaiseHand(id=0, raised=raised), Done)

    async def chat(self, text: str, *, chat_id: str, stream: str = "") -> None:
        """Say a line to the room, or to ``stream``. A retry with the same ``chat_id`` is not shown twice."""
        await self._ask(Chat(id=0, chat_id=chat_id, text=text, stream=stream), Done)

    async def publish_keys(self, message: PublishKeys) -> KeysPublished:
        """Put the own device's keys on offer, or more of them; what waits for it is sent again."""
        return await self._ask(message, KeysPublished)

    async def fetch_devices(self, participant_ids: list[str]) -> list[ParticipantDevice]:
        """Ask for the devices of up to 16 participants; those without keys are left out."""
        return (await self._ask(FetchDevices(id=0, participant_ids=participant_ids), Devices)).devices

    async def fetch_bundles(self, participant_ids: list[str]) -> list[KeyBundle]:
        """Ask for what begins a session with the devices of up to 16 participants; those without keys are left out."""
        return (await self._ask(FetchBundles(id=0, participant_ids=participant_ids), KeyBundles)).bundles

    async def send_secure(self, messages: list[SecureEnvelope], *, purpose: Purpose = "chat") -> list[RefusedSecure]:
        """Send up to 64 encrypted messages; return those that were not taken."""
        return (await self._ask(SendSecure(id=0, messages=messages, purpose=purpose), SecureSent)).refused

    async def take_secure(self, number: int) -> None:
        """Acknowledge every `SecureMessage` up to ``number``: what is not acknowledged comes again after a lost connection."""
        await self._ask(TakeSecure(id=0, number=number), Done)

    async def moderate(self, message: Moderate) -> None:
        """Mute, lower a hand or remove, as a moderator."""
        await self._ask(message, Done)

    async def watch(self, stream: str, name: str = "") -> Watching:
        """Follow a livestream; it is followed again by itself when a lost session cannot be resumed."""
        return await self._ask(Watch(id=0, stream=stream, name=name), Watching)

    async def unwatch(self, stream: str) -> None:
        """Stop following a livestream."""
        await self._ask(Unwatch(id=0, stream=stream), Done)

    async def react(self, stream: str, emoji: str) -> None:
        """Send a reaction to a livestream."""
        await self._ask(React(id=0, stream=stream, emoji=emoji), Done)

    async def _ask(self, message: Request, kind: type[_ReplyT]) -> _ReplyT:
        return checked(await self.request(message), kind)


def checked(reply: Reply, kind: type[_ReplyT]) -> _ReplyT:
    """Return ``reply``. Raises ProtocolError when it is not of the ``kind`` that was asked for."""
    if not isinstance(reply, kind):
        raise ProtocolError(f"the server answered with {type(reply).__name__} instead of {kind.__name__}")
    return reply
