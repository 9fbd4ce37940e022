"""The public keys that one participant's device left for others, and which of them are still on offer."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from salam.errors import RequestError
from signaling.limits import Limits
from signaling.secure_messages import KeyBundle, ParticipantDevice, PublishKeys

__all__ = ["KeyShelf"]


@dataclass(slots=True, eq=False)
class KeyShelf:
    """Keys of one device. Everything is opaque; ``revision`` rises when others have to look again."""

    limits: Limits
    device_id: int = 0
    revision: int = 0
    certificate: bytes = b""
    device_list: bytes = b""
    other_certificates: tuple[bytes, ...] = ()
    _signed_prekey: bytes = b""
    _kem_prekey: bytes = b""
    _one_time: deque[bytes] = field(default_factory=deque)
    _kem_one_time: deque[bytes] = field(default_factory=deque)
    # When (monotonic seconds) whoever was given one-time keys may be given some again, by identity, soonest first.
    _served: OrderedDict[str, float] = field(default_factory=OrderedDict)

    @property
    def one_time_left(self) -> int:
        """How many one-time prekeys are on offer."""
        return len(self._one_time)

    @property
    def kem_one_time_left(self) -> int:
        """How many one-time KEM prekeys are on offer."""
        return len(self._kem_one_time)

    @property
    def low(self) -> bool:
        """Whether the device should publish more; one without KEM prekeys is not asked for them."""
        few_kem = bool(self._kem_prekey) and len(self._kem_one_time) < self.limits.kem_one_time_prekeys_low
        return len(self._one_time) < self.limits.one_time_prekeys_low or few_kem

    def publish(self, message: PublishKeys) -> bool:
        """Take what ``message`` gives; return whether it is another device than before, for which nothing that waits is meant.

        Raises RequestError (``incomplete_keys``) when a new device comes without all that it needs; nothing is changed then.
        """
        new_device = message.device_id != self.device_id or bool(message.certificate and message.certificate != self.certificate)
        if new_device and not (message.certificate and message.device_list and message.signed_prekey):
            raise RequestError("a device needs a certificate, a device list and a signed prekey", code="incomplete_keys")
        if message.other_certificates and not message.device_list:
            raise RequestError("certificates of other devices come with the device list that names them", code="incomplete_keys")
        if new_device:
            self.device_id, self.certificate, self._kem_prekey = message.device_id, message.certificate, b""
            self._one_time.clear()
            self._kem_one_time.clear()
        if new_device or (message.device_list and message.device_list != self.device_list):
            self.device_list, self.other_certificates = message.device_list, tuple(message.other_certificates)
            self.revision += 1
        self._signed_prekey = message.signed_prekey or self._signed_prekey
        self._kem_prekey = message.kem_prekey or self._kem_prekey
        self._one_time.extend(message.one_time_prekeys[: self.limits.one_time_prekeys - len(self._one_time)])
        self._kem_one_time.extend(message.kem_one_time_prekeys[: self.limits.kem_one_time_prekeys - len(self._kem_one_time)])
        return new_device

    def device(self, participant_id: str, user_id: str) -> ParticipantDevice:
        """Return the device as others are told of it."""
        return ParticipantDevice(
            participant_id=participant_id,
            user_id=user_id,
            device_id=self.device_id,
            revision=self.revision,
            device_list=self.device_list,
            certificates=[self.certificate, *self.other_certificates],
        )

    def bundle(self, participant_id: str, requester: str, now: float) -> KeyBundle:
        """Return what ``requester`` (an identity) needs to begin a session; one-time keys that it is given are gone."""
        generous = self._may_have_one_time(requester, now)
        kem_once = generous and bool(self._kem_one_time)
        return KeyBundle(
            participant_id=participant_id,
            device_id=self.device_id,
            certificate=self.certificate,
            signed_prekey=self._signed_prekey,
            one_time_prekey=self._one_time.popleft() if generous and self._one_time else b"",
            kem_prekey=self._kem_one_time.popleft() if kem_once else self._kem_prekey,
            kem_once=kem_once,
        )

    def _may_have_one_time(self, requester: str, now: float) -> bool:
        while self._served and next(iter(self._served.values())) <= now:
            self._served.popitem(last=False)
        # A full table gives no more one-time keys: whoever comes under many names cannot take them all.
        if requester in self._served or len(self._served) >= self.limits.bundle_requesters:
            return False
        self._served[requester] = now + self.limits.bundle_interval_s
        return True
