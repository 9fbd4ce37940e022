/**
 * A device's state in the browser's database: durable when it says so, one writer in all tabs, every record sealed.
 *
 * Records are sealed with AES-256-GCM under a key that no script can read out, bound to their place and version: who copies the
 * database has nothing, and a record cannot be put in the place of another. Whoever runs script in the page can do what the page can.
 */
import { StaleState } from "./errors.js";
import { CURRENT } from "./migrations.js";
import { KEYS, RECORDS, openDatabase, outcome, storeError, storeKey } from "./store_database.js";
import { RowSealer } from "./store_sealing.js";
import { ABSENT, Store } from "./transaction.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { Backend, Change, StoredPair, Versioned } from "./transaction.js" */
/** @import { Row } from "./store_sealing.js" */
/** @import { Schema } from "./migrations.js" */

/** One at a time in all tabs. @template T @param {string} lock @param {() => Promise<T>} step @returns {Promise<T>} */
async function exclusively(lock, step) {
  return /** @type {Promise<any>} */ (navigator.locks.request(lock, step));
}

/** @implements {Backend} */
class IndexedDbBackend {
  #database;
  #lock;
  #sealer;

  /** @param {IDBDatabase} database @param {string} lock @param {RowSealer} sealer */
  constructor(database, lock, sealer) {
    this.#database = database;
    this.#lock = lock;
    this.#sealer = sealer;
  }

  /** @template T @param {() => Promise<T>} step @returns {Promise<T>} */
  exclusive(step) {
    return exclusively(this.#lock, step);
  }

  /** @param {string} name @param {IDBTransactionMode} [mode] */
  #store(name, mode = "readonly") {
    try {
      return this.#database.transaction(name, mode).objectStore(name);
    } catch (error) {
      throw storeError(error);
    }
  }

  /** @param {string} table @param {Bytes} key @returns {Promise<Versioned | null>} */
  async read(table, key) {
    const row = /** @type {Row | undefined} */ (await outcome(this.#store(RECORDS).get([table, key])));
    return row ? { version: row.version, record: await this.#sealer.open(table, key, row) } : null;
  }

  /** @param {string} table */
  async scan(table) {
    // An array sorts after all bytes, so this is every key of the table.
    const range = IDBKeyRange.bound([table, new Uint8Array(0)], [table, []]);
    const store = this.#store(RECORDS);
    const [keys, rows] = await Promise.all([outcome(store.getAllKeys(range)), outcome(store.getAll(range))]);
    return Promise.all(
      rows.map(async (/** @type {Row} */ row, index) => {
        const key = new Uint8Array(/** @type {[string, ArrayBuffer]} */ (keys[index])[1]);
        return { key, version: row.version, record: await this.#sealer.open(table, key, row) };
      }),
    );
  }

  /** @param {string} name @returns {Promise<StoredPair | null>} */
  async readPair(name) {
    return (await outcome(this.#store(KEYS).get(`pair/${name}`))) ?? null;
  }

  /** @param {Change[]} changes @param {Map<string, StoredPair>} pairs */
  async commit(changes, pairs) {
    const rows = await Promise.all(
      changes.map(({ table, key, record, after }) => record && this.#sealer.seal(table, key, record, after)),
    );
    const transaction = this.#transaction();
    const done = new Promise((resolve, reject) => {
      transaction.addEventListener("complete", resolve);
      transaction.addEventListener("abort", () => reject(stale ?? storeError(transaction.error)));
    });
    /** @type {StaleState | null} */
    let stale = null;
    const records = transaction.objectStore(RECORDS);
    changes.forEach(({ table, key, before }, index) => {
      const request = records.get([table, key]);
      request.addEventListener("success", () => {
        const row = rows[index];
        if ((request.result?.version ?? ABSENT) !== before) {
          stale = new StaleState("another writer changed a record meanwhile");
          transaction.abort();
        } else if (row) {
          records.put(row, [table, key]);
        } else {
          records.delete([table, key]);
        }
      });
    });
    const keys = transaction.objectStore(KEYS);
    for (const [name, pair] of pairs) keys.put(pair, `pair/${name}`);
    await done;
  }

  #transaction() {
    try {
      return this.#database.transaction([RECORDS, KEYS], "readwrite", { durability: "strict" });
    } catch (error) {
      throw storeError(error);
    }
  }

  async close() {
    this.#database.close();
  }
}

/** @param {string} name */
const lockOf = (name) => `store ${name}`;

/**
 * Opens the state of one device of this browser; every tab may.
 *
 * Ask for `navigator.storage.persist()` before: a browser that is short of room throws away what is not marked so.
 *
 * Records of an earlier release are brought up to date, all of them or none.
 *
 * @param {string} [name]
 * @param {{schema?: Schema}} [options]  this release's schema; only tests pass another
 * @returns {Promise<Store>} rejects with `StoreError`: `store_newer` where a later release wrote the records, for which this one has to be
 *   loaded again, `store_busy` where another tab keeps an upgrade from beginning, and others
 */
export async function openStore(name = "salam-e2ee", { schema = CURRENT } = {}) {
  return exclusively(lockOf(name), async () => {
    try {
      const database = await openDatabase(name, schema);
      // A later release in another tab waits for this, and this tab fails from then on instead of both writing.
      database.addEventListener("versionchange", () => database.close());
      return new Store(new IndexedDbBackend(database, lockOf(name), new RowSealer(await storeKey(database))));
    } catch (error) {
      throw storeError(error);
    }
  });
}

/**
 * Deletes a device's state for good, once every tab has closed it.
 *
 * @param {string} name
 * @returns {Promise<void>} rejects with `StoreError`
 */
export async function deleteStore(name) {
  await outcome(indexedDB.deleteDatabase(name));
}
