/**
 * What one transaction has read and changed of peers and sessions.
 *
 * Each session is loaded once and written once, however many messages of a batch it carries; all is written before the commit. A
 * session may be kept in memory for the next transaction, which takes it only if the stored version is still the same: what another
 * tab wrote is read again, and what a failed transaction had in its hands is never met.
 */
import { DeviceCertificate } from "./certificates.js";
import { hex, u32, userBytes } from "./encoding.js";
import { StoreError } from "./errors.js";
import {
  LINES,
  PEERS,
  SESSIONS,
  certificatesTable,
  deviceKey,
  encodeLine,
  encodePeer,
  parseLine,
  parsePeer,
  sessionKey,
  skippedTable,
} from "./records.js";
import { Session } from "./session.js";
import { ABSENT } from "./transaction.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { Limits } from "./limits.js" */
/** @import { Line, Peer, SessionRef } from "./records.js" */
/** @import { Transaction } from "./transaction.js" */

// A session takes 3 kB, with all skipped keys that it may have about 700 kB: 256 of them stay under 180 MB in the worst case.
const SESSIONS_CACHED = 256;

/** Sessions as they are in the store, by their key; the ones used last. */
export class SessionCache {
  /** @type {Map<string, {version: number, session: Session}>} */ #sessions = new Map();

  /**
   * The session of that version; it is the caller's own then, for a session changes with its use.
   *
   * @param {Bytes} key
   * @param {number} version
   */
  take(key, version) {
    const kept = this.#sessions.get(hex(key));
    this.#sessions.delete(hex(key));
    return kept?.version === version ? kept.session : null;
  }

  /** Keeps what the store holds as `version`. @param {string} key  in hexadecimal @param {number} version @param {Session} session */
  keep(key, version, session) {
    this.#sessions.set(key, { version, session });
    if (this.#sessions.size > SESSIONS_CACHED) this.#sessions.delete(/** @type {string} */ (this.#sessions.keys().next().value));
  }
}

/** See the module. Made once for each transaction and of no use after it. */
export class Workspace {
  #cache;
  #limits;
  /** @type {Map<string, {line: Line, version: number, changed: boolean, key: Bytes}>} */ #lines = new Map();
  /** @type {Map<string, {session: Session, version: number, changed: boolean, key: Bytes}>} */ #opened = new Map();

