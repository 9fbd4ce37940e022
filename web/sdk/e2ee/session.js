/** A session with one device of somebody: what a handshake made, padding, and the ratchet (the profile's sections 4 to 6). */
import { Reader, concat, equal, lp, u32, u64, u8, userBytes } from "./encoding.js";
import { DecryptionFailed, LimitReached, MalformedMessage, UnsupportedVersion } from "./errors.js";
import { DEFAULT_LIMITS } from "./limits.js";
import { Lock } from "./lock.js";
import { pad, unpad } from "./padding.js";
import { PreKeyMessage, TYPE_PREKEY, checkSuite, messageType } from "./prekey_message.js";
import { Ratchet } from "./ratchet.js";
import { KEY_BYTES, systemRandom } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { Limits } from "./limits.js" */
/** @import { Random } from "./suite.js" */

const RECORD_VERSION = 1;
const NOTHING = new Uint8Array(0);

/**
 * The state shared with one device. Made by `initiate`, `respond` or `fromRecord`.
 *
 * Calls may overlap: each waits for those before it. Any that rejects leaves the session as it was.
 */
export class Session {
  #lock = new Lock();
  #ratchet;
  #outer;
  #limits;

  /**
   * @param {{peerUser: string, peerDevice: number, peerSigning: Bytes, suite: number, transcript: Bytes, baseKey: Bytes, initiator: boolean,
   *   created: number, ratchet: Ratchet, outer?: Bytes, limits?: Limits}} fields
   */
  constructor({ peerUser, peerDevice, peerSigning, suite, transcript, baseKey, initiator, created, ratchet, outer = NOTHING, limits }) {
    this.peerUser = peerUser;
    this.peerDevice = peerDevice;
    this.peerSigning = peerSigning;
    this.suite = suite;
    /** T of the handshake; of two sessions with the same device the one whose transcript is lower is used to send. */
    this.transcript = transcript;
    /** The initiator's EK, by which a responder knows the first messages of this session. */
    this.baseKey = baseKey;
    this.initiator = initiator;
    /** False on the initiator's side until it has read something. */
    this.acknowledged = outer.length === 0;
    this.created = created;
    /** When something was last read, in Unix seconds. */
    this.lastUsed = created;
    this.#ratchet = ratchet;
    this.#outer = outer;
    this.#limits = limits ?? DEFAULT_LIMITS;
  }

  /** How many keys of skipped messages are stored. */
  get skippedCount() {
    return this.#ratchet.skippedCount;
  }

  /**
   * Pads and encrypts; a message of type 2 until the other side's first reply was read, then of type 1.
   *
   * The session has moved: store it before the message goes out.
   *
   * @param {Uint8Array} content
   * @param {{random?: Random}} [options]
   * @returns {Promise<Bytes>} rejects with `LimitReached` for content that is too long, `CounterExhausted`, `NoSession`
   */
  async encrypt(content, { random = systemRandom } = {}) {
    const { maxContentBytes } = this.#limits;
    if (content.length > maxContentBytes) {
      throw new LimitReached(`content has ${content.length} bytes; ${maxContentBytes} are allowed (maxContentBytes)`);
    }
    const padded = pad(content);
    return this.#lock.run(async () => {
      const outer = this.#outer;
      return concat(outer, await this.#ratchet.encrypt(padded, { outer, random }));
    });
  }

  /**
   * The content of a message of type 1, or of type 2 with this session's base key.
   *
   * The session has moved: store it before the content is shown.
   *
   * @param {Uint8Array} data
   * @param {{now: number}} options  in Unix seconds
   * @returns {Promise<Bytes>} rejects with `MalformedMessage`, `DecryptionFailed`, `DuplicateMessage`, `TooManySkipped`, `CounterExhausted`, `InvalidKey`
   */
  async decrypt(data, { now }) {
    let [message, outer] = [new Uint8Array(data), NOTHING];
    if (messageType(message) === TYPE_PREKEY) {
      const first = PreKeyMessage.parse(message);
      if (!equal(first.baseKey, this.baseKey)) throw new DecryptionFailed("a first message belongs to another session");
      [message, outer] = [first.inner, first.outer];
    }
    return this.#lock.run(async () => {
      const content = await this.#ratchet.decrypt({ message, outer, now, accept: (padded) => this.#accept(padded) });
      this.acknowledged = true;
      this.#outer = NOTHING;
      this.lastUsed = Math.floor(now);
      return content;
    });
  }

  /** @param {Bytes} padded */
  #accept(padded) {
    const content = unpad(padded);
    const { maxContentBytes } = this.#limits;
    if (content.length > maxContentBytes) {
      throw new MalformedMessage(`content has ${content.length} bytes; ${maxContentBytes} are allowed (maxContentBytes)`);
    }
    return content;
  }

  /** Drops keys of skipped messages that are too old, where nothing has been read for long. @param {number} now */
  expire(now) {
    return this.#lock.run(async () => this.#ratchet.expire(now));
  }

  /** Which skipped keys to write and delete beside the record, since the last call or since loading. */
  drainChanges() {
    return this.#ratchet.drainChanges();
  }

  /** The session without its skipped keys; to be called while no other call is under way. @returns {Bytes} */
  toRecord() {
    const head = concat(u8(RECORD_VERSION), u8(Number(this.initiator)), u8(this.suite), lp(userBytes(this.peerUser)), u32(this.peerDevice));
    const times = concat(u64(this.created), u64(this.lastUsed));
    return concat(head, this.peerSigning, this.transcript, this.baseKey, times, lp(this.#outer), this.#ratchet.toRecord());
  }

  /**
   * Takes back what `toRecord` gave, with all skipped keys that `drainChanges` gave and has not removed.
   *
   * @param {Uint8Array} record
   * @param {{key: Uint8Array, record: Uint8Array}[]} [skipped]
   * @param {Limits} [limits]
   * @returns {Session} throws `MalformedMessage` for what was not written by this class
   */
  static fromRecord(record, skipped = [], limits = DEFAULT_LIMITS) {
    const reader = new Reader(record);
    const version = reader.u8();
    if (version !== RECORD_VERSION) throw new UnsupportedVersion(`a session record has version ${version}; this release reads ${RECORD_VERSION}`);
    const [initiator, suite, peerUser, peerDevice] = [Boolean(reader.u8()), checkSuite(reader.u8()), reader.user(), reader.deviceId()];
    const [peerSigning, transcript, baseKey] = [reader.take(KEY_BYTES), reader.take(KEY_BYTES), reader.take(KEY_BYTES)];
    const [created, lastUsed, outer] = [Number(reader.u64()), Number(reader.u64()), reader.lp()];
    const ratchet = Ratchet.readRecord(reader, suite, transcript, skipped, limits);
    reader.done();
    const peer = { peerUser, peerDevice, peerSigning };
    const session = new Session({ ...peer, suite, transcript, baseKey, initiator, created, ratchet, outer, limits });
    session.lastUsed = lastUsed;
    return session;
  }
}
