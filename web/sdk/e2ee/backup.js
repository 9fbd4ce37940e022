/**
 * Backups: how a backup is locked (the profile's section 10). What is in one is in backup_records.js.
 *
 * A random key seals the content; a recovery code, or a passphrase through Argon2id, seals that key in the header. So another secret
 * means 125 other bytes. It does not take back copies of the old header: who had an old backup and its secret keeps what was in it.
 */
import { argon2id } from "./argon2.js";
import { Reader, concat, equal, fixed, u32, u8, utf8 } from "./encoding.js";
import { BackupAuthFailed, DecryptionFailed, KdfParamsRefused, MalformedMessage } from "./errors.js";
import { DEFAULT_LIMITS } from "./limits.js";
import { checkPassphrase, normalized } from "./passphrase.js";
import { parseCode } from "./recovery_code.js";
import { KEY_BYTES, NONCE_BYTES, TAG_BYTES, ZERO_KEY, hkdf, keysOf, label, openSealed, seal, systemRandom } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { Limits } from "./limits.js" */
/** @import { Random } from "./suite.js" */
/** @typedef {{kind: "code", secret: Bytes}} CodeSecret  the 32 bytes of a recovery code */
/**
 * @typedef {{kind: "passphrase", passphrase: string, memoryKib?: number, passes?: number}} PassphraseSecret
 *   and what hashing it costs in a new backup: 256 MiB and 3 passes by default, 64 MiB on a small device. A backup that is opened names
 *   its own cost.
 */
/** @typedef {CodeSecret | PassphraseSecret} BackupSecret */

const MAGIC = utf8("SLB1");
const SALT_BYTES = 16;
const WRAPPED_BYTES = KEY_BYTES + TAG_BYTES;
/** Magic, kdf, three u32, salt, commitment, nonce and wrapped key. */
export const BACKUP_HEADER_BYTES = MAGIC.length + 1 + 12 + SALT_BYTES + KEY_BYTES + NONCE_BYTES + WRAPPED_BYTES;
const RECOVERY_CODE = 1;
const ARGON2ID = 2;
const LANES = 1;
const DEFAULT_MEMORY_KIB = 256 * 1024;
const DEFAULT_PASSES = 3;

/**
 * The secret of a code as a person typed it; `MalformedMessage` when it was mistyped.
 *
 * @param {string} code
 * @returns {Promise<CodeSecret>}
 */
export async function typedCode(code) {
  return { kind: "code", secret: await parseCode(code) };
}

/** The key of the attachment stream that holds the records. @param {Bytes} backupKey */
export function streamKey(backupKey) {
  return hkdf(ZERO_KEY, backupKey, label("backup-stream"), KEY_BYTES);
}

/** The first 125 bytes of a backup. */
export class BackupHeader {
  /**
   * @param {{kdf: number, memoryKib: number, passes: number, lanes: number, salt: Bytes, commit: Bytes, nonce: Bytes, wrapped: Bytes}} fields
   */
  constructor({ kdf, memoryKib, passes, lanes, salt, commit, nonce, wrapped }) {
    this.kdf = kdf;
    this.memoryKib = memoryKib;
    this.passes = passes;
    this.lanes = lanes;
    this.salt = salt;
    this.commit = commit;
    this.nonce = nonce;
    this.wrapped = wrapped;
  }

  /** Reads exactly a header; `MalformedMessage` for anything else. The costs are not judged yet. @param {Uint8Array} data */
  static parse(data) {
    const reader = new Reader(data);
    if (!equal(reader.take(MAGIC.length), MAGIC)) throw new MalformedMessage("this is no backup of the profile");
    const kdf = reader.u8();
    if (kdf !== RECOVERY_CODE && kdf !== ARGON2ID) {
      throw new MalformedMessage(`a backup is locked in way ${kdf}, which this release does not know`);
    }
    const [memoryKib, passes, lanes] = [reader.u32(), reader.u32(), reader.u32()];
    if (kdf === RECOVERY_CODE && (memoryKib || passes || lanes)) {
      throw new MalformedMessage("a backup with a recovery code names costs of a password hash");
    }
    const [salt, commit, nonce] = [reader.take(SALT_BYTES), reader.take(KEY_BYTES), reader.take(NONCE_BYTES)];
    const wrapped = reader.take(WRAPPED_BYTES);
    reader.done();
    return new BackupHeader({ kdf, memoryKib, passes, lanes, salt, commit, nonce, wrapped });
  }

  encode() {
    return concat(this.authenticated(), this.nonce, this.wrapped);
  }

  /** All before the nonce, which is the additional data of the wrapped key. */
  authenticated() {
    return concat(MAGIC, u8(this.kdf), u32(this.memoryKib), u32(this.passes), u32(this.lanes), this.salt, this.commit);
  }

