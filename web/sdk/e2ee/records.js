/** The records in which a device's own state lies in its store, and where: table names, keys, layouts. */
import { Reader, concat, fixed, hex, lp, u16, u32, u64, u8, userBytes } from "./encoding.js";
import { UnsupportedVersion } from "./errors.js";
import { KEY_BYTES } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { KeyPair } from "./suite.js" */

const VERSION = 1;

// Table names. What has a variable part is a table that is read or cleared alone.
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

/** Every certificate of a user's devices under the trusted account key, also of removed ones. @param {string} userId */
export const certificatesTable = (userId) => `certificates/${userId}`;
/** Fingerprints of the first messages accepted under one signed prekey; it goes when that does. @param {number} signedId */
export const seenTable = (signedId) => `seen/${signedId}`;
/** The skipped keys of one session. @param {string} userId @param {number} deviceId @param {Bytes} baseKey */
export const skippedTable = (userId, deviceId, baseKey) => `skipped/${deviceId}/${hex(baseKey)}/${userId}`;
/** The key of what belongs to one device. @param {string} userId @param {number} deviceId */
export const deviceKey = (userId, deviceId) => concat(lp(userBytes(userId)), u32(deviceId));
/** The key of one session with a device. @param {string} userId @param {number} deviceId @param {Bytes} baseKey */
export const sessionKey = (userId, deviceId, baseKey) => concat(deviceKey(userId, deviceId), baseKey);

/** @param {Bytes} record */
function open(record) {
  const reader = new Reader(record);
  const version = reader.u8();
  if (version !== VERSION) throw new UnsupportedVersion(`a stored record has version ${version}; this release reads ${VERSION}`);
  return reader;
}

/** The next number of a counter, 1 where none was stored. @param {Bytes | undefined} record */
export function readCounter(record) {
  if (!record) return 1;
  const reader = open(record);
  const number = reader.u32();
  reader.done();
  return number;
}

/** @param {number} number */
export const counterRecord = (number) => concat(u8(VERSION), u32(number));

/**
 * Who this device is. It is no bytes: the private keys of the device are CryptoKeys that no script can read out.
 *
 * @typedef {{version: number, certificate: Bytes, signing: KeyPair, agreement: KeyPair, accountSeed: Bytes | null}} LocalRecord
 *   `accountSeed` is there on the primary device alone, and readable, for it belongs into the backup
 */

/** @param {Omit<LocalRecord, "version">} fields @returns {LocalRecord} */
export const localRecord = (fields) => ({ version: VERSION, ...fields });

/** @param {any} record @returns {LocalRecord} */
export function readLocal(record) {
  if (record.version !== VERSION) throw new UnsupportedVersion(`a stored device has version ${record.version}; this release reads ${VERSION}`);
  return record;
}

/** The private half of a prekey: a seed of 32 bytes, or 64 for ML-KEM. @param {number} created  Unix seconds @param {Bytes} seed */
export const secretRecord = (created, seed) => concat(u8(VERSION), u64(created), seed);

/** @param {Bytes} record */
export function readSecret(record) {
  const reader = open(record);
  return { created: Number(reader.u64()), seed: reader.rest() };
}

const VERIFIED = 0x01;
const BLOCKED = 0x02;

/**
 * What is known of a user.
 *
 * @typedef {object} Peer
 * @property {Bytes} account  the key that is trusted
 * @property {boolean} verified  a person compared it
 * @property {Bytes | null} offered  another key that was met and nobody has judged yet; while there is one nothing is sent
 * @property {bigint} seq  the number of the newest device list, 0 before the first
 * @property {number[]} devices  those of that list
 */

/** @param {Bytes} account @returns {Peer} */
export const newPeer = (account) => ({ account, verified: false, offered: null, seq: 0n, devices: [] });

/** @param {Peer} peer */
export function peerRecord({ account, verified, offered, seq, devices }) {
  const flags = (verified ? VERIFIED : 0) | (offered ? BLOCKED : 0);
  return concat(u8(VERSION), u8(flags), account, ...(offered ? [offered] : []), u64(seq), u16(devices.length), ...devices.map(u32));
}

/** @param {Bytes} record @returns {Peer} */
export function readPeer(record) {
  const reader = open(record);
  const [flags, account] = [reader.u8(), reader.take(KEY_BYTES)];
  const offered = flags & BLOCKED ? reader.take(KEY_BYTES) : null;
  const seq = reader.u64();
  const devices = Array.from({ length: reader.u16() }, () => reader.deviceId());
  reader.done();
  return { account, verified: Boolean(flags & VERIFIED), offered, seq, devices };
}

const INITIATED = 0x01;
const RESET = 0x02;

/**
 * One session of a line, named by its base key.
 *
 * @typedef {object} SessionRef
 * @property {Bytes} baseKey
 * @property {boolean} initiated  this device began it
 * @property {boolean} reset  and with a reset
 * @property {number} retired  when it lost against another session, in Unix seconds, or 0
 */
/** @typedef {{refs: SessionRef[], lastReset: number}} Line  the sessions with one device, the one to send with first; when a reset was last sent */

/** @param {Line} line */
export function lineRecord({ refs, lastReset }) {
  const listed = refs.map(({ baseKey, initiated, reset, retired }) =>
    concat(fixed(baseKey, KEY_BYTES), u8((initiated ? INITIATED : 0) | (reset ? RESET : 0)), u64(retired)),
  );
  return concat(u8(VERSION), u64(lastReset), u8(refs.length), ...listed);
}

/** @param {Bytes} record @returns {Line} */
export function readLine(record) {
  const reader = open(record);
  const lastReset = Number(reader.u64());
  const refs = Array.from({ length: reader.u8() }, () => {
    const [baseKey, flags, retired] = [reader.take(KEY_BYTES), reader.u8(), Number(reader.u64())];
    return { baseKey, initiated: Boolean(flags & INITIATED), reset: Boolean(flags & RESET), retired };
  });
  reader.done();
  return { refs, lastReset };
}
