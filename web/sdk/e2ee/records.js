/**
 * The records in which a device's own state lies in its store, and where: table names, keys, layouts.
 *
 * Every record begins with a version byte. Layouts are those of Python's `e2ee.records`, but that the private keys of the device are no
 * record here: the browser keeps them.
 */
import { Reader, concat, equal, fixed, hex, lp, u16, u32, u64, u8, userBytes } from "./encoding.js";
import { UnsupportedVersion } from "./errors.js";
import { KEY_BYTES } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */

const VERSION = 1;

// Table names. What has a variable part is a table that is scanned or cleared alone.
export const LOCAL = "local";
export const COUNTERS = "counters";
export const PEERS = "peers";
export const DEVICE_LISTS = "device_lists";
export const LINES = "lines";
export const SESSIONS = "sessions";
// Private halves of prekeys by id.
export const SIGNED_PREKEYS = "prekeys/signed";
export const KEM_LAST_PREKEYS = "prekeys/kem_last";
export const ONE_TIME_PREKEYS = "prekeys/one_time";
export const KEM_ONCE_PREKEYS = "prekeys/kem_once";

/** Every certificate of a user's devices under the trusted account key, also of devices that were removed since. @param {string} userId */
export const certificatesTable = (userId) => `certificates/${userId}`;
/** Fingerprints of the first messages that were accepted under one signed prekey; it goes when that does. @param {number} signedId */
export const seenTable = (signedId) => `seen/${signedId}`;
/** The skipped keys of one session. @param {string} userId @param {number} deviceId @param {Bytes} baseKey */
export const skippedTable = (userId, deviceId, baseKey) => `skipped/${deviceId}/${hex(baseKey)}/${userId}`;
/** The key of what belongs to one device of one user. @param {string} userId @param {number} deviceId */
export const deviceKey = (userId, deviceId) => concat(lp(userBytes(userId)), u32(deviceId));
/** The key of one session with a device. @param {string} userId @param {number} deviceId @param {Bytes} baseKey */
export const sessionKey = (userId, deviceId, baseKey) => concat(deviceKey(userId, deviceId), baseKey);

/** @param {Uint8Array} record */
function open(record) {
  const reader = new Reader(record);
  const version = reader.u8();
  if (version !== VERSION) throw new UnsupportedVersion(`a stored record has version ${version}; this release reads ${VERSION}`);
  return reader;
}

/** The next number of a counter, `first` where none was stored. @param {Bytes | null} record @param {number} first */
export function readCounter(record, first) {
  if (!record) return first;
  const reader = open(record);
  const number = reader.u32();
  reader.done();
  return number;
}

/** What `readCounter` reads. @param {number} number */
export const counterRecord = (number) => concat(u8(VERSION), u32(number));

/** Who this device is. `accountSeed` is there on the primary device alone, which puts it in the backup. */
export class LocalRecord {
  /** @param {Bytes} certificate @param {Bytes | null} accountSeed */
  constructor(certificate, accountSeed) {
    this.certificate = certificate;
    this.accountSeed = accountSeed;
  }

  encode() {
    return concat(u8(VERSION), lp(this.certificate), lp(this.accountSeed ?? new Uint8Array(0)));
  }

  /** @param {Uint8Array} record */
  static parse(record) {
    const reader = open(record);
    const [certificate, account] = [reader.lp(), reader.lp()];
    reader.done();
    return new LocalRecord(certificate, account.length ? fixed(account, KEY_BYTES) : null);
  }
}

/** The private half of a prekey: a seed of 32 bytes, or of 64 for ML-KEM. `created` is in Unix seconds. */
export class PreKeySecret {
  /** @param {number} created @param {Bytes} seed */
  constructor(created, seed) {
    this.created = created;
    this.seed = seed;
  }

  encode() {
    return concat(u8(VERSION), u64(this.created), this.seed);
  }

  /** @param {Uint8Array} record */
  static parse(record) {
    const reader = open(record);
    return new PreKeySecret(Number(reader.u64()), reader.rest());
  }
}

const VERIFIED = 1;
const BLOCKED = 2;

/**
 * What is known of a user.
 *
 * @typedef {object} Peer
 * @property {Bytes} account  the key that is trusted
 * @property {boolean} verified  a person compared it
 * @property {Bytes | null} offered  another account key that was met and that nobody has judged yet; while there is one nothing is sent
 * @property {bigint} seq  the number of the newest list, 0 before the first
 * @property {number[]} devices  those of the newest list
 */

/** A user of whom the account key alone is known. @param {Bytes} account @returns {Peer} */
export const newPeer = (account) => ({ account, verified: false, offered: null, seq: 0n, devices: [] });

/** @param {Peer} peer */
export function encodePeer({ account, verified, offered, seq, devices }) {
  const flags = (verified ? VERIFIED : 0) | (offered ? BLOCKED : 0);
  const head = concat(u8(VERSION), u8(flags), account, ...(offered ? [offered] : []));
  return concat(head, u64(seq), u16(devices.length), ...devices.map(u32));
}

/** @param {Uint8Array} record @returns {Peer} */
export function parsePeer(record) {
  const reader = open(record);
  const [flags, account] = [reader.u8(), reader.take(KEY_BYTES)];
  const offered = flags & BLOCKED ? reader.take(KEY_BYTES) : null;
  const seq = reader.u64();
  const devices = Array.from({ length: reader.u16() }, () => reader.u32());
  reader.done();
  return { account, verified: Boolean(flags & VERIFIED), offered, seq, devices };
}

const INITIATED = 1;
const RESET = 2;

/**
 * One session of a line, named by its base key.
 *
 * @typedef {object} SessionRef
 * @property {Bytes} baseKey
 * @property {boolean} initiated  this device began it
 * @property {boolean} reset  it did so with a reset
 * @property {number} retired  since when, in Unix seconds, it is there for messages under way alone, for it lost against one that was begun
 *   at the same time, or was replaced by a reset; else 0
 */

/** @param {SessionRef} one @param {SessionRef} other */
export const sameRef = (one, other) => one.initiated === other.initiated && equal(one.baseKey, other.baseKey);

/**
 * All sessions with one device: the first is the one to send with, the others are archived, newest first.
 *
 * @typedef {object} Line
 * @property {SessionRef[]} refs
 * @property {number} lastReset  when this device last sent a reset there, in Unix seconds, or 0
 */

/** @param {Line} line */
export function encodeLine({ refs, lastReset }) {
  const listed = refs.map(({ baseKey, initiated, reset, retired }) => {
    return concat(baseKey, u8((initiated ? INITIATED : 0) | (reset ? RESET : 0)), u64(retired));
  });
  return concat(u8(VERSION), u64(lastReset), u8(refs.length), ...listed);
}

/** @param {Uint8Array} record @returns {Line} */
export function parseLine(record) {
  const reader = open(record);
  const lastReset = Number(reader.u64());
  const refs = Array.from({ length: reader.u8() }, () => {
    const [baseKey, flags, retired] = [reader.take(KEY_BYTES), reader.u8(), Number(reader.u64())];
    return { baseKey, initiated: Boolean(flags & INITIATED), reset: Boolean(flags & RESET), retired };
  });
  reader.done();
  return { refs, lastReset };
}
