"""A Python participant that reads and writes the encrypted chat of a room: a signaling client and a device."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any, Self

from e2ee import ApplicationContent, Device
from e2ee.certificates import DeviceCertificate
from e2ee.prekeys import Bundle, KemPreKey, OneTimePreKey, SignedPreKey
from e2ee.store.memory import MemoryStore
from signaling import SignalingClient
from signaling.secure_messages import KeyBundle, PublishKeys, SecureEnvelope, SecureMessage

__all__ = ["SecureRobot"]


def whole_bundle(shown: KeyBundle) -> bytes:
    """The bundle of the profile, from its parts."""
    certificate = DeviceCertificate.parse(shown.certificate)
    signed = SignedPreKey.parse(shown.signed_prekey)
    one_time = OneTimePreKey.parse(shown.one_time_prekey) if shown.one_time_prekey else None
    kem = KemPreKey.parse(shown.kem_prekey) if shown.kem_prekey else None
    return Bundle(certificate, signed, one_time, kem, shown.kem_once).encode()


class SecureRobot:
    """Enter with ``async with``; it is in the room then, and its keys are on offer."""

    def __init__(self, url: str, room: str, name: str) -> None:
        self._client = SignalingClient(url, client="secure-robot")
        self._room = room
        self._name = name
        self._device: Device | None = None
        self._heard: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue(maxsize=100)
        self._reader: asyncio.Task[None] | None = None
        self.participant_id = ""

    async def __aenter__(self) -> Self:
        client = await self._client.__aenter__()
        assert client.welcome is not None
        self._device = device = await Device.create(MemoryStore(), client.welcome.user_id)
        self.participant_id = (await client.join(self._room, self._name)).participant_id
        self._reader = asyncio.create_task(self._read(device))
        shown = await device.publish()
        prekeys = shown.prekeys
        assert shown.device_list is not None
        assert prekeys.signed is not None
        assert prekeys.kem_last is not None
        await client.publish_keys(
            PublishKeys(
                id=0,
                device_id=device.device_id,
                certificate=shown.certificate.encoded,
                device_list=shown.device_list.encoded,
                signed_prekey=prekeys.signed.encode(),
                kem_prekey=prekeys.kem_last.encode(),
                one_time_prekeys=[each.encode() for each in prekeys.one_time],
                kem_one_time_prekeys=[each.encode() for each in prekeys.kem_once],
            )
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait({self._reader})
        await self._client.__aexit__(kind, error, trace)

    async def heard(self, timeout_s: float = 60.0) -> tuple[str, dict[str, Any]]:
        """The next line: its sender's participant id and what it says. The timeout bounds a hang."""
        return await asyncio.wait_for(self._heard.get(), timeout_s)

    async def say(self, text: str, to: str) -> None:
        """Say a line to one participant."""
        user_id = await self._learn(to)
        device = self._device
        assert device is not None
        if await device.needs_bundles(user_id):
            (bundle,) = await self._client.fetch_bundles([to])
            await device.start(whole_bundle(bundle))
        said = {"v": 1, "type": "chat", "id": f"r{text}", "room": self._room, "to": "all", "text": text}
        for sent in await device.encrypt(user_id, json.dumps(said).encode()):
            envelope = SecureEnvelope(participant_id=to, device_id=sent.device_id, message=sent.message)
            assert await self._client.send_secure([envelope]) == []

    async def _learn(self, participant_id: str) -> str:
        assert self._device is not None
        (shown,) = await self._client.fetch_devices([participant_id])
        await self._device.learn(shown.user_id, shown.device_list, shown.certificates)
        return shown.user_id

    async def _read(self, device: Device) -> None:
        async for event in self._client.events():
            if not isinstance(event, SecureMessage):
                continue
            await self._learn(event.participant_id)
            received = await device.decrypt(event.user_id, event.device_id, event.message)
            await self._client.take_secure(event.number)
            if isinstance(received.content, ApplicationContent):
                await self._heard.put((event.participant_id, json.loads(received.content.data)))
