"""The messages that carry end-to-end encryption: keys of devices, and what devices say to each other.

To the server all of it is opaque bytes (base64 in JSON): it checks sizes and keeps who may have what. What the bytes are is said in
the profile of end-to-end encryption.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from signaling.message_types import Message, RequestId, ShortId

__all__ = [
    "Devices",
    "FetchBundles",
    "FetchDevices",
    "KeyBundle",
    "KeyBundles",
    "KeysLow",
    "KeysPublished",
    "ParticipantDevice",
    "PublishKeys",
    "RefusedSecure",
    "SecureEnvelope",
    "SecureMessage",
    "SecureSent",
    "SendSecure",
    "TakeSecure",
]

DeviceId = Annotated[int, Meta(ge=1, le=4_294_967_295)]
# The longest of the profile are 503 bytes (certificate), 1,556 (list of 32 devices), 108, 36 and 1,260 (prekeys); the bounds leave
# a later version some room.
Certificate = Annotated[bytes, Meta(max_length=1_024)]
DeviceListBytes = Annotated[bytes, Meta(max_length=4_096)]
SignedPreKeyBytes = Annotated[bytes, Meta(max_length=256)]
OneTimePreKeyBytes = Annotated[bytes, Meta(min_length=1, max_length=64)]
KemPreKeyBytes = Annotated[bytes, Meta(max_length=2_048)]
# A plaintext of 65,536 bytes in its bucket, with the longest head before it, has some 74,000.
SecureBytes = Annotated[bytes, Meta(min_length=1, max_length=81_920)]
# 16 devices of 32 certificates each, or 16 bundles, stay far below the largest frame.
ParticipantIds = Annotated[list[ShortId], Meta(min_length=1, max_length=16)]
Purpose = Literal["chat", "keys"]
RefusedReason = Literal["gone", "device", "full"]


# ------------------------------------------------------------------------------------------------- parts of messages


class ParticipantDevice(Struct, omit_defaults=True, kw_only=True):
    """The device with which a participant is in the room, and what devices their account has."""

    participant_id: str
    user_id: str
    """Who the participant is to the server; the certificates must be for the same user."""
    device_id: int
    revision: int
    """The ``keys_revision`` of the participant that this belongs to."""
    device_list: bytes
    certificates: list[bytes]
    """The first is that of the device itself."""


class KeyBundle(Struct, omit_defaults=True, kw_only=True):
    """What is needed to begin a session with a participant's device."""

    participant_id: str
    device_id: int
    certificate: bytes
    signed_prekey: bytes
    one_time_prekey: bytes = b""
    """Empty when none is left, or the same requester was given one within the last hour."""
    kem_prekey: bytes = b""
    kem_once: bool = False
    """True when ``kem_prekey`` is for this one session, false for the one of last resort."""


class SecureEnvelope(Struct, omit_defaults=True, kw_only=True):
    """One encrypted message and the device that it is for."""

    participant_id: ShortId
    device_id: DeviceId
    message: SecureBytes


class RefusedSecure(Struct, omit_defaults=True, kw_only=True):
    """A message that was not taken. ``gone``: the participant is not in the room. ``device``: they have another device, or no keys.

    ``full``: too much waits for them already; try again later.
    """

    participant_id: str
    device_id: int
    reason: RefusedReason


# ------------------------------------------------------------------------------------------------- requests


class PublishKeys(Message, tag="publish_keys"):
    """Give the keys of the own device, or more of them; answered by `KeysPublished`.

    The first one in a room must have a certificate, a device list and a signed prekey; later ones may leave out what stays as it
    is. A new certificate or device id takes the place of all that was there. One-time prekeys are added to those on offer, as many
    as there is room for. What waits for this device is sent again, from the first message that was not acknowledged.
    """

    id: RequestId
    device_id: DeviceId
    certificate: Certificate = b""
    device_list: DeviceListBytes = b""
    other_certificates: Annotated[list[Certificate], Meta(max_length=31)] = msgspec.field(default_factory=list)
    """Those of the other devices on the list; they come with a ``device_list``."""
    signed_prekey: SignedPreKeyBytes = b""
    kem_prekey: KemPreKeyBytes = b""
    """The KEM prekey of last resort."""
    one_time_prekeys: Annotated[list[OneTimePreKeyBytes], Meta(max_length=100)] = msgspec.field(default_factory=list)
    kem_one_time_prekeys: Annotated[list[KemPreKeyBytes], Meta(max_length=20)] = msgspec.field(default_factory=list)


class FetchDevices(Message, tag="fetch_devices"):
    """Ask for the devices of participants; answered by `Devices`."""

    id: RequestId
    participant_ids: ParticipantIds


class FetchBundles(Message, tag="fetch_bundles"):
    """Ask for what begins a session with participants' devices; answered by `KeyBundles`. One-time prekeys are handed out once."""

    id: RequestId
    participant_ids: ParticipantIds


class SendSecure(Message, tag="send_secure"):
    """Send encrypted messages to devices of participants; answered by `SecureSent`.

    ``purpose`` is told to the receivers, who drop text that does not come as ``chat``: for that the right to chat is needed, and
    the rate of chat holds. As many lines are counted as one receiver gets messages.
    """

    id: RequestId
    messages: Annotated[list[SecureEnvelope], Meta(min_length=1, max_length=256)]
    purpose: Purpose = "chat"


class TakeSecure(Message, tag="take_secure"):
    """Acknowledge every `SecureMessage` up to ``number``, which the server then forgets; answered by `Done`."""

    id: RequestId
    number: RequestId


# ------------------------------------------------------------------------------------------------- replies


class KeysPublished(Message, tag="keys_published"):
    """The keys are on offer."""

    re: int
    revision: int
    one_time_left: int = 0
    kem_one_time_left: int = 0


class Devices(Message, tag="devices"):
    """The devices of those who were asked for, are in the room and have published keys."""

    re: int
    devices: list[ParticipantDevice] = msgspec.field(default_factory=list)


class KeyBundles(Message, tag="key_bundles"):
    """One bundle for each who was asked for, is in the room and has published keys."""

    re: int
    bundles: list[KeyBundle] = msgspec.field(default_factory=list)


class SecureSent(Message, tag="secure_sent"):
    """Everything was taken that is not in ``refused``."""

    re: int
    refused: list[RefusedSecure] = msgspec.field(default_factory=list)


# ------------------------------------------------------------------------------------------------- events


class SecureMessage(Message, tag="secure_message"):
    """An encrypted message for the own device. It is sent again after a lost connection until `TakeSecure` names its number."""

    number: int
    """Rises by one with each message to this participant."""
    participant_id: str
    """The sender, who may have left meanwhile."""
    user_id: str
    device_id: int
    message: bytes
    purpose: Purpose = "chat"


class KeysLow(Message, tag="keys_low"):
    """Few one-time prekeys are left: publish more."""

    one_time_left: int
    kem_one_time_left: int
