/**
 * A device's state in the browser's database: durable when it says so, one writer in all tabs, every record sealed.
 *
 * Records are sealed with AES-256-GCM under a key that no script can read out, bound to their place and version: who copies the
 * database has nothing, and a record cannot be put in the place of another. Whoever runs script in the page can do what the page can.
 */
import { concat, lp, u64, utf8 } from "./encoding.js";
import { E2EEError, StaleState, StoreError } from "./errors.js";

import { NONCE_BYTES, systemRandom } from "./suite.js";
import { ABSENT, Store } from "./transaction.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { Backend, Change, StoredPair, Versioned } from "./transaction.js" */
/** @typedef {{version: number, sealed: Bytes}} Row */

const VERSION = 1;
const RECORDS = "records";
const KEYS = "keys";
const STORE_KEY = "store";

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function outcome(request) {
  return new Promise((resolve, reject) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(storeError(request.error)));
  });
}

/** @param {unknown} error */
function storeError(error) {
  if (error instanceof E2EEError) return error;
  const name = error instanceof DOMException ? error.name : "unknown";
  return new StoreError(`the database refuses: ${name}`, name === "QuotaExceededError" ? "store_full" : "store_unavailable");
}

/** @param {string} name @returns {Promise<IDBDatabase>} */
async function openDatabase(name) {
  const request = indexedDB.open(name, VERSION);
  request.addEventListener("upgradeneeded", () => {
    request.result.createObjectStore(RECORDS);
    request.result.createObjectStore(KEYS);
  });
  const database = await outcome(request);
  // A later release in another tab waits for this, and this tab fails from then on instead of both writing.
  database.addEventListener("versionchange", () => database.close());
  return database;
}

/** One at a time in all tabs. @template T @param {string} lock @param {() => Promise<T>} step @returns {Promise<T>} */
async function exclusively(lock, step) {
  return /** @type {Promise<any>} */ (navigator.locks.request(lock, step));
}

/** @param {string} table @param {Bytes} key @param {number} version */
const placeOf = (table, key, version) => concat(lp(utf8(table)), lp(key), u64(version));

/** @implements {Backend} */
class IndexedDbBackend {
  #database;
  #lock;
  #key;

  /** @param {IDBDatabase} database @param {string} lock @param {CryptoKey} key */
  constructor(database, lock, key) {
    this.#database = database;
    this.#lock = lock;
    this.#key = key;
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
    return row ? { version: row.version, record: await this.#open(table, key, row) } : null;
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
        return { key, version: row.version, record: await this.#open(table, key, row) };
      }),
    );
  }

  /** @param {string} name @returns {Promise<StoredPair | null>} */
  async readPair(name) {
    return (await outcome(this.#store(KEYS).get(`pair/${name}`))) ?? null;
  }

  /** @param {Change[]} changes @param {Map<string, StoredPair>} pairs */
  async commit(changes, pairs) {
    const rows = await Promise.all(changes.map((change) => this.#seal(change)));
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

  /** @param {Change} change @returns {Promise<Row | null>} */
  async #seal({ table, key, record, after }) {
    if (!record) return null;
    const iv = systemRandom(NONCE_BYTES);
    const parameters = { name: "AES-GCM", iv, additionalData: placeOf(table, key, after) };
    const sealed = new Uint8Array(await crypto.subtle.encrypt(parameters, this.#key, record));
    return { version: after, sealed: concat(iv, sealed) };
  }

  /** @param {string} table @param {Bytes} key @param {Row} row @returns {Promise<Bytes>} */
  async #open(table, key, { version, sealed }) {
    const parameters = { name: "AES-GCM", iv: sealed.slice(0, NONCE_BYTES), additionalData: placeOf(table, key, version) };
    try {
      return new Uint8Array(await crypto.subtle.decrypt(parameters, this.#key, sealed.slice(NONCE_BYTES)));
    } catch {
      throw new StoreError("a stored record does not open", "store_corrupt");
    }
  }
}

/** The key of the records, made at the first time. @param {IDBDatabase} database @returns {Promise<CryptoKey>} */
async function storeKey(database) {
  const known = await outcome(database.transaction(KEYS).objectStore(KEYS).get(STORE_KEY));
  if (known) return known;
  const made = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  const transaction = database.transaction(KEYS, "readwrite", { durability: "strict" });
  transaction.objectStore(KEYS).put(made, STORE_KEY);
  await new Promise((resolve, reject) => {
    transaction.addEventListener("complete", resolve);
    transaction.addEventListener("abort", () => reject(storeError(transaction.error)));
  });
  return made;
}

/** @param {string} name */
const lockOf = (name) => `store ${name}`;

/**
 * Opens the state of one device of this browser; every tab may.
 *
 * Ask for `navigator.storage.persist()` before: a browser that is short of room throws away what is not marked so.
 *
 * @param {string} [name]
 * @returns {Promise<Store>} rejects with `StoreError`
 */
export async function openStore(name = "salam-e2ee") {
  return exclusively(lockOf(name), async () => {
    try {
      const database = await openDatabase(name);
      return new Store(new IndexedDbBackend(database, lockOf(name), await storeKey(database)));
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