  /** @param {Transaction} tx @param {SessionCache} cache @param {Limits} limits */
  constructor(tx, cache, limits) {
    this.tx = tx;
    this.#cache = cache;
    this.#limits = limits;
    tx.beforeCommit(() => this.#write());
    tx.afterCommit(() => this.#keep());
  }

  /** What is known of a user, or null. @param {string} userId @returns {Promise<Peer | null>} */
  async peer(userId) {
    const record = await this.tx.get(PEERS, userBytes(userId));
    return record && parsePeer(record);
  }

  /** Writes what is known of a user. @param {string} userId @param {Peer} peer */
  setPeer(userId, peer) {
    return this.tx.put(PEERS, userBytes(userId), encodePeer(peer));
  }

  /**
   * The verified certificate of a device that is, or was, on a list of the user, or null.
   *
   * @param {string} userId
   * @param {number} deviceId
   */
  async certificate(userId, deviceId) {
    const record = await this.tx.get(certificatesTable(userId), u32(deviceId));
    return record && DeviceCertificate.parse(record);
  }

  /** Keeps a certificate that was verified and belongs to the user's trusted account key. @param {DeviceCertificate} certificate */
  setCertificate(certificate) {
    return this.tx.put(certificatesTable(certificate.userId), u32(certificate.deviceId), certificate.encoded);
  }

  /** @param {string} userId @param {number} deviceId */
  async #lineRow(userId, deviceId) {
    const key = deviceKey(userId, deviceId);
    let row = this.#lines.get(hex(key));
    if (!row) {
      const stored = await this.tx.getVersioned(LINES, key);
      const line = stored ? parseLine(stored.record) : { refs: [], lastReset: 0 };
      row = { line, version: stored?.version ?? ABSENT, changed: false, key };
      this.#lines.set(hex(key), row);
    }
    return row;
  }

  /** The sessions with a device. @param {string} userId @param {number} deviceId */
  async line(userId, deviceId) {
    return (await this.#lineRow(userId, deviceId)).line;
  }

  /**
   * Puts the sessions with a device in another order; those beyond what is archived are dropped, the oldest first.
   *
   * @param {string} userId
   * @param {number} deviceId
   * @param {Line} line
   */
  async setLine(userId, deviceId, line) {
    const kept = line.refs.slice(0, 1 + this.#limits.maxArchivedSessions);
    for (const ref of line.refs.slice(kept.length)) await this.#drop(userId, deviceId, ref);
    const row = await this.#lineRow(userId, deviceId);
    row.line = { ...line, refs: kept };
    row.changed = true;
  }

  /** Drops all sessions with a device; when it was last sent a reset stays known. @param {string} userId @param {number} deviceId */
  async clearLine(userId, deviceId) {
    const line = await this.line(userId, deviceId);
    for (const ref of line.refs) await this.#drop(userId, deviceId, ref);
    if (line.refs.length) await this.setLine(userId, deviceId, { ...line, refs: [] });
  }

  /**
   * The session of a line; say `used` when it has read or written.
   *
   * @param {string} userId
   * @param {number} deviceId
   * @param {SessionRef} ref
   */
  async session(userId, deviceId, { baseKey }) {
    const key = sessionKey(userId, deviceId, baseKey);
    let opened = this.#opened.get(hex(key));
    if (!opened) {
      const stored = await this.tx.getVersioned(SESSIONS, key);
      if (!stored) throw new StoreError("a session that the store names is not there", "store_corrupt");
      const session = this.#cache.take(key, stored.version) ?? (await this.#load(userId, deviceId, baseKey, stored.record));
      opened = { session, version: stored.version, changed: false, key };
      this.#opened.set(hex(key), opened);
    }
    return opened.session;
  }

  /** @param {string} userId @param {number} deviceId @param {Bytes} baseKey @param {Bytes} record */
  async #load(userId, deviceId, baseKey, record) {
    const skipped = await this.tx.scan(skippedTable(userId, deviceId, baseKey));
    return Session.fromRecord(record, skipped, this.#limits);
  }

  /** The session has moved and is to be written. @param {Session} session */
  used({ peerUser, peerDevice, baseKey }) {
    const opened = this.#opened.get(hex(sessionKey(peerUser, peerDevice, baseKey)));
    if (opened) opened.changed = true;
  }

  /** A session that is new; its line is the caller's to set. @param {Session} session */
  add(session) {
    const key = sessionKey(session.peerUser, session.peerDevice, session.baseKey);
    this.#opened.set(hex(key), { session, version: ABSENT, changed: true, key });
  }

  /** @param {string} userId @param {number} deviceId @param {SessionRef} ref */
  async #drop(userId, deviceId, { baseKey }) {
    const key = sessionKey(userId, deviceId, baseKey);
    this.#opened.delete(hex(key));
    await this.tx.delete(SESSIONS, key);
    await this.tx.clear(skippedTable(userId, deviceId, baseKey));
  }

  async #write() {
    for (const { line, version, changed, key } of this.#lines.values()) {
      if (changed) await this.tx.putVersioned(LINES, key, encodeLine(line), version);
    }
    for (const opened of this.#opened.values()) {
      if (!opened.changed) continue;
      const { session } = opened;
      opened.version = await this.tx.putVersioned(SESSIONS, opened.key, session.toRecord(), opened.version);
      const table = skippedTable(session.peerUser, session.peerDevice, session.baseKey);
      const { added, removed } = session.drainChanges();
      for (const { key, record } of added) await this.tx.put(table, key, record);
      for (const key of removed) await this.tx.delete(table, key);
    }
  }

  #keep() {
    for (const [key, { version, session }] of this.#opened) this.#cache.keep(key, version, session);
  }
}
