/**
 * Message keys that were skipped, kept for messages that come late, within bounds (Double Ratchet, sections 2.6 and 6.4).
 *
 * Keys lie by receiving chain and then by number. A chain goes when its last key does, so each chain here is one header key to try.
 * What is added and removed is noted, so that a store writes only that.
 */
import { Reader, concat, hex, u32, u64, u8 } from "./encoding.js";
import { MalformedMessage } from "./errors.js";
import { KEY_BYTES } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { Limits } from "./limits.js" */
/** @typedef {{messageKey: Bytes, added: number}} SkippedKey  and when it was skipped, in Unix seconds */
/** @typedef {{step: number, number: number}} Place */
/** @typedef {{added: {key: Bytes, record: Bytes}[], removed: Bytes[]}} SkippedChanges  what a store must write and delete */

const VERSION = 1;

/** @param {Place} place @returns {Bytes} 8 bytes, unique in a session */
const storeKey = ({ step, number }) => concat(u32(step), u32(number));

/** The skipped keys of one session. `step` counts its receiving chains; everything is oldest first. */
export class SkippedKeys {
  /** @type {Map<number, {header: Bytes, keys: Map<number, SkippedKey>}>} */ #chains = new Map();
  /** @type {Map<string, Place & SkippedKey>} */ #added = new Map();
  /** @type {Place[]} */ #removed = [];
  size = 0;

  /** The steps that have keys, each with its header key. */
  headers() {
    return [...this.#chains].map(([step, { header }]) => ({ step, header }));
  }

  /** @param {number} step @param {number} number @returns {SkippedKey | undefined} */
  get(step, number) {
    return this.#chains.get(step)?.keys.get(number);
  }

  /**
   * Which keys are too old when `step` is the present chain: that many steps, or seconds, behind.
   *
   * @param {number} step
   * @param {number} now
   * @param {Limits} limits
   * @returns {Place[]}
   */
  stale(step, now, limits) {
    const found = [];
    for (const [keyStep, { keys }] of this.#chains) {
      for (const [number, { added }] of keys) {
        // Keys are in the order of their age, so nothing after this one is too old either.
        if (keyStep > step - limits.maxSkippedChains && added > now - limits.skippedLifetimeS) return found;
        found.push({ step: keyStep, number });
      }
    }
    return found;
  }

  /**
   * Keeps keys of one chain, which have rising numbers.
   *
   * @param {number} step
   * @param {Bytes} header
   * @param {{number: number, messageKey: Bytes, added: number}[]} keys
   */
  add(step, header, keys) {
    for (const { number, messageKey, added } of keys) {
      let chain = this.#chains.get(step);
      if (!chain) this.#chains.set(step, (chain = { header, keys: new Map() }));
      chain.keys.set(number, { messageKey, added });
      this.#added.set(`${step}/${number}`, { step, number, messageKey, added });
      this.size += 1;
    }
  }

  /** Drops a key that is there. @param {Place} place */
  remove({ step, number }) {
    const chain = this.#chains.get(step);
    if (!chain?.keys.delete(number)) return;
    if (!chain.keys.size) this.#chains.delete(step);
    this.size -= 1;
    // A key that no store has seen yet needs no deletion there.
    if (!this.#added.delete(`${step}/${number}`)) this.#removed.push({ step, number });
  }

  /** Drops what `stale` names. @param {number} step @param {number} now @param {Limits} limits */
  purge(step, now, limits) {
    for (const place of this.stale(step, now, limits)) this.remove(place);
  }

  /** What changed since the last call, or since loading. @returns {SkippedChanges} */
  drainChanges() {
    const added = [...this.#added.values()].map((key) => {
      return { key: storeKey(key), record: concat(u8(VERSION), key.messageKey, u64(key.added)) };
    });
    const changes = { added, removed: this.#removed.map(storeKey) };
    this.#added = new Map();
    this.#removed = [];
    return changes;
  }

  /**
   * Takes back what a store holds; `MalformedMessage` for what `drainChanges` did not give for these chains.
   *
   * @param {{step: number, header: Bytes}[]} headers
   * @param {{key: Uint8Array, record: Uint8Array}[]} stored
   */
  load(headers, stored) {
    const known = new Map(headers.map(({ step, header }) => [step, header]));
    const sorted = stored.map((entry) => ({ ...entry, name: hex(entry.key) })).sort((one, other) => (one.name < other.name ? -1 : 1));
    for (const { key, record } of sorted) {
      const reader = new Reader(concat(key, record));
      const [step, number, version] = [reader.u32(), reader.u32(), reader.u8()];
      const [messageKey, added] = [reader.take(KEY_BYTES), Number(reader.u64())];
      reader.done();
      const header = known.get(step);
      if (version !== VERSION || !header) throw new MalformedMessage("a stored skipped key does not belong to its session");
      this.add(step, header, [{ number, messageKey, added }]);
    }
    this.#added = new Map();
  }
}
