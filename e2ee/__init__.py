"""End-to-end encryption of chat and calls: the profile "salam-e2ee v1" (docs/reference/e2ee-profile.md).

Nothing here opens a socket or reads a clock: time and randomness are handed in, and what must survive a crash goes through a
`Store`.
"""

from __future__ import annotations

from e2ee.certificates import DeviceCertificate as DeviceCertificate
from e2ee.certificates import DeviceList as DeviceList
from e2ee.content import ApplicationContent as ApplicationContent
from e2ee.content import CallKey as CallKey
from e2ee.content import CallKeyAck as CallKeyAck
from e2ee.content import Content as Content
from e2ee.content import ContentKind as ContentKind
from e2ee.content import GroupOperations as GroupOperations
from e2ee.content import Reset as Reset
from e2ee.content import SenderKeyDistribution as SenderKeyDistribution
from e2ee.device import Device as Device
from e2ee.device import DeviceOptions as DeviceOptions
from e2ee.device import Incoming as Incoming
from e2ee.device import OnPlaintext as OnPlaintext
from e2ee.device import Publication as Publication
from e2ee.device import retry_stale as retry_stale
from e2ee.device_prekeys import PreKeyUpload as PreKeyUpload
from e2ee.device_steps import DeviceSteps as DeviceSteps
from e2ee.device_steps import Outgoing as Outgoing
from e2ee.device_steps import Received as Received
from e2ee.errors import AttachmentCorrupt as AttachmentCorrupt
from e2ee.errors import AttachmentTruncated as AttachmentTruncated
from e2ee.errors import BackupAuthFailed as BackupAuthFailed
from e2ee.errors import BadSignature as BadSignature
from e2ee.errors import CodecNotSupported as CodecNotSupported
from e2ee.errors import CounterExhausted as CounterExhausted
from e2ee.errors import DecryptionFailed as DecryptionFailed
from e2ee.errors import DeviceListRollback as DeviceListRollback
from e2ee.errors import DowngradeRefused as DowngradeRefused
from e2ee.errors import DuplicateMessage as DuplicateMessage
from e2ee.errors import E2EEError as E2EEError
from e2ee.errors import FrameReplay as FrameReplay
from e2ee.errors import GroupStateMismatch as GroupStateMismatch
from e2ee.errors import InvalidKey as InvalidKey
from e2ee.errors import KdfParamsRefused as KdfParamsRefused
from e2ee.errors import LimitReached as LimitReached
from e2ee.errors import MalformedMessage as MalformedMessage
from e2ee.errors import NoSession as NoSession
from e2ee.errors import NotAMember as NotAMember
from e2ee.errors import PreKeyReplay as PreKeyReplay
from e2ee.errors import PreKeysExhausted as PreKeysExhausted
from e2ee.errors import StaleState as StaleState
from e2ee.errors import TooManySkipped as TooManySkipped
from e2ee.errors import UnknownFrameKey as UnknownFrameKey
from e2ee.errors import UnknownPreKey as UnknownPreKey
from e2ee.errors import UnknownSenderKey as UnknownSenderKey
from e2ee.errors import UnsupportedSuite as UnsupportedSuite
from e2ee.errors import UnsupportedVersion as UnsupportedVersion
from e2ee.errors import UntrustedIdentity as UntrustedIdentity
from e2ee.handshake import LocalDevice as LocalDevice
from e2ee.limits import DEFAULT_LIMITS as DEFAULT_LIMITS
from e2ee.limits import SUITE_PQ as SUITE_PQ
from e2ee.limits import SUITE_X25519 as SUITE_X25519
from e2ee.limits import Limits as Limits
from e2ee.limits import Policy as Policy
from e2ee.peers import Learned as Learned
from e2ee.prekeys import Bundle as Bundle
from e2ee.prekeys import KemPreKey as KemPreKey
from e2ee.prekeys import OneTimePreKey as OneTimePreKey
from e2ee.prekeys import SignedPreKey as SignedPreKey
from e2ee.primitives import KeyPair as KeyPair
from e2ee.records import Peer as Peer
from e2ee.store import Durability as Durability
from e2ee.store import MemoryStore as MemoryStore
from e2ee.store import SqliteStore as SqliteStore
from e2ee.store import Store as Store
from e2ee.store import StoreError as StoreError
from e2ee.store import Transaction as Transaction

__all__ = [
    "ApplicationContent",
    "AttachmentCorrupt",
    "AttachmentTruncated",
    "BackupAuthFailed",
    "BadSignature",
    "Bundle",
    "CallKey",
    "CallKeyAck",
    "CodecNotSupported",
    "Content",
    "ContentKind",
    "CounterExhausted",
    "DEFAULT_LIMITS",
    "DecryptionFailed",
    "Device",
    "DeviceCertificate",
    "DeviceList",
    "DeviceListRollback",
    "DeviceOptions",
    "DeviceSteps",
    "DowngradeRefused",
    "DuplicateMessage",
    "Durability",
    "E2EEError",
    "FrameReplay",
    "GroupOperations",
    "GroupStateMismatch",
    "Incoming",
    "InvalidKey",
    "KdfParamsRefused",
    "KemPreKey",
    "KeyPair",
    "Learned",
    "LimitReached",
    "Limits",
    "LocalDevice",
    "MalformedMessage",
    "MemoryStore",
    "NoSession",
    "NotAMember",
    "OnPlaintext",
    "OneTimePreKey",
    "Outgoing",
    "Peer",
    "Policy",
    "PreKeyReplay",
    "PreKeyUpload",
    "PreKeysExhausted",
    "Publication",
    "Received",
    "Reset",
    "SUITE_PQ",
    "SUITE_X25519",
    "SenderKeyDistribution",
    "SignedPreKey",
    "SqliteStore",
    "StaleState",
    "Store",
    "StoreError",
    "TooManySkipped",
    "Transaction",
    "UnknownFrameKey",
    "UnknownPreKey",
    "UnknownSenderKey",
    "UnsupportedSuite",
    "UnsupportedVersion",
    "UntrustedIdentity",
    "retry_stale",
]
