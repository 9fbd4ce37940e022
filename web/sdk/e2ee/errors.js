/**
 * What can go wrong in end-to-end encryption: one class and one stable code each (docs/reference/e2ee-profile.md, section 13).
 *
 * The application is told what happened; the peer is told nothing, so that a failure is no oracle. No message holds key material.
 */

/** Base of every error here; `code` is stable and `retryable` says whether the same call may succeed later. */
export class E2EEError extends Error {
  /** @param {string} message @param {string} [code] @param {boolean} [retryable] */
  constructor(message, code = "e2ee_error", retryable = false) {
    super(message);
    this.name = new.target.name;
    this.code = code;
    this.retryable = retryable;
  }
}

/** Bytes that are not a message of the profile: a wrong length, an unknown kind, bytes left over. All that a parser throws. */
export class MalformedMessage extends E2EEError {
  /** @param {string} message @param {string} [code] */
  constructor(message, code = "malformed_message") {
    super(message, code);
  }
}

/** The version byte is not one that this release knows. */
export class UnsupportedVersion extends MalformedMessage {
  /** @param {string} message */
  constructor(message) {
    super(message, "unsupported_version");
  }
}

/** The suite byte is not one that this release knows. */
export class UnsupportedSuite extends MalformedMessage {
  /** @param {string} message */
  constructor(message) {
    super(message, "unsupported_suite");
  }
}

/** A suite below the policy, or below what both sides can do: somebody may have taken the better one away. */
export class DowngradeRefused extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "downgrade_refused");
  }
}

/** A public key of the wrong length, not canonical or of small order, or an agreement whose result is all zero. */
export class InvalidKey extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "invalid_key");
  }
}

/** A signature does not verify under the key that it should have been made with. */
export class BadSignature extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "bad_signature");
  }
}

/**
 * The key of a user or device is not the one that is trusted.
 *
 * For an account key a person decides: compare the safety number, then accept the new key.
 */
export class UntrustedIdentity extends E2EEError {
  /**
   * @param {string} message
   * @param {{trusted?: Uint8Array | null, met?: Uint8Array | null}} [keys]  `trusted`: the key that is known, null without one; `met`: the other
   */
  constructor(message, { trusted = null, met = null } = {}) {
    super(message, "untrusted_identity");
    this.trusted = trusted;
    this.met = met;
  }
}

/** A device list that is older than the known one, or another one under the same number. */
export class DeviceListRollback extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "device_list_rollback");
  }
}

/** There is no session with that device; fetch its bundle first. */
export class NoSession extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "no_session", true);
  }
}

/** A first message names a prekey that this device never had, or has used or dropped. */
export class UnknownPreKey extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "unknown_prekey");
  }
}

/** A first message that was accepted before, and whose session is gone. */
export class PreKeyReplay extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "prekey_replay");
  }
}

/** The policy wants a one-time prekey and the bundle has none. */
export class PreKeysExhausted extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "prekeys_exhausted", true);
  }
}

/** No key of ours opens the message. Nothing was changed. */
export class DecryptionFailed extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "decryption_failed");
  }
}

/** The message was read before, or is so old that its key is gone. */
export class DuplicateMessage extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "duplicate_message");
  }
}

/** Reading the message would skip or store more keys than the limits allow. */
export class TooManySkipped extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "too_many_skipped");
  }
}

/** A chain has reached its last message; a reply from the other side, or a new session, starts another. */
export class CounterExhausted extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "counter_exhausted");
  }
}

/** Another writer changed the session meanwhile; nothing was written. Try again from what is stored now. */
export class StaleState extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "stale_state", true);
  }
}

/** A group operation or message does not follow from the state that this device knows. Fetch what is missing. */
export class GroupStateMismatch extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "group_state_mismatch", true);
  }
}

/** The sender or signer, or this device, is no member of the group at that epoch. */
export class NotAMember extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "not_a_member");
  }
}

/** A group message under a sender key that has not come yet. Keep it and try again when the key is there. */
export class UnknownSenderKey extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "unknown_sender_key", true);
  }
}

/** A chunk does not open; `chunk` is its number, or null where the header or the digest is wrong. */
export class AttachmentCorrupt extends E2EEError {
  /** @param {string} message @param {number | null} [chunk] */
  constructor(message, chunk = null) {
    super(message, "attachment_corrupt");
    this.chunk = chunk;
  }
}

/** The stream ended before its last chunk. Fetch it again. */
export class AttachmentTruncated extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "attachment_truncated", true);
  }
}

/** The recovery code or passphrase is not that of this backup, or the backup was altered. */
export class BackupAuthFailed extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "backup_auth_failed");
  }
}

/** The backup asks for a password hash that is too weak to be honest or too costly to be safe. */
export class KdfParamsRefused extends E2EEError {
  /** @param {string} message @param {string} [code]  `weak_passphrase` for a passphrase that can be guessed */
  constructor(message, code = "kdf_params_refused") {
    super(message, code);
  }
}

/** A media frame whose counter was seen, or is too far behind the newest. */
export class FrameReplay extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "frame_replay");
  }
}

/** A media frame under a key that has not come yet, or is no longer valid. */
export class UnknownFrameKey extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "unknown_frame_key", true);
  }
}

/** Frames of this codec cannot be encrypted end to end in a way that every receiver decodes. */
export class CodecNotSupported extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "codec_not_supported");
  }
}

/** A limit would be passed; the message names it and its value. */
export class LimitReached extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "limit_reached", true);
  }
}

/** A call at the wrong time or with the wrong arguments; the fault is in the program that made it. */
export class BadRequest extends E2EEError {
  /** @param {string} message @param {string} [code] */
  constructor(message, code = "bad_request") {
    super(message, code);
  }
}

/** The browser cannot give what is needed, such as the memory of a password hash. */
export class ResourceUnavailable extends E2EEError {
  /** @param {string} message */
  constructor(message) {
    super(message, "resource_unavailable", true);
  }
}

/**
 * The place where the state is kept refuses; nothing was written. `code` says why.
 *
 * `store_corrupt`: a record does not open, or is damaged. `store_newer`: a later release wrote it. `store_full`: the browser gives no more
 * room (retryable). `store_busy`: another tab holds the database (retryable). `store_unavailable`: it cannot be opened, read or written.
 */
export class StoreError extends E2EEError {
  /** @param {string} message @param {"store_full" | "store_corrupt" | "store_newer" | "store_busy" | "store_unavailable"} [code] */
  constructor(message, code = "store_unavailable") {
    super(message, code, code === "store_full" || code === "store_busy");
  }
}
