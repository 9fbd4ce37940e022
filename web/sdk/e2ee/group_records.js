/**
 * What of a group has to be stored: named records, so that a message rewrites one of them and not all.
 *
 * Names are relative to the group: the store puts the group's id before them.
 */
import { KEY_ID_BYTES } from "./content.js";
import { Reader, concat, fromHex, hex, lp, u32, userBytes } from "./encoding.js";

/** @import { Bytes } from "./encoding.js" */
/** @typedef {{userId: string, deviceId: number}} Address */

// The first byte of a name: the letters s, o, h, r and k.
const [STATE, SENDING, HOLDER, KEY, SKIPPED] = [0x73, 0x6f, 0x68, 0x72, 0x6b].map((byte) => Uint8Array.of(byte));
export const STATE_NAME = STATE;
export const SENDING_NAME = SENDING;

/** @param {Address} address */
const place = ({ userId, deviceId }) => concat(lp(userBytes(userId)), u32(deviceId));

/** The name of the record that a device has this device's sender key. @param {Address} address */
export const holderName = (address) => concat(HOLDER, place(address));
/** The name of the record of another device's sender key. @param {Address} address @param {Bytes} keyId */
export const keyName = (address, keyId) => concat(KEY, place(address), keyId);
/** The name of the record of one skipped message key. @param {Address} address @param {Bytes} keyId @param {number} number */
export const skippedName = (address, keyId, number) => concat(SKIPPED, place(address), keyId, u32(number));

/**
 * The kind, device, key id and number in the name of a holder, key or skipped key; `MalformedMessage` for another name.
 *
 * @param {Uint8Array} name
 */
export function readName(name) {
  const reader = new Reader(name);
  const kind = reader.u8();
  const address = { userId: reader.user(), deviceId: reader.deviceId() };
  const keyId = reader.take(kind === HOLDER[0] ? 0 : KEY_ID_BYTES);
  const number = kind === SKIPPED[0] ? reader.u32() : 0;
  reader.done();
  return { kind: kind === HOLDER[0] ? "holder" : kind === KEY[0] ? "key" : "skipped", address, keyId, number };
}

/** @typedef {{name: Bytes, record: Bytes | null}} Change  null: the record is to be deleted */

/** Which records changed since they were last taken out. */
export class Journal {
  #stored;
  /** By the name in hexadecimal. @type {Map<string, (() => Bytes) | null>} */ #changed = new Map();

  /** @param {Uint8Array[]} stored  the names of the records that the store has */
  constructor(stored = []) {
    this.#stored = new Set(stored.map(hex));
  }

  /** The record of this name is new or changed; `record` writes it when it is taken out. @param {Bytes} name @param {() => Bytes} record */
  put(name, record) {
    this.#changed.set(hex(name), record);
  }

  /** The record of this name is gone. @param {Bytes} name */
  delete(name) {
    if (this.#stored.has(hex(name))) this.#changed.set(hex(name), null);
    else this.#changed.delete(hex(name));
  }

  /** The changed records. The caller stores all of them in one transaction. @returns {Change[]} */
  drain() {
    const changes = [...this.#changed].map(([name, record]) => ({ name: fromHex(name), record: record?.() ?? null }));
    for (const { name, record } of changes) {
      if (record) this.#stored.add(hex(name));
      else this.#stored.delete(hex(name));
    }
    this.#changed.clear();
    return changes;
  }
}
