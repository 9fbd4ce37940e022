"""End-to-end encryption of chat and calls: the profile "salam-e2ee v1" (docs/reference/e2ee-profile.md).

Nothing here opens a socket or reads a clock: time and randomness are handed in, and what must survive a crash goes through a
`Store`.
"""

from __future__ import annotations

from e2ee.attachment import AttachmentDescriptor as AttachmentDescriptor
from e2ee.attachment import AttachmentOpener as AttachmentOpener
from e2ee.attachment import AttachmentSealer as AttachmentSealer
from e2ee.attachment import open_pieces as open_pieces
from e2ee.attachment import seal_pieces as seal_pieces
from e2ee.attachment_file import OpenedFile as OpenedFile
from e2ee.attachment_file import SealedFile as SealedFile
from e2ee.backup import BACKUP_HEADER_BYTES as BACKUP_HEADER_BYTES
from e2ee.backup import BackupKey as BackupKey
from e2ee.backup import BackupSecret as BackupSecret
from e2ee.backup import CodeSecret as CodeSecret
from e2ee.backup import PassphraseSecret as PassphraseSecret
from e2ee.backup import change_secret as change_secret
from e2ee.backup import unlock as unlock
from e2ee.backup_records import AccountRecord as AccountRecord
from e2ee.backup_records import BackupReader as BackupReader
from e2ee.backup_records import BackupWriter as BackupWriter
from e2ee.backup_records import ContactRecord as ContactRecord
from e2ee.backup_records import GroupRecord as GroupRecord
from e2ee.backup_records import HistoryRecord as HistoryRecord
from e2ee.backup_records import Record as Record
from e2ee.backup_records import read_backup as read_backup
from e2ee.call_keys import KeyFrameNeeded as KeyFrameNeeded
from e2ee.call_keys import KeyRing as KeyRing
from e2ee.call_keys import MediaKey as MediaKey
from e2ee.call_keys import SenderKeys as SenderKeys
from e2ee.call_keys import SendKey as SendKey
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
from e2ee.device import OnPlaintext as OnPlaintext
from e2ee.device import Publication as Publication
from e2ee.device import retry_stale as retry_stale
from e2ee.device_groups import DeviceGroups as DeviceGroups
from e2ee.device_groups import OnGroupPlaintext as OnGroupPlaintext
from e2ee.device_messages import Contact as Contact
from e2ee.device_messages import Follower as Follower
from e2ee.device_messages import Incoming as Incoming
from e2ee.device_messages import Outgoing as Outgoing
from e2ee.device_messages import Received as Received
from e2ee.device_prekeys import PreKeyUpload as PreKeyUpload
from e2ee.device_steps import DeviceSteps as DeviceSteps
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
from e2ee.frames import Codec as Codec
from e2ee.frames import FrameKind as FrameKind
from e2ee.group import Delivery as Delivery
from e2ee.group import GroupSession as GroupSession
from e2ee.group import SenderKeyGroup as SenderKeyGroup
from e2ee.group_messages import GroupChain as GroupChain
from e2ee.group_messages import GroupReceived as GroupReceived
from e2ee.group_messages import GroupSent as GroupSent
from e2ee.group_messages import GroupView as GroupView
from e2ee.group_operation import Member as Member
from e2ee.group_operation import Operation as Operation
from e2ee.group_operation import OperationKind as OperationKind
from e2ee.group_operation import Role as Role
from e2ee.group_state import GroupState as GroupState
from e2ee.group_state import Resolver as Resolver
from e2ee.group_steps import GroupSteps as GroupSteps
from e2ee.handshake import LocalDevice as LocalDevice
from e2ee.limits import DEFAULT_LIMITS as DEFAULT_LIMITS
from e2ee.limits import SUITE_PQ as SUITE_PQ
from e2ee.limits import SUITE_X25519 as SUITE_X25519
from e2ee.limits import Limits as Limits
from e2ee.limits import Policy as Policy
from e2ee.linking import LinkOffer as LinkOffer
from e2ee.linking import LinkState as LinkState
from e2ee.linking import NewDevice as NewDevice
from e2ee.linking import PrimaryDevice as PrimaryDevice
from e2ee.passphrase import check_passphrase as check_passphrase
from e2ee.passphrase import entropy_bits as entropy_bits
from e2ee.peers import Learned as Learned
from e2ee.prekeys import Bundle as Bundle
from e2ee.prekeys import KemPreKey as KemPreKey
from e2ee.prekeys import OneTimePreKey as OneTimePreKey
from e2ee.prekeys import SignedPreKey as SignedPreKey
from e2ee.primitives import KeyPair as KeyPair
from e2ee.records import Peer as Peer
from e2ee.recovery_code import draw_code as draw_code
from e2ee.recovery_code import format_code as format_code
from e2ee.recovery_code import parse_code as parse_code
from e2ee.safety_number import SafetyCode as SafetyCode
from e2ee.safety_number import check_code as check_code
from e2ee.safety_number import safety_number as safety_number
from e2ee.sealed import SenderCertificate as SenderCertificate
from e2ee.sealed import issue_sender_certificate as issue_sender_certificate
from e2ee.sealed import open_sender as open_sender
from e2ee.sealed import seal_sender as seal_sender
from e2ee.store import Durability as Durability
from e2ee.store import MemoryStore as MemoryStore
from e2ee.store import SqliteStore as SqliteStore
from e2ee.store import Store as Store
from e2ee.store import StoreError as StoreError
from e2ee.store import Transaction as Transaction

