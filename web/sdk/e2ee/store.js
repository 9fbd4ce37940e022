/**
 * Where a device keeps its state: records under a table name and a key, changed in transactions that are kept whole or not at all.
 *
 * WebCrypto cannot be waited for inside of a transaction of IndexedDB, which ends by itself meanwhile. So a transaction here reads
 * as it goes, gathers what it writes, and writes it in one step at the end. A lock keeps all others out until then, other tabs too.
 */
import { hex } from "./encoding.js";
import { ResourceUnavailable } from "./errors.js";
import { Lock } from "./lock.js";

/** @import { Bytes } from "./encoding.js" */
/** @typedef {Bytes | object} StoredRecord  bytes, or an object that the structured clone algorithm takes, such as one with a CryptoKey */
/** @typedef {{key: Bytes, record: any}} Row */
/** @typedef {{cleared: string[], rows: {table: string, key: Bytes, record: StoredRecord | null}[]}} Changes  tables are cleared first; null: the row goes */
/**
 * @typedef {object} Backend
 * @property {(table: string, key: Bytes) => Promise<any>} read  undefined where there is none
 * @property {(table: string) => Promise<Row[]>} readAll  in the order of the keys
 * @property {(changes: Changes) => Promise<void>} commit  all or nothing, and durable
 * @property {<T>(work: () => Promise<T>) => Promise<T>} exclusively
 * @property {() => void} close
 */
/** @typedef {{cleared: boolean, rows: Map<string, {key: Bytes, record: StoredRecord | null}>}} TableChanges */

/** What a work function may do, until its promise has settled. Table names that begin with `app.` are the application's. */
export class Transaction {
  /** @type {Map<string, TableChanges>} */ #changes = new Map();
  /** @type {(() => Promise<void>)[]} */ #beforeCommit = [];
  #backend;

  /** @param {Backend} backend */
  constructor(backend) {
    this.#backend = backend;
  }

  /** @param {string} table @param {Bytes} key @returns {Promise<any>} undefined where there is none */
  async get(table, key) {
    const changed = this.#changes.get(table);
    const row = changed?.rows.get(hex(key));
    if (row) return row.record ?? undefined;
    return changed?.cleared ? undefined : this.#backend.read(table, key);
  }

  /** @param {string} table @param {Bytes} key @param {StoredRecord} record */
  put(table, key, record) {
    this.#of(table).rows.set(hex(key), { key, record });
  }

  /** @param {string} table @param {Bytes} key */
  delete(table, key) {
    this.#of(table).rows.set(hex(key), { key, record: null });
  }

  /** Every row of a table, in the order of the keys. @param {string} table @returns {Promise<Row[]>} */
  async scan(table) {
    const changed = this.#changes.get(table);
    const rows = new Map();
    if (!changed?.cleared) for (const row of await this.#backend.readAll(table)) rows.set(hex(row.key), row);
    for (const [name, row] of changed?.rows ?? []) {
      if (row.record === null) rows.delete(name);
      else rows.set(name, row);
    }
    return [...rows].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, row]) => row);
  }

  /** @param {string} table */
  async count(table) {
    return (await this.scan(table)).length;
  }

  /** @param {string} table */
  clear(table) {
    this.#changes.set(table, { cleared: true, rows: new Map() });
  }

  /** Calls back when the work is done, before it is written; what it throws fails all of it. @param {() => Promise<void>} callback */
  beforeCommit(callback) {
    this.#beforeCommit.push(callback);
  }

  /** For the store alone. */
  async commit() {
    for (const callback of this.#beforeCommit) await callback();
    const cleared = [...this.#changes].filter(([, { cleared }]) => cleared).map(([table]) => table);
    const rows = [...this.#changes].flatMap(([table, { rows }]) => [...rows.values()].map((row) => ({ table, ...row })));
    if (cleared.length || rows.length) await this.#backend.commit({ cleared, rows });
  }

  /** @param {string} table */
  #of(table) {
    let changed = this.#changes.get(table);
    if (!changed) this.#changes.set(table, (changed = { cleared: false, rows: new Map() }));
    return changed;
  }
}

/** A place for one device's state. */
export class Store {
  #backend;

  /** @param {Backend} backend */
  constructor(backend) {
    this.#backend = backend;
  }

  /**
   * Runs `work` in one transaction and returns its result once that is durable; an exception undoes all that it wrote.
   *
   * @template T
   * @param {(tx: Transaction) => Promise<T>} work
   * @returns {Promise<T>} rejects with what `work` throws, and with `ResourceUnavailable` when the place refuses
   */
  run(work) {
    return this.#backend.exclusively(async () => {
      const tx = new Transaction(this.#backend);
      const result = await work(tx);
      await tx.commit();
      return result;
    });
  }

  close() {
    this.#backend.close();
  }
}

