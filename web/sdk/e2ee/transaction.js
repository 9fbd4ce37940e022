/**
 * Transactions over records (bytes) under a table name and a key (bytes).
 *
 * What a transaction wrote is durable when `Store.run` resolves, or none of it is. That is what "persist before send" rests on. A
 * transaction of IndexedDB ends as soon as something else is awaited, and WebCrypto has to be; so the work reads and writes here in memory,
 * alone in all tabs by a lock, and everything is written at its end in one transaction of the browser.
 */
import { compare, fromHex, hex } from "./encoding.js";
import { BadRequest, StaleState } from "./errors.js";

/** @import { Bytes } from "./encoding.js" */
/** @typedef {{record: Bytes, version: number}} Versioned  a record's version is 1 when it is made, one more with each write, and after a deletion 1 again */
/** @typedef {{table: string, key: Bytes, record: Bytes | null, before: number, after: number}} Change  `record` null: it goes; versions before and after */
/** @typedef {{secret: CryptoKey, public: Bytes}} StoredPair */
/**
 * @typedef {object} Backend
 * @property {<T>(step: () => Promise<T>) => Promise<T>} exclusive  runs one step at a time, in every tab
 * @property {(table: string, key: Bytes) => Promise<Versioned | null>} read
 * @property {(table: string) => Promise<{key: Bytes, record: Bytes, version: number}[]>} scan  in the order of the keys
 * @property {(name: string) => Promise<StoredPair | null>} readPair
 * @property {(changes: Change[], pairs: Map<string, StoredPair>) => Promise<void>} commit  all or nothing, durable; rejects with `StaleState`
 *   where a version is not the one before
 * @property {() => Promise<void>} close
 */
/** @typedef {{key: Bytes, record: Bytes | null}} Write */

/** The version of a record that is not there: `putVersioned` with it creates. */
export const ABSENT = 0;

/** What the work of one `Store.run` reads and writes: a write counts for the reads after it at once. Of no use after the work has ended. */
export class Transaction {
  #backend;
  /** What the back end gave, by table and key. @type {Map<string, Map<string, Versioned | null>>} */ #read = new Map();
  /** @type {Map<string, Map<string, Write>>} */ #written = new Map();
  /** Tables of which everything was read. @type {Set<string>} */ #scanned = new Set();
  /** Tables of which everything that was stored goes. @type {Set<string>} */ #cleared = new Set();
  /** @type {Map<string, StoredPair>} */ #pairs = new Map();
  /** @type {(() => Promise<void> | void)[]} */ #before = [];
  /** @type {(() => void)[]} */ #after = [];

  /** @param {Backend} backend */
  constructor(backend) {
    this.#backend = backend;
  }

