/** Where a device keeps its state: in the browser's database (`openStore`), or only as long as the page (`memoryStore`). */
import { compare, fromHex, hex } from "./encoding.js";
import { Lock } from "./lock.js";
import { Store } from "./transaction.js";

export { deleteStore, openStore } from "./store_indexeddb.js";
export { ABSENT, Store, Transaction } from "./transaction.js";

/** @import { StoredPair, Versioned } from "./transaction.js" */

/** A state that is gone with the page: for tests, and for a visitor who is not to leave a trace. @returns {Store} */
export function memoryStore() {
  const lock = new Lock();
  /** @type {Map<string, Map<string, Versioned>>} */
  const tables = new Map();
  /** @type {Map<string, StoredPair>} */
  const kept = new Map();
  return new Store({
    exclusive: (step) => lock.run(step),
    read: async (table, key) => tables.get(table)?.get(hex(key)) ?? null,
    async scan(table) {
      const rows = [...(tables.get(table) ?? [])].map(([key, row]) => ({ key: fromHex(key), ...row }));
      return rows.sort((one, other) => compare(one.key, other.key));
    },
    readPair: async (name) => kept.get(name) ?? null,
    async commit(changes, pairs) {
      for (const { table, key, record, after } of changes) {
        const rows = tables.get(table) ?? new Map();
        tables.set(table, rows);
        if (record) rows.set(hex(key), { record, version: after });
        else rows.delete(hex(key));
      }
      for (const [name, pair] of pairs) kept.set(name, pair);
    },
    close: async () => {},
  });
}