  /** `KdfParamsRefused` unless hashing is both worth something and affordable; done before anything is hashed. @param {Limits} limits */
  checkCosts({ argon2MinKib, argon2MaxKib, argon2MinPasses, argon2MaxPasses }) {
    if (this.kdf === RECOVERY_CODE) return;
    const memory = argon2MinKib <= this.memoryKib && this.memoryKib <= argon2MaxKib;
    const passes = argon2MinPasses <= this.passes && this.passes <= argon2MaxPasses;
    if (!memory || !passes || this.lanes !== LANES) {
      throw new KdfParamsRefused(
        `Argon2id with ${this.memoryKib} KiB, ${this.passes} passes and ${this.lanes} lanes; allowed are ` +
          `${argon2MinKib} to ${argon2MaxKib} KiB, ${argon2MinPasses} to ${argon2MaxPasses} passes and one lane`,
      );
    }
  }
}

/** The key that wraps the backup's key, and the commitment to it. @param {BackupSecret} secret @param {BackupHeader} header */
async function derive(secret, { kdf, memoryKib, passes, lanes, salt }) {
  const raw =
    secret.kind === "code"
      ? fixed(secret.secret, KEY_BYTES)
      : await argon2id({ password: normalized(secret.passphrase), salt, memoryKib, passes, lanes, length: KEY_BYTES });
  const [wrapping, commit] = keysOf(await hkdf(salt, raw, label("backup", u8(kdf)), 2 * KEY_BYTES));
  return { wrapping, commit };
}

/**
 * A header that `secret` opens, for a new key or a given one; draws salt 16, [key 32], nonce 12.
 *
 * @param {BackupSecret} secret
 * @param {{key?: Bytes | null, random?: Random, limits?: Limits}} [options]
 * @returns {Promise<{header: Bytes, key: Bytes}>} rejects with `KdfParamsRefused` for costs outside of the limits, and with the code
 *   `weak_passphrase` for a passphrase that can be guessed; `ResourceUnavailable` where there is not the memory to hash it
 */
export async function lockBackup(secret, { key = null, random = systemRandom, limits = DEFAULT_LIMITS } = {}) {
  const salt = random(SALT_BYTES);
  const held = key ?? random(KEY_BYTES);
  const nonce = random(NONCE_BYTES);
  let [kdf, memoryKib, passes, lanes] = [RECOVERY_CODE, 0, 0, 0];
  if (secret.kind === "passphrase") {
    checkPassphrase(secret.passphrase);
    [kdf, memoryKib, passes, lanes] = [ARGON2ID, secret.memoryKib ?? DEFAULT_MEMORY_KIB, secret.passes ?? DEFAULT_PASSES, LANES];
  }
  const nothing = new Uint8Array(0);
  const costs = { kdf, memoryKib, passes, lanes, salt, nonce };
  const unsealed = new BackupHeader({ ...costs, commit: nothing, wrapped: nothing });
  unsealed.checkCosts(limits);
  const { wrapping, commit } = await derive(secret, unsealed);
  const before = new BackupHeader({ ...costs, commit, wrapped: nothing }).authenticated();
  return { header: concat(before, nonce, await seal(wrapping, nonce, held, before)), key: held };
}

/**
 * The key of a backup from its first 125 bytes. A passphrase takes about a second and the memory that the header names.
 *
 * @param {Uint8Array} header
 * @param {BackupSecret} secret
 * @param {{limits?: Limits}} [options]
 * @returns {Promise<Bytes>} rejects with `MalformedMessage` for what is no header, `KdfParamsRefused` before anything is hashed,
 *   `BackupAuthFailed` for another secret or an altered header, `ResourceUnavailable` where there is not the memory
 */
export async function unlockBackup(header, secret, { limits = DEFAULT_LIMITS } = {}) {
  const parsed = BackupHeader.parse(header);
  parsed.checkCosts(limits);
  if ((parsed.kdf === RECOVERY_CODE) !== (secret.kind === "code")) {
    throw new BackupAuthFailed(`the backup is locked with a ${parsed.kdf === RECOVERY_CODE ? "recovery code" : "passphrase"}`);
  }
  const { wrapping, commit } = await derive(secret, parsed);
  if (!equal(commit, parsed.commit)) throw new BackupAuthFailed("the secret does not open this backup");
  try {
    return await openSealed(wrapping, parsed.nonce, parsed.wrapped, parsed.authenticated());
  } catch (error) {
    if (!(error instanceof DecryptionFailed)) throw error;
    throw new BackupAuthFailed("the secret does not open this backup");
  }
}

/**
 * The header to write over the old one, so that `changed` opens the backup; the content stays. Rejects as `unlockBackup` and `lockBackup`.
 *
 * @param {Uint8Array} header
 * @param {BackupSecret} old
 * @param {BackupSecret} changed
 * @param {{random?: Random, limits?: Limits}} [options]
 */
export async function changeSecret(header, old, changed, { random = systemRandom, limits = DEFAULT_LIMITS } = {}) {
  const key = await unlockBackup(header, old, { limits });
  return (await lockBackup(changed, { key, random, limits })).header;
}
