/** What one transaction has read and changed of peers and sessions: each is loaded once and written once, before the commit. */
import { DeviceCertificate } from "./certificates.js";
import { hex, u32, userBytes } from "./encoding.js";
import { ResourceUnavailable } from "./errors.js";
import {
  LINES,
  PEERS,
  SESSIONS,
  certificatesTable,
  deviceKey,
  lineRecord,
  peerRecord,
  readLine,
  readPeer,
  sessionKey,
  skippedTable,
} from "./records.js";
import { Session } from "./session.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { Limits } from "./limits.js" */
/** @import { Line, Peer, SessionRef } from "./records.js" */
/** @import { Transaction } from "./store.js" */

/** See the module. Made once for each transaction and of no use after it. */
export class Workspace {
  /** @type {Map<string, Peer | null>} */ #peers = new Map();
  /** @type {Map<string, {key: Bytes, line: Line, changed: boolean}>} */ #lines = new Map();
  /** @type {Map<string, {session: Session, changed: boolean}>} */ #opened = new Map();
  #limits;

  /** @param {Transaction} tx @param {Limits} limits */
  constructor(tx, limits) {
    this.tx = tx;
    this.#limits = limits;
    tx.beforeCommit(() => this.#write());
  }

  /** What is known of a user, or null. @param {string} userId @returns {Promise<Peer | null>} */
  async peer(userId) {
    let peer = this.#peers.get(userId);
    if (peer === undefined) {
      const record = await this.tx.get(PEERS, userBytes(userId));
      peer = record ? readPeer(record) : null;
      this.#peers.set(userId, peer);
    }
    return peer;
  }

  /** @param {string} userId @param {Peer} peer */
  setPeer(userId, peer) {
    this.tx.put(PEERS, userBytes(userId), peerRecord(peer));
    this.#peers.set(userId, peer);
  }

  /** The verified certificate of a device that is, or was, on a list of the user; or null. @param {string} userId @param {number} deviceId */
  async certificate(userId, deviceId) {
    const record = await this.tx.get(certificatesTable(userId), u32(deviceId));
    return record ? DeviceCertificate.parse(record) : null;
  }

  /** Keeps a certificate that was verified and belongs to the user's trusted account key. @param {DeviceCertificate} certificate */
  setCertificate(certificate) {
    this.tx.put(certificatesTable(certificate.userId), u32(certificate.deviceId), certificate.encoded);
  }

  /** The sessions with a device. @param {string} userId @param {number} deviceId */
  async line(userId, deviceId) {
    return (await this.#lineOf(userId, deviceId)).line;
  }

  /** Puts the sessions with a device in another order; the oldest beyond what is archived are dropped. @param {string} userId @param {number} deviceId @param {Line} line */
  async setLine(userId, deviceId, line) {
    const place = await this.#lineOf(userId, deviceId);
    const kept = line.refs.slice(0, 1 + this.#limits.maxArchivedSessions);
    for (const ref of line.refs.slice(kept.length)) this.#drop(userId, deviceId, ref);
    Object.assign(place, { line: { ...line, refs: kept }, changed: true });
  }

  /** Drops all sessions with a device; when it was last sent a reset stays known. @param {string} userId @param {number} deviceId */
  async clearLine(userId, deviceId) {
    const line = await this.line(userId, deviceId);
    for (const ref of line.refs) this.#drop(userId, deviceId, ref);
    if (line.refs.length) await this.setLine(userId, deviceId, { ...line, refs: [] });
  }

  /** The session of a line; say `used` when it has read or written. @param {string} userId @param {number} deviceId @param {SessionRef} ref */
  async session(userId, deviceId, ref) {
    const key = sessionKey(userId, deviceId, ref.baseKey);
    let opened = this.#opened.get(hex(key));
    if (!opened) {
      const record = await this.tx.get(SESSIONS, key);
      if (!record) throw new ResourceUnavailable("a session that the store names is not there");
      const skipped = await this.tx.scan(skippedTable(userId, deviceId, ref.baseKey));
      opened = { session: Session.fromRecord(record, skipped, this.#limits), changed: false };
      this.#opened.set(hex(key), opened);
    }
    return opened.session;
  }

  /** The session has moved and is to be written; one that is new is added. @param {Session} session */
  used(session) {
    const { peerUser, peerDevice, baseKey } = session;
    this.#opened.set(hex(sessionKey(peerUser, peerDevice, baseKey)), { session, changed: true });
  }

  /** @param {string} userId @param {number} deviceId */
  async #lineOf(userId, deviceId) {
    const key = deviceKey(userId, deviceId);
    let place = this.#lines.get(hex(key));
    if (!place) {
      const record = await this.tx.get(LINES, key);
      place = { key, line: record ? readLine(record) : { refs: [], lastReset: 0 }, changed: false };
      this.#lines.set(hex(key), place);
    }
    return place;
  }

  /** @param {string} userId @param {number} deviceId @param {SessionRef} ref */
  #drop(userId, deviceId, ref) {
    const key = sessionKey(userId, deviceId, ref.baseKey);
    this.#opened.delete(hex(key));
    this.tx.delete(SESSIONS, key);
    this.tx.clear(skippedTable(userId, deviceId, ref.baseKey));
  }

  async #write() {
    for (const { key, line, changed } of this.#lines.values()) if (changed) this.tx.put(LINES, key, lineRecord(line));
    for (const { session, changed } of this.#opened.values()) {
      if (!changed) continue;
      const { peerUser, peerDevice, baseKey } = session;
      this.tx.put(SESSIONS, sessionKey(peerUser, peerDevice, baseKey), session.toRecord());
      const table = skippedTable(peerUser, peerDevice, baseKey);
      const { added, removed } = session.drainChanges();
      for (const { key, record } of added) this.tx.put(table, key, record);
      for (const key of removed) this.tx.delete(table, key);
    }
  }
}
