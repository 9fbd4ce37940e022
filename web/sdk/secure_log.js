/** The lines of an encrypted chat in the device's own store, so that a reload finds them; the server has none to give. */
import { fromUtf8, u32, utf8 } from "./e2ee/encoding.js";

/** @import { Device } from "./e2ee/device.js" */
/** @import { Transaction } from "./e2ee/store.js" */
/** @import { SecureLine } from "./secure_chat.js" */

// As many as the page shows.
export const MAX_LINES = 500;
const VISITS = "app.chat-visits";
// Visits that were never ended, by a closed tab, are forgotten at the next one after this time.
const VISIT_LIFETIME_S = 24 * 3_600;

// The application's own records: what they are is between this release and itself.
/** @param {unknown} value */
export const written = (value) => utf8(JSON.stringify(value));
/** @param {Uint8Array} record */
export const read = (record) => JSON.parse(fromUtf8(record, "a record"));

/** Where the lines of a visit are. @param {string} participantId */
const linesTable = (participantId) => `app.chat/${participantId}`;
/** Where messages of a visit wait for somebody's key to be accepted. @param {string} participantId */
export const heldTable = (participantId) => `app.chat-held/${participantId}`;

/** @param {Transaction} tx @param {Uint8Array<ArrayBuffer>} visit */
function forgetVisit(tx, visit) {
  tx.delete(VISITS, visit);
  const participantId = fromUtf8(visit, "a participant");
  for (const table of [linesTable(participantId), heldTable(participantId)]) tx.clear(table);
}

/** The lines of one visit to a room. */
export class SecureLog {
  #next = 0;
  #table;
  #visit;

  /** @param {string} participantId */
  constructor(participantId) {
    this.#visit = utf8(participantId);
    this.#table = linesTable(participantId);
  }

  /** What earlier pages of this visit wrote, oldest first; old visits are forgotten. @param {Device} device @returns {Promise<SecureLine[]>} */
  open(device) {
    return device.run(async (tx) => {
      const nowS = Math.floor(Date.now() / 1000);
      for (const { key, record } of await tx.scan(VISITS)) {
        if (nowS - read(record) >= VISIT_LIFETIME_S) forgetVisit(tx, key);
      }
      await tx.put(VISITS, this.#visit, written(nowS));
      const rows = await tx.scan(this.#table);
      const last = rows.at(-1)?.key;
      this.#next = last ? new DataView(last.buffer, last.byteOffset).getUint32(0) + 1 : 0;
      return rows.map(({ record }) => read(record));
    });
  }

  /** @param {Transaction} tx @param {SecureLine} line */
  async add(tx, line) {
    await tx.put(this.#table, u32(this.#next), written(line));
    if (this.#next >= MAX_LINES) await tx.delete(this.#table, u32(this.#next - MAX_LINES));
    this.#next += 1;
  }

  /** The visit is over: neither its lines nor what waits is kept. @param {Device} device */
  forget(device) {
    return device.run(async (tx) => forgetVisit(tx, this.#visit));
  }
}
