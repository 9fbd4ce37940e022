/**
 * Opens the browser's database of a store, and brings one of an earlier release up to date.
 *
 * The version of the database is that of its records (migrations.js). WebCrypto does not work inside of a transaction of IndexedDB, so an
 * upgrade opens and seals all records before it, and then exchanges them in the one transaction that also sets the version: a crash leaves
 * the old records whole. Other tabs do not write meanwhile, for the store's lock is held, and their connections are closed by it.
 */
import { E2EEError, StoreError } from "./errors.js";
import { RowSealer } from "./store_sealing.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { Entry, Schema } from "./migrations.js" */
/** @import { Row } from "./store_sealing.js" */

export const RECORDS = "records";
export const KEYS = "keys";
const STORE_KEY = "store";
// A tab that is asked to let go does so at once, or when its transaction ends; one that is frozen never does.
const BLOCKED_MS = 3_000;
// What a record has as its version when it is made (transaction.js).
const FIRST_ROW_VERSION = 1;

/** @param {unknown} error */
export function storeError(error) {
  if (error instanceof E2EEError) return error;
  const name = error instanceof DOMException ? error.name : "unknown";
  // The one thing that this error is for: the version asked for is below that of the database.
  if (name === "VersionError") return new StoreError("a later release wrote the store; load the page again", "store_newer");
  return new StoreError(`the database refuses: ${name}`, name === "QuotaExceededError" ? "store_full" : "store_unavailable");
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
export function outcome(request) {
  return new Promise((resolve, reject) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(storeError(request.error)));
  });
}

/** Resolves when the transaction is durable. @param {IDBTransaction} transaction @returns {Promise<void>} */
export function finished(transaction) {
  return new Promise((resolve, reject) => {
    transaction.addEventListener("complete", () => resolve());
    transaction.addEventListener("abort", () => reject(storeError(transaction.error)));
  });
}

/**
 * Opens a database at `version`.
 *
 * @param {string} name
 * @param {number} version
 * @param {(database: IDBDatabase, transaction: IDBTransaction, before: number) => boolean} change  brings one of an earlier version to this
 *   one, 0 where there was none; false leaves it as it is, and the request fails
 * @returns {Promise<IDBDatabase>}
 */
async function request(name, version, change) {
  const asked = indexedDB.open(name, version);
  let abandoned = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const blocked = new Promise((_, reject) => {
    asked.addEventListener("blocked", () => {
      timer = setTimeout(() => {
        abandoned = true;
        reject(new StoreError("another tab does not give up the database", "store_busy"));
      }, BLOCKED_MS);
    });
  });
  asked.addEventListener("upgradeneeded", ({ oldVersion }) => {
    const transaction = /** @type {IDBTransaction} */ (asked.transaction);
    // What was prepared before the other tab gave way may be stale.
    if (abandoned || !change(asked.result, transaction, oldVersion)) transaction.abort();
  });
  asked.addEventListener("success", () => {
    if (abandoned) asked.result.close();
  });
  try {
    return await /** @type {Promise<IDBDatabase>} */ (Promise.race([outcome(asked), blocked]));
  } finally {
    clearTimeout(timer);
  }
}

/** @param {IDBDatabase} database */
function makeStores(database) {
  database.createObjectStore(RECORDS);
  database.createObjectStore(KEYS);
  return true;
}

/** The key of the records, made at the first time. @param {IDBDatabase} database @returns {Promise<CryptoKey>} */
export async function storeKey(database) {
  const known = await outcome(database.transaction(KEYS).objectStore(KEYS).get(STORE_KEY));
  if (known) return known;
  const made = await crypto.subtle.generateKey({ name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
  const transaction = database.transaction(KEYS, "readwrite", { durability: "strict" });
  transaction.objectStore(KEYS).put(made, STORE_KEY);
  await finished(transaction);
  return made;
}

/** All records, opened. @param {IDBDatabase} database @param {RowSealer} sealer @returns {Promise<Entry[]>} */
async function entriesOf(database, sealer) {
  const store = database.transaction(RECORDS).objectStore(RECORDS);
  const [keys, rows] = await Promise.all([outcome(store.getAllKeys()), outcome(store.getAll())]);
  return Promise.all(
    rows.map(async (/** @type {Row} */ row, index) => {
      const [table, bytes] = /** @type {[string, ArrayBuffer]} */ (keys[index]);
      const key = new Uint8Array(bytes);
      return { table, key, record: await sealer.open(table, key, row) };
    }),
  );
}

/**
 * The records of a database as those of this release, sealed.
 *
 * @param {IDBDatabase} database
 * @param {Schema} schema
 * @returns {Promise<{place: [string, Bytes], row: Row}[]>}
 */
async function upgradedRows(database, schema) {
  const sealer = new RowSealer(await storeKey(database));
  const upgraded = schema.upgrade(await entriesOf(database, sealer), database.version);
  return Promise.all(
    upgraded.map(async ({ table, key, record }) => {
      return { place: /** @type {[string, Bytes]} */ ([table, key]), row: await sealer.seal(table, key, record, FIRST_ROW_VERSION) };
    }),
  );
}

/**
 * Opens a store's database, whose lock the caller holds.
 *
 * @param {string} name
 * @param {Schema} schema
 * @returns {Promise<IDBDatabase>} rejects with `StoreError`: `store_newer` for one of a later release, `store_busy` where a tab does not let
 *   go of one of an earlier release
 */
export async function openDatabase(name, schema) {
  let before = 0;
  const opened = await request(name, schema.version, (database, _transaction, version) => {
    before = version;
    return version === 0 && makeStores(database);
  }).catch((error) => {
    if (before) return null;
    throw error;
  });
  if (opened) return opened;
  const old = await request(name, before, () => false);
  let rows;
  try {
    rows = await upgradedRows(old, schema);
  } finally {
    old.close();
  }
  return request(name, schema.version, (_database, transaction, version) => {
    if (version !== before) return false;
    const records = transaction.objectStore(RECORDS);
    records.clear();
    for (const { place, row } of rows) records.put(row, place);
    return true;
  });
}
