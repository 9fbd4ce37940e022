/**
 * Where a device's groups lie in its store, and what one transaction has read and changed of them.
 *
 * Each group has a head, whose version rises with every change: that is the compare-and-swap of the group, and by it a group that was
 * kept in memory is known to be the stored one. Beside it lie the records of its keys (group_records.js) and the log of its operations,
 * which whoever joins has to be shown whole. Layouts are those of Python's `e2ee.group_store`.
 */
import { encodeContent, parseContent } from "./content.js";
import { Reader, compare, concat, equal, fromHex, hex, lp, u16, u32, u8 } from "./encoding.js";
import { GroupStateMismatch, LimitReached, MalformedMessage, StoreError, UnsupportedVersion } from "./errors.js";
import { SenderKeyGroup } from "./group.js";
import { deviceKey } from "./records.js";
import { ABSENT } from "./transaction.js";

/** @import { DeviceCertificate } from "./certificates.js" */
/** @import { SenderKeyDistribution } from "./content.js" */
/** @import { Bytes } from "./encoding.js" */
/** @import { Address } from "./group_records.js" */
/** @import { Limits } from "./limits.js" */
/** @import { Transaction } from "./transaction.js" */
/** @import { Random } from "./suite.js" */
/** @typedef {{certificate: Bytes, operation: Bytes}} SignedOperation  one operation of a log, and the certificate of the device that signed it */
/** @typedef {{group: SenderKeyGroup, head: Bytes, version: number}} Opened */

// Table names. What has a variable part is a table that is scanned or cleared alone.
export const GROUPS = "groups";
/** Sender keys that came before the group or the operation that they are for, by the device that gave them. */
export const WAITING = "group_keys_waiting";
/** The records of one group, by their names in it. @param {Bytes} groupId */
export const recordsTable = (groupId) => `group/${hex(groupId)}`;
/** The log of one group, by epoch. @param {Bytes} groupId */
export const operationsTable = (groupId) => `group_operations/${hex(groupId)}`;

const VERSION = 1;
// A head holds random bytes, so that a group that was forgotten and joined again is another one.
const HEAD_BYTES = 8;
// With all 1,024 devices having sent, and nothing skipped, a group takes about 2 MB.
const GROUPS_CACHED = 32;

/**
 * What is wrong with a stored record is the store's fault: no message is to be blamed for it.
 *
 * @template T
 * @param {() => Promise<T> | T} read
 * @returns {Promise<T>}
 */
async function stored(read) {
  try {
    return await read();
  } catch (error) {
    if (error instanceof UnsupportedVersion) throw new StoreError(error.message, "store_newer");
    if (error instanceof MalformedMessage) throw new StoreError("a record of a group is damaged", "store_corrupt");
    throw error;
  }
}

/** @param {Bytes} record */
function open(record) {
  const reader = new Reader(record);
  const version = reader.u8();
  if (version !== VERSION) throw new UnsupportedVersion(`a group's record has version ${version}; this release reads ${VERSION}`);
  return reader;
}

/** @param {SignedOperation} signed */
const encodeSigned = ({ certificate, operation }) => concat(u8(VERSION), lp(certificate), operation);

/** @param {Bytes} record @returns {SignedOperation} */
function parseSigned(record) {
  const reader = open(record);
  return { certificate: reader.lp(), operation: reader.rest() };
}

/** @param {Bytes} record */
function checkHead(record) {
  const reader = open(record);
  reader.take(HEAD_BYTES);
  reader.done();
}

/** @param {Bytes} record @returns {SenderKeyDistribution[]} */
function parseWaiting(record) {
  const reader = open(record);
  const keys = Array.from({ length: reader.u16() }, () => parseContent(concat(u8(1), reader.lp())));
  reader.done();
  return /** @type {SenderKeyDistribution[]} */ (keys);
}

/** Groups as they are in the store, by their id in hexadecimal; the ones used last. */
export class GroupCache {
  /** @type {Map<string, Opened>} */ #groups = new Map();

  /** The group of that head and version; it is the caller's own then. @param {string} name @param {Bytes} head @param {number} version */
  take(name, head, version) {
    const kept = this.#groups.get(name);
    this.#groups.delete(name);
    return kept && kept.version === version && equal(kept.head, head) ? kept.group : null;
  }

  /** Keeps what the store holds. @param {string} name @param {Opened} opened */
  keep(name, opened) {
    this.#groups.set(name, opened);
    if (this.#groups.size > GROUPS_CACHED) this.#groups.delete(/** @type {string} */ (this.#groups.keys().next().value));
  }
}

/** See the module. Made once for each transaction and of no use after it. */
export class GroupSpace {
  #own;
  #cache;
  #limits;
  /** @type {Map<string, Opened>} */ #opened = new Map();

