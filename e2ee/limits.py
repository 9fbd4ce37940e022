"""Every bound of the profile, as settings with the profile's defaults."""

from __future__ import annotations

from dataclasses import dataclass, fields

from salam import ConfigError

__all__ = ["DAY_S", "DEFAULT_LIMITS", "MAX_COUNTER", "SUITE_PQ", "SUITE_X25519", "Limits", "Policy"]

SUITE_X25519 = 1
SUITE_PQ = 2  # X25519 and ML-KEM-768
DAY_S = 86_400.0
# A message number stays below this. No setting, but part of the wire: 32 bits, and never the sign bit of another language.
MAX_COUNTER = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what one peer can make this device compute, store or send.

    All are at least 1. A value outside of what its reason allows raises `salam.ConfigError` that names it.
    """

    # 1,000 steps cost about 2 ms of CPU; the specification names the same number (Double Ratchet, section 6.4).
    max_skip: int = 1_000
    # Two full gaps; at 72 bytes a key this is 144 kB a session.
    max_skipped_stored: int = 2_000
    # A message that is five replies late does not come any more, and each chain costs one trial of a header key.
    max_skipped_chains: int = 5
    skipped_lifetime_s: float = 7 * DAY_S
    # One active session and these: enough for both sides losing state a few times, and few enough for a trial of each.
    max_archived_sessions: int = 8
    # A session whose peer never answered is not used to send after this, for its prekeys are dead then.
    unacknowledged_lifetime_s: float = 30 * DAY_S
    # One unwedging of a session an hour and peer, as Matrix does (MSC1719): two broken peers must not answer each other for ever.
    reset_interval_s: float = 3_600.0
    max_content_bytes: int = 65_536
    max_devices: int = 32
    one_time_prekeys: int = 100
    one_time_prekeys_refill: int = 25
    one_time_kem_prekeys: int = 20
    one_time_kem_prekeys_refill: int = 5
    signed_prekey_rotation_s: float = 7 * DAY_S
    signed_prekey_lifetime_s: float = 30 * DAY_S
    max_group_members: int = 256
    max_group_devices: int = 1_024
    # A key for every message that may be under way when an operation comes; 64 operations while one message travels is plenty.
    group_epochs_kept: int = 64
    sender_key_max_messages: int = 1_000
    sender_key_lifetime_s: float = 7 * DAY_S
    # Keys of one sending device that can still be read: the present one and those that messages under way may use.
    sender_keys_kept: int = 5
    # A device that goes is looked for in each of them.
    max_groups: int = 1_024
    # What a backup can hold of one chain (the profile's section 10).
    max_group_operations: int = 65_535
    # Sender keys of one device for groups that are not known yet, at 120 bytes each: whoever makes a group is ahead of the server
    # by one key in each of them.
    sender_keys_waiting: int = 32
    max_attachment_bytes: int = 5 * 1024**3
    argon2_min_kib: int = 64 * 1024
    argon2_max_kib: int = 1024 * 1024
    argon2_min_passes: int = 3
    argon2_max_passes: int = 10
    # RFC 9605 leaves replay to the application: 1,024 frames are about 7 s of one camera and one microphone.
    frame_replay_window: int = 1_024
    frame_key_grace_s: float = 10.0
    # A sender does not wait longer than this for everybody's acknowledgement of a new media key.
    frame_key_switch_s: float = 2.0
    # Participants of a call whose keys are kept: as many as a group has devices.
    max_frame_senders: int = 1_024

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 1:
                raise ConfigError(f"{field.name} is {value}; it must be at least 1")
        for name, most in _MOST.items():
            value = getattr(self, name)
            if value > most:
                raise ConfigError(f"{name} is {value}; it may be at most {most}")


# What the wire can carry, or what a limit may be raised to without a new profile.
_MOST: dict[str, int] = {
    "max_content_bytes": 1024 * 1024,
    "max_devices": 65_535,
    "max_group_members": 65_535,
    "max_group_operations": 65_535,
    "sender_keys_waiting": 65_535,
    "max_attachment_bytes": 2**32 * 65_536,
    "max_skip": 25_000,
    "max_skipped_stored": 50_000,
}

DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What this device insists on.

    ``min_suite``: a lower suite raises `DowngradeRefused`, for sending and for reading. ``suites``: what this device offers,
    ascending. ``require_one_time``: refuse a bundle without a one-time prekey (`PreKeysExhausted`) instead of using the others.
    """

    min_suite: int = SUITE_PQ
    suites: tuple[int, ...] = (SUITE_X25519, SUITE_PQ)
    require_one_time: bool = False

    def __post_init__(self) -> None:
        if not self.suites or list(self.suites) != sorted(set(self.suites)) or not set(self.suites) <= {SUITE_X25519, SUITE_PQ}:
            raise ConfigError(f"suites is {self.suites}; it must be a rising choice of {SUITE_X25519} and {SUITE_PQ}")
        if self.min_suite not in (SUITE_X25519, SUITE_PQ) or self.min_suite > self.suites[-1]:
            raise ConfigError(f"min_suite is {self.min_suite}; it must be {SUITE_X25519} or {SUITE_PQ} and not above suites")