/** A store that goes with the page. */
export function memoryStore() {
  /** @type {Map<string, Map<string, Row>>} */
  const tables = new Map();
  const lock = new Lock();
  return new Store({
    read: async (table, key) => tables.get(table)?.get(hex(key))?.record,
    readAll: async (table) => [...(tables.get(table) ?? [])].sort(([one], [other]) => (one < other ? -1 : 1)).map(([, row]) => row),
    commit: async ({ cleared, rows }) => {
      for (const table of cleared) tables.delete(table);
      for (const { table, key, record } of rows) {
        let found = tables.get(table);
        if (!found) tables.set(table, (found = new Map()));
        if (record === null) found.delete(hex(key));
        else found.set(hex(key), { key, record });
      }
    },
    exclusively: (work) => lock.run(work),
    close: () => {},
  });
}

const OBJECTS = "records";
// Changes with the layout of the database itself, not of the records in it.
const DATABASE_VERSION = 1;

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function answer(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @param {string} table */
const rangeOf = (table) => IDBKeyRange.bound([table], [table, []]);

/** @param {unknown} error */
function refused(error) {
  return new ResourceUnavailable(`the browser's storage refuses: ${error instanceof Error ? error.name : "unknown"}`);
}

/**
 * A store in IndexedDB, for one device, which all tabs may open.
 *
 * @param {string} name  of the database
 * @returns {Promise<Store>} rejects with `ResourceUnavailable` where the browser keeps nothing
 */
export async function openStore(name) {
  const opening = indexedDB.open(name, DATABASE_VERSION);
  opening.onupgradeneeded = () => opening.result.createObjectStore(OBJECTS);
  /** @type {IDBDatabase} */
  let database;
  try {
    database = await answer(opening);
  } catch (error) {
    throw refused(error);
  }
  // Somebody wants to delete it: the account of this browser is over.
  database.onversionchange = () => database.close();
  /** @template T @param {(objects: IDBObjectStore) => Promise<T>} ask @returns {Promise<T>} */
  const reading = async (ask) => {
    try {
      return await ask(database.transaction(OBJECTS, "readonly").objectStore(OBJECTS));
    } catch (error) {
      throw refused(error);
    }
  };
  return new Store({
    read: (table, key) => reading((objects) => answer(objects.get([table, key]))),
    readAll: (table) =>
      reading(async (objects) => {
        const [keys, records] = await Promise.all([answer(objects.getAllKeys(rangeOf(table))), answer(objects.getAll(rangeOf(table)))]);
        return keys.map((key, index) => ({ key: new Uint8Array(/** @type {[string, ArrayBuffer]} */ (key)[1]), record: records[index] }));
      }),
    commit: (changes) => write(database, changes),
    exclusively: (work) => /** @type {Promise<any>} */ (navigator.locks.request(`salam-store:${name}`, work)),
    close: () => database.close(),
  });
}

/** @param {IDBDatabase} database @param {Changes} changes @returns {Promise<void>} */
function write(database, { cleared, rows }) {
  return new Promise((resolve, reject) => {
    // Strict: a message goes out only when what it used up is on the disk, so that no key is ever used twice.
    const transaction = database.transaction(OBJECTS, "readwrite", { durability: "strict" });
    transaction.oncomplete = () => resolve();
    transaction.onabort = transaction.onerror = () => reject(refused(transaction.error));
    const objects = transaction.objectStore(OBJECTS);
    for (const table of cleared) objects.delete(rangeOf(table));
    for (const { table, key, record } of rows) {
      if (record === null) objects.delete([table, key]);
      else objects.put(record, [table, key]);
    }
  });
}

/** Deletes a database and all that it holds. @param {string} name */
export function deleteStore(name) {
  return answer(indexedDB.deleteDatabase(name));
}