  /** @template T @param {Map<string, Map<string, T>>} tables @param {string} table @returns {Map<string, T>} */
  #of(tables, table) {
    let rows = tables.get(table);
    if (!rows) tables.set(table, (rows = new Map()));
    return rows;
  }

  /** What is stored, whatever was written since. @param {string} table @param {Bytes} key */
  async #stored(table, key) {
    const rows = this.#of(this.#read, table);
    const name = hex(key);
    if (!rows.has(name)) rows.set(name, this.#scanned.has(table) ? null : await this.#backend.read(table, key));
    return rows.get(name) ?? null;
  }

  /** @param {string} table */
  async #storedTable(table) {
    const rows = this.#of(this.#read, table);
    if (!this.#scanned.has(table)) {
      for (const { key, record, version } of await this.#backend.scan(table)) rows.set(hex(key), { record, version });
      this.#scanned.add(table);
    }
    return rows;
  }

  /** The record, or null. @param {string} table @param {Bytes} key @returns {Promise<Bytes | null>} */
  async get(table, key) {
    const write = this.#written.get(table)?.get(hex(key));
    if (write) return write.record;
    return this.#cleared.has(table) ? null : ((await this.#stored(table, key))?.record ?? null);
  }

  /** The record and its version, or null. @param {string} table @param {Bytes} key @returns {Promise<Versioned | null>} */
  async getVersioned(table, key) {
    const record = await this.get(table, key);
    if (!record) return null;
    const version = (await this.#stored(table, key))?.version ?? ABSENT;
    return { record, version: version + Number(this.#written.get(table)?.has(hex(key)) ?? false) };
  }

  /** Writes the record whatever was there. @param {string} table @param {Bytes} key @param {Bytes} record */
  put(table, key, record) {
    const writes = this.#of(this.#written, table);
    writes.set(hex(key), { key, record });
  }

  /**
   * Writes the record if its version is still `expected` (`ABSENT`: if there is none) and gives the new one.
   *
   * @param {string} table
   * @param {Bytes} key
   * @param {Bytes} record
   * @param {number} expected
   * @returns {Promise<number>} rejects with `StaleState` otherwise
   */
  async putVersioned(table, key, record, expected) {
    const present = (await this.getVersioned(table, key))?.version ?? ABSENT;
    if (present !== expected) throw new StaleState("another writer changed the record meanwhile");
    this.put(table, key, record);
    return ((await this.#stored(table, key))?.version ?? ABSENT) + 1;
  }

  /** Removes the record, if there is one. @param {string} table @param {Bytes} key */
  delete(table, key) {
    this.#of(this.#written, table).set(hex(key), { key, record: null });
  }

  /**
   * Every key and its record, in the order of the keys. Costs as much as the whole table.
   *
   * @param {string} table
   * @returns {Promise<{key: Bytes, record: Bytes}[]>}
   */
  async scan(table) {
    /** @type {Map<string, Bytes | null>} */
    const rows = new Map();
    if (!this.#cleared.has(table)) {
      for (const [key, stored] of await this.#storedTable(table)) rows.set(key, stored?.record ?? null);
    }
    for (const [key, { record }] of this.#written.get(table) ?? []) rows.set(key, record);
    const found = [];
    for (const [key, record] of rows) {
      if (record) found.push({ key: fromHex(key), record });
    }
    return found.sort((one, other) => compare(one.key, other.key));
  }

  /** How many records the table has. @param {string} table */
  async count(table) {
    return (await this.scan(table)).length;
  }

  /** Removes every record of the table. @param {string} table */
  clear(table) {
    this.#cleared.add(table);
    this.#written.delete(table);
  }

  /** A pair whose private key the browser keeps to itself, or null. @param {string} name */
  async pair(name) {
    return this.#pairs.get(name) ?? (await this.#backend.readPair(name));
  }

  /** Keeps such a pair. @param {string} name @param {StoredPair} pair */
  putPair(name, pair) {
    this.#pairs.set(name, pair);
  }

  /**
   * Calls `callback` after the work is done and before the commit; it may still write, and fail it all.
   *
   * @param {() => Promise<void> | void} callback
   */
  beforeCommit(callback) {
    this.#before.push(callback);
  }

  /** Calls `callback` once everything is durable; it must not throw. Not called when the work failed. @param {() => void} callback */
  afterCommit(callback) {
    this.#after.push(callback);
  }

  /** For the store: writes everything. */
  async commit() {
    for (const callback of this.#before) await callback();
    const changes = await this.#changes();
    if (changes.length || this.#pairs.size) await this.#backend.commit(changes, this.#pairs);
    for (const callback of this.#after) callback();
  }

  /** @returns {Promise<Change[]>} */
  async #changes() {
    /** @type {Change[]} */
    const changes = [];
    for (const table of this.#cleared) {
      const writes = this.#of(this.#written, table);
      for (const [key, stored] of await this.#storedTable(table)) {
        if (stored && !writes.has(key)) this.delete(table, fromHex(key));
      }
    }
    for (const [table, writes] of this.#written) {
      for (const { key, record } of writes.values()) {
        const before = (await this.#stored(table, key))?.version ?? ABSENT;
        if (record || before !== ABSENT) changes.push({ table, key, record, before, after: record ? before + 1 : ABSENT });
      }
    }
    return changes;
  }
}

/** One device's state over a back end. */
export class Store {
  #backend;
  #closed = false;

  /** @param {Backend} backend */
  constructor(backend) {
    this.#backend = backend;
  }

  /**
   * Calls `work` in one transaction and gives its result once that is durable.
   *
   * What `work` rejects with undoes all that it wrote. It runs beside no other work on this state, in any tab, and so must not call `run`.
   *
   * @template T
   * @param {(tx: Transaction) => Promise<T>} work
   * @returns {Promise<T>} rejects with `StaleState` and `StoreError` besides
   */
  async run(work) {
    if (this.#closed) throw new BadRequest("the store was closed", "closed");
    return this.#backend.exclusive(async () => {
      const tx = new Transaction(this.#backend);
      const result = await work(tx);
      await tx.commit();
      return result;
    });
  }

  /** Gives up the database, once the work under way is done; repeating it is harmless. */
  async close() {
    this.#closed = true;
    await this.#backend.exclusive(() => this.#backend.close());
  }
}
