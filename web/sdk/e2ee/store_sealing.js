/** How the records of a store lie in the browser's database: sealed, each bound to its place and version. */
import { concat, lp, u64, utf8 } from "./encoding.js";
import { StoreError } from "./errors.js";
import { NONCE_BYTES, systemRandom } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @typedef {{version: number, sealed: Bytes}} Row */

/** @param {string} table @param {Bytes} key @param {number} version */
const placeOf = (table, key, version) => concat(lp(utf8(table)), lp(key), u64(version));

/** Seals and opens under one key, which no script can read out. */
export class RowSealer {
  #key;

  /** @param {CryptoKey} key */
  constructor(key) {
    this.#key = key;
  }

  /** @param {string} table @param {Bytes} key @param {Bytes} record @param {number} version @returns {Promise<Row>} */
  async seal(table, key, record, version) {
    const iv = systemRandom(NONCE_BYTES);
    const parameters = { name: "AES-GCM", iv, additionalData: placeOf(table, key, version) };
    const sealed = new Uint8Array(await crypto.subtle.encrypt(parameters, this.#key, record));
    return { version, sealed: concat(iv, sealed) };
  }

  /** The record; `StoreError` (`store_corrupt`) for one that was changed or moved. @param {string} table @param {Bytes} key @param {Row} row @returns {Promise<Bytes>} */
  async open(table, key, { version, sealed }) {
    const parameters = { name: "AES-GCM", iv: sealed.slice(0, NONCE_BYTES), additionalData: placeOf(table, key, version) };
    try {
      return new Uint8Array(await crypto.subtle.decrypt(parameters, this.#key, sealed.slice(NONCE_BYTES)));
    } catch {
      throw new StoreError("a stored record does not open", "store_corrupt");
    }
  }
}
