/** What came from people whose key is in doubt, as it came: encrypted, in the device's own store, until a person has decided. */
import { fromBase64 } from "./base64.js";
import { equal } from "./e2ee/encoding.js";
import { sha256 } from "./e2ee/suite.js";
import { heldTable, read, written } from "./secure_log.js";

/** @import { Device } from "./e2ee/device.js" */
/** @import { Transaction } from "./e2ee/store.js" */
/** @import { SecureMessage } from "./messages.js" */
/** `name`: what the sender was called; `order`: of arrival @typedef {SecureMessage & {name: string, order: number}} HeldMessage */

// More of one person nobody reads through afterwards.
export const MAX_HELD_OF_ONE = 200;
// Five such people. Messages are a few kilobytes, and every one that comes is compared with those that wait.
export const MAX_HELD = 1_000;

/** What waits in one visit to a room. */
export class SecureHeld {
  /** How many wait, by user. @type {Map<string, number>} */ #counts = new Map();
  #table;

  /** @param {string} participantId */
  constructor(participantId) {
    this.#table = heldTable(participantId);
  }

  /** How many wait of everybody. */
  get count() {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  /** How many wait of a user. @param {string} userId */
  waiting(userId) {
    return this.#counts.get(userId) ?? 0;
  }

  /** Finds what an earlier page of this visit kept, and takes over what waits in an earlier visit of this page. @param {Device} device @param {SecureHeld | null} [earlier] */
  async open(device, earlier = null) {
    const all = await device.run(async (tx) => {
      if (earlier) {
        for (const { key, record } of await tx.scan(earlier.#table)) tx.put(this.#table, key, record);
        tx.clear(earlier.#table);
      }
      return this.#all(tx);
    });
    this.#counts.clear();
    for (const { user_id } of all) this.#counted(user_id, 1);
  }

  /** Keeps a message; once only, however often it comes. @param {Transaction} tx @param {SecureMessage} message @param {string} name @returns {Promise<boolean>} false past the bounds */
  async add(tx, message, name) {
    const key = await keyOf(message);
    const rows = await tx.scan(this.#table);
    if (rows.some((row) => equal(row.key, key))) return true;
    const waiting = rows.map(({ record }) => /** @type {HeldMessage} */ (read(record)));
    const ofOne = waiting.filter(({ user_id }) => user_id === message.user_id).length;
    if (waiting.length >= MAX_HELD || ofOne >= MAX_HELD_OF_ONE) return false;
    const order = 1 + waiting.reduce((last, held) => Math.max(last, held.order), 0);
    tx.put(this.#table, key, written({ ...message, name, order }));
    tx.afterCommit(() => this.#counted(message.user_id, 1));
    return true;
  }

  /** What waits of a user, in the order in which it came. @param {Transaction} tx @param {string} userId @returns {Promise<HeldMessage[]>} */
  async of(tx, userId) {
    return (await this.#all(tx)).filter(({ user_id }) => user_id === userId);
  }

  /** It waits no longer, if it did. @param {Transaction} tx @param {SecureMessage} message */
  async remove(tx, message) {
    const key = await keyOf(message);
    if (!(await tx.get(this.#table, key))) return;
    tx.delete(this.#table, key);
    tx.afterCommit(() => this.#counted(message.user_id, -1));
  }

  /** @param {Transaction} tx @returns {Promise<HeldMessage[]>} */
  async #all(tx) {
    const rows = await tx.scan(this.#table);
    return rows.map(({ record }) => /** @type {HeldMessage} */ (read(record))).sort((one, other) => one.order - other.order);
  }

  /** @param {string} userId @param {number} more */
  #counted(userId, more) {
    const count = this.waiting(userId) + more;
    if (count > 0) this.#counts.set(userId, count);
    else this.#counts.delete(userId);
  }
}

/** By its bytes: the server sends again what it was not told to have arrived. @param {SecureMessage} message */
const keyOf = ({ message }) => sha256(fromBase64(message));