  /** @param {Transaction} tx @param {DeviceCertificate} own @param {GroupCache} cache @param {Limits} limits */
  constructor(tx, own, cache, limits) {
    this.tx = tx;
    this.#own = own;
    this.#cache = cache;
    this.#limits = limits;
    tx.beforeCommit(() => this.#write());
    tx.afterCommit(() => this.#keep());
  }

  /** The ids of all groups. @returns {Promise<Bytes[]>} */
  async ids() {
    const names = new Set((await this.tx.scan(GROUPS)).map(({ key }) => hex(key)));
    for (const name of this.#opened.keys()) names.add(name);
    return [...names].map(fromHex).sort(compare);
  }

  /** The group, or null where there is none of that id. What it changes is written before the commit. @param {Bytes} groupId */
  async find(groupId) {
    const name = hex(groupId);
    let opened = this.#opened.get(name);
    if (!opened) {
      const row = await this.tx.getVersioned(GROUPS, groupId);
      if (!row) return null;
      await stored(() => checkHead(row.record));
      const group = this.#cache.take(name, row.record, row.version) ?? (await this.#load(groupId));
      opened = { group, head: row.record, version: row.version };
      this.#opened.set(name, opened);
    }
    return opened.group;
  }

  /** @param {Bytes} groupId */
  async #load(groupId) {
    const records = (await this.tx.scan(recordsTable(groupId))).map(({ key, record }) => ({ name: key, record }));
    return stored(() => SenderKeyGroup.fromRecords(this.#own, records, this.#limits));
  }

  /** The group; `GroupStateMismatch` where there is none of that id (yet). @param {Bytes} groupId */
  async get(groupId) {
    const group = await this.find(groupId);
    if (!group) throw new GroupStateMismatch("the group is not known here; join it first");
    return group;
  }

  /**
   * A group that is new; `LimitReached` where there are as many as there may be. Draws: 8 bytes.
   *
   * @param {SenderKeyGroup} group
   * @param {Random} random
   */
  async add(group, random) {
    const { maxGroups } = this.#limits;
    if ((await this.ids()).length >= maxGroups) throw new LimitReached(`a device has at most ${maxGroups} groups (maxGroups)`);
    this.#opened.set(hex(group.groupId), { group, head: concat(u8(VERSION), random(HEAD_BYTES)), version: ABSENT });
  }

  /** Deletes everything of a group. @param {Bytes} groupId */
  async drop(groupId) {
    this.#opened.delete(hex(groupId));
    await this.tx.delete(GROUPS, groupId);
    await this.tx.clear(recordsTable(groupId));
    await this.tx.clear(operationsTable(groupId));
  }

  /** The groups that have a record of this name, and those that this transaction has in its hands, which may have. @param {Bytes} name */
  async withRecord(name) {
    const found = [];
    for (const groupId of await this.ids()) {
      if (this.#opened.has(hex(groupId)) || (await this.tx.get(recordsTable(groupId), name))) found.push(await this.get(groupId));
    }
    return found;
  }

  /** The whole chain. @param {Bytes} groupId */
  async log(groupId) {
    const rows = await this.tx.scan(operationsTable(groupId));
    return stored(() => rows.map(({ record }) => parseSigned(record)));
  }

  /** The operation of an epoch, or null. @param {Bytes} groupId @param {number} epoch */
  async logged(groupId, epoch) {
    const record = await this.tx.get(operationsTable(groupId), u32(epoch));
    return record && stored(() => parseSigned(record).operation);
  }

  /** Writes the operation of an epoch into the log. @param {Bytes} groupId @param {number} epoch @param {SignedOperation} signed */
  async append(groupId, epoch, signed) {
    await this.tx.put(operationsTable(groupId), u32(epoch), encodeSigned(signed));
  }

  /**
   * Keeps a sender key for later; of one device the oldest goes when there are too many.
   *
   * @param {Address} address
   * @param {SenderKeyDistribution} key
   */
  async wait(address, key) {
    const encoded = encodeContent(key);
    const kept = (await this.#waiting(address)).filter((other) => !equal(encodeContent(other), encoded));
    await this.#putWaiting(address, [...kept, key].slice(-this.#limits.senderKeysWaiting));
  }

  /**
   * The sender keys of a device that wait for this group, the oldest first; they are not kept any longer.
   *
   * @param {Address} address
   * @param {Bytes} groupId
   */
  async waited(address, groupId) {
    const kept = await this.#waiting(address);
    const found = kept.filter((key) => equal(key.groupId, groupId));
    if (found.length) await this.#putWaiting(address, kept.filter((key) => !equal(key.groupId, groupId)));
    return found;
  }

  /** The device is gone: none of its keys counts any more. @param {Address} address */
  async forgetWaiting({ userId, deviceId }) {
    await this.tx.delete(WAITING, deviceKey(userId, deviceId));
  }

  /** @param {Address} address */
  async #waiting({ userId, deviceId }) {
    const record = await this.tx.get(WAITING, deviceKey(userId, deviceId));
    return record ? stored(() => parseWaiting(record)) : [];
  }

  /** @param {Address} address @param {SenderKeyDistribution[]} keys */
  async #putWaiting(address, keys) {
    if (!keys.length) return this.forgetWaiting(address);
    // Without the byte that says what kind of content it is.
    const encoded = keys.map((key) => lp(encodeContent(key).slice(1)));
    const record = concat(u8(VERSION), u16(keys.length), ...encoded);
    await this.tx.put(WAITING, deviceKey(address.userId, address.deviceId), record);
  }

  async #write() {
    for (const opened of this.#opened.values()) {
      const changes = opened.group.drainChanges();
      if (!changes.length) continue;
      const { groupId } = opened.group;
      opened.version = await this.tx.putVersioned(GROUPS, groupId, opened.head, opened.version);
      const table = recordsTable(groupId);
      for (const { name, record } of changes) {
        if (record) await this.tx.put(table, name, record);
        else await this.tx.delete(table, name);
      }
    }
  }

  #keep() {
    for (const [name, opened] of this.#opened) this.#cache.keep(name, opened);
  }
}
