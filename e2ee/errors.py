"""What can go wrong in `e2ee`: one class and one stable code each (the profile's section 13).

The application is told what happened; the peer is told nothing, so that a failure is no oracle. No message holds key material, a
user id of somebody else's choosing, or which of several checks failed inside one step.
"""

from __future__ import annotations

from typing import ClassVar

from salam import ProtocolError, SalamError

__all__ = [
    "AttachmentCorrupt",
    "AttachmentTruncated",
    "BackupAuthFailed",
    "BadSignature",
    "CodecNotSupported",
    "CounterExhausted",
    "DecryptionFailed",
    "DeviceListRollback",
    "DowngradeRefused",
    "DuplicateMessage",
    "E2EEError",
    "FrameReplay",
    "GroupStateMismatch",
    "InvalidKey",
    "KdfParamsRefused",
    "LimitReached",
    "MalformedMessage",
    "NoSession",
    "NotAMember",
    "PreKeyReplay",
    "PreKeysExhausted",
    "StaleState",
    "TooManySkipped",
    "UnknownFrameKey",
    "UnknownPreKey",
    "UnknownSenderKey",
    "UnsupportedSuite",
    "UnsupportedVersion",
    "UntrustedIdentity",
]


class E2EEError(SalamError):
    """Base of every error of this package; ``code`` is stable and ``retryable`` says whether the same call may succeed later."""

    default_code = "e2ee_error"


class MalformedMessage(E2EEError, ProtocolError):
    """Bytes that are not a message of the profile: a wrong length, an unknown kind, bytes left over. All that a parser raises."""

    default_code = "malformed_message"


class UnsupportedVersion(MalformedMessage):
    """The version byte is not one that this release knows."""

    default_code = "unsupported_version"


class UnsupportedSuite(MalformedMessage):
    """The suite byte is not one that this release knows."""

    default_code = "unsupported_suite"


class DowngradeRefused(E2EEError):
    """A suite below the policy, or below what both sides can do: somebody may have taken the better one away."""

    default_code = "downgrade_refused"


class InvalidKey(E2EEError):
    """A public key of the wrong length, not canonical or of small order, or an agreement whose result is all zero."""

    default_code = "invalid_key"


class BadSignature(E2EEError):
    """A signature does not verify under the key that it should have been made with."""

    default_code = "bad_signature"


class UntrustedIdentity(E2EEError):
    """The key of a user or device is not the one that is trusted.

    ``old`` is the trusted public key or None where none is known, ``new`` the one that was met. For an account key a person
    decides: compare the safety number, then accept the new key.
    """

    default_code = "untrusted_identity"

    def __init__(self, message: str, *, old: bytes | None = None, new: bytes | None = None) -> None:
        super().__init__(message)
        self.old = old
        self.new = new


class DeviceListRollback(E2EEError):
    """A device list that is older than the known one, or another one under the same number."""

    default_code = "device_list_rollback"


class NoSession(E2EEError):
    """There is no session with that device; fetch its bundle first."""

    default_code = "no_session"
    default_retryable = True


class UnknownPreKey(E2EEError):
    """A first message names a prekey that this device never had, or has used or dropped."""

    default_code = "unknown_prekey"


class PreKeyReplay(E2EEError):
    """A first message that was accepted before, and whose session is gone."""

    default_code = "prekey_replay"


class PreKeysExhausted(E2EEError):
    """The policy wants a one-time prekey and the bundle has none."""

    default_code = "prekeys_exhausted"
    default_retryable = True


class DecryptionFailed(E2EEError):
    """No key of ours opens the message. Nothing was changed."""

    default_code = "decryption_failed"


class DuplicateMessage(E2EEError):
    """The message was read before, or is so old that its key is gone."""

    default_code = "duplicate_message"


class TooManySkipped(E2EEError):
    """Reading the message would skip or store more keys than the limits allow."""

    default_code = "too_many_skipped"


class CounterExhausted(E2EEError):
    """A chain has reached its last message; a reply from the other side, or a new session, starts another."""

    default_code = "counter_exhausted"


class StaleState(E2EEError):
    """Another writer changed the session meanwhile; nothing was written. Try again from what is stored now."""

    default_code = "stale_state"
    default_retryable = True


class GroupStateMismatch(E2EEError):
    """A group operation or message does not follow from the state that this device knows. Fetch what is missing."""

    default_code = "group_state_mismatch"
    default_retryable = True


class NotAMember(E2EEError):
    """The sender or signer, or this device, is no member of the group at that epoch."""

    default_code = "not_a_member"


class UnknownSenderKey(E2EEError):
    """A group message under a sender key that has not come yet. Keep it and try again when the key is there."""

    default_code = "unknown_sender_key"
    default_retryable = True


class AttachmentCorrupt(E2EEError):
    """A chunk does not open; ``chunk`` is its number, or None where the header or the digest is wrong."""

    default_code = "attachment_corrupt"

    def __init__(self, message: str, *, chunk: int | None = None) -> None:
        super().__init__(message)
        self.chunk = chunk


class AttachmentTruncated(E2EEError):
    """The stream ended before its last chunk. Fetch it again."""

    default_code = "attachment_truncated"
    default_retryable = True


class BackupAuthFailed(E2EEError):
    """The recovery code or passphrase is not that of this backup, or the backup was altered."""

    default_code = "backup_auth_failed"


class KdfParamsRefused(E2EEError):
    """The backup asks for a password hash that is too weak to be honest or too costly to be safe."""

    default_code = "kdf_params_refused"


class FrameReplay(E2EEError):
    """A media frame whose counter was seen, or is too far behind the newest."""

    default_code = "frame_replay"


class UnknownFrameKey(E2EEError):
    """A media frame under a key that has not come yet, or is no longer valid."""

    default_code = "unknown_frame_key"
    default_retryable = True


class CodecNotSupported(E2EEError):
    """Frames of this codec cannot be encrypted end to end in a way that every receiver decodes."""

    default_code = "codec_not_supported"


class LimitReached(E2EEError):
    """A limit of `Limits` would be passed; the message names it and its value."""

    default_code = "limit_reached"
    default_retryable: ClassVar[bool] = True