__all__ = [
    "AccountRecord",
    "ApplicationContent",
    "AttachmentCorrupt",
    "AttachmentDescriptor",
    "AttachmentOpener",
    "AttachmentSealer",
    "AttachmentTruncated",
    "BACKUP_HEADER_BYTES",
    "BackupAuthFailed",
    "BackupKey",
    "BackupReader",
    "BackupSecret",
    "BackupWriter",
    "BadSignature",
    "Bundle",
    "CallKey",
    "CallKeyAck",
    "CodeSecret",
    "Codec",
    "CodecNotSupported",
    "Contact",
    "ContactRecord",
    "Content",
    "ContentKind",
    "CounterExhausted",
    "DEFAULT_LIMITS",
    "DecryptionFailed",
    "Delivery",
    "Device",
    "DeviceCertificate",
    "DeviceGroups",
    "DeviceList",
    "DeviceListRollback",
    "DeviceOptions",
    "DeviceSteps",
    "DowngradeRefused",
    "DuplicateMessage",
    "Durability",
    "E2EEError",
    "Follower",
    "FrameKind",
    "FrameReplay",
    "GroupChain",
    "GroupOperations",
    "GroupReceived",
    "GroupRecord",
    "GroupSent",
    "GroupSession",
    "GroupState",
    "GroupStateMismatch",
    "GroupSteps",
    "GroupView",
    "HistoryRecord",
    "Incoming",
    "InvalidKey",
    "KdfParamsRefused",
    "KemPreKey",
    "KeyFrameNeeded",
    "KeyPair",
    "KeyRing",
    "Learned",
    "LimitReached",
    "Limits",
    "LinkOffer",
    "LinkState",
    "LocalDevice",
    "MalformedMessage",
    "MediaKey",
    "Member",
    "MemoryStore",
    "NewDevice",
    "NoSession",
    "NotAMember",
    "OnGroupPlaintext",
    "OnPlaintext",
    "OneTimePreKey",
    "OpenedFile",
    "Operation",
    "OperationKind",
    "Outgoing",
    "PassphraseSecret",
    "Peer",
    "Policy",
    "PreKeyReplay",
    "PreKeyUpload",
    "PreKeysExhausted",
    "PrimaryDevice",
    "Publication",
    "Received",
    "Record",
    "Reset",
    "Resolver",
    "Role",
    "SUITE_PQ",
    "SUITE_X25519",
    "SafetyCode",
    "SealedFile",
    "SendKey",
    "SenderCertificate",
    "SenderKeyDistribution",
    "SenderKeyGroup",
    "SenderKeys",
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
    "change_secret",
    "check_code",
    "check_passphrase",
    "draw_code",
    "entropy_bits",
    "format_code",
    "issue_sender_certificate",
    "open_pieces",
    "open_sender",
    "parse_code",
    "read_backup",
    "retry_stale",
    "safety_number",
    "seal_pieces",
    "seal_sender",
    "unlock",
]
