/**
 * The Double Ratchet with header encryption (the profile's section 5; Double Ratchet revision 4, section 4).
 *
 * Both directions work in locals and store the outcome at the end without waiting in between, so that an exception at any point leaves
 * the ratchet as it was. They must not run at the same time: `Session` sees to that.
 */
import { Reader, concat, equal, u32, u8 } from "./encoding.js";
import { CounterExhausted, DecryptionFailed, DuplicateMessage, MalformedMessage, NoSession, TooManySkipped } from "./errors.js";
import { MAX_COUNTER } from "./limits.js";
import { TYPE_MESSAGE, VERSION, checkSuite, messageType } from "./prekey_message.js";
import { SkippedKeys } from "./skipped.js";
import {
  KEY_BYTES,
  NONCE_BYTES,
  TAG_BYTES,
  ZERO_KEY,
  agree,
  agreementPair,
  hkdf,
  hmacSha256,
  keysOf,
  label,
  openSealed,
  seal,
} from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { Limits } from "./limits.js" */
/** @import { SeedPair } from "./prekeys.js" */
/** @import { Random } from "./suite.js" */
/** @typedef {{chain: Bytes, header: Bytes, number: number, previous: number}} Sending  a chain: its key, the next number, the length of the chain before it (PN) */
/** @typedef {{chain: Bytes, header: Bytes, number: number}} Receiving  a chain: its key, and the number of the next message */
/** @typedef {{number: number, messageKey: Bytes, added: number}} Skipped */
/** @typedef {(padded: Bytes) => Bytes} Accept  called after the tag was checked and before anything is stored; what it throws refuses the message */
/** @typedef {{message: Bytes, outer: Bytes, now: number, accept: Accept}} Incoming */
/**
 * @typedef {object} State
 * @property {Bytes} root
 * @property {SeedPair} own
 * @property {Bytes | null} remote  null: the responder, which has read nothing yet
 * @property {Sending | null} sending  null: a new pair is due at the next send
 * @property {number} previous  the length of the last sending chain, where there is none now
 * @property {Receiving | null} receiving
 * @property {Bytes} nextSendHeader
 * @property {Bytes} nextReceiveHeader
 * @property {number} step  how many receiving chains there have been
 */

const ROOT = label("root");
const MESSAGE_STEP = u8(1);
const CHAIN_STEP = u8(2);
const PREFIX_BYTES = 4;
const HEADER_BYTES = KEY_BYTES + 4 + 4;
// Where the parts of a message end: prefix, header nonce, sealed header, body nonce.
const HEADER_NONCE_END = PREFIX_BYTES + NONCE_BYTES;
const HEADER_END = HEADER_NONCE_END + HEADER_BYTES + TAG_BYTES;
const NONCE_END = HEADER_END + NONCE_BYTES;
export const MESSAGE_OVERHEAD = NONCE_END + TAG_BYTES;
const HAS_SENDING = 1;
const HAS_RECEIVING = 2;
const HAS_REMOTE = 4;

/**
 * The next root key, a chain key and the header key after the next; `InvalidKey` for a remote key of small order.
 *
 * @param {Bytes} root
 * @param {Bytes} secret
 * @param {Bytes} remote
 */
async function rootStep(root, secret, remote) {
  return keysOf(await hkdf(root, await agree(secret, remote), ROOT, 3 * KEY_BYTES));
}

/** One step of a chain. @param {Bytes} chain @returns {Promise<{messageKey: Bytes, chain: Bytes}>} */
export async function chainStep(chain) {
  const mac = await hmacSha256(chain);
  const [messageKey, next] = await Promise.all([mac(MESSAGE_STEP), mac(CHAIN_STEP)]);
  return { messageKey, chain: next };
}

/**
 * The chain key at `end` and the message keys on the way there.
 *
 * @param {Bytes} chain
 * @param {number} start
 * @param {number} end
 * @param {number} now
 */
async function skip(chain, start, end, now) {
  /** @type {Skipped[]} */
  const keys = [];
  for (let number = start; number < end; number += 1) {
    const { messageKey, chain: next } = await chainStep(chain);
    keys.push({ number, messageKey, added: Math.floor(now) });
    chain = next;
  }
  return { chain, keys };
}

/** One session's keys. Made by `initiator`, `responder` or `readRecord`. */
export class Ratchet {
  #prefix;
  #transcript;
  #aad;
  #limits;
  #state;
  #skipped = new SkippedKeys();

  /** @param {number} suite @param {Bytes} transcript @param {State} state @param {Limits} limits */
  constructor(suite, transcript, state, limits) {
    this.#prefix = Uint8Array.of(VERSION, TYPE_MESSAGE, suite, 0);
    this.#transcript = transcript;
    this.#aad = concat(transcript, this.#prefix);
    this.#limits = limits;
    this.#state = state;
  }

  /**
   * The side that sends first; draws its first pair (32 bytes).
   *
   * @param {number} suite
   * @param {Bytes} transcript
   * @param {Bytes} keys  RK, HK and NHK of the handshake
   * @param {Bytes} remote
   * @param {Random} random
   * @param {Limits} limits
   */
  static async initiator(suite, transcript, keys, remote, random, limits) {
    const [rootKey, header, nextReceiveHeader] = keysOf(keys);
    const own = await agreementPair(random(KEY_BYTES));
    const [root, chain, nextSendHeader] = await rootStep(rootKey, own.secret, remote);
    const sending = { chain, header, number: 0, previous: 0 };
    const state = { root, own, remote, sending, previous: 0, receiving: null, nextSendHeader, nextReceiveHeader, step: 0 };
    return new Ratchet(suite, transcript, state, limits);
  }

  /**
   * The side that reads first, whose first pair is its signed prekey.
   *
   * @param {number} suite
   * @param {Bytes} transcript
   * @param {Bytes} keys  RK, HK and NHK
   * @param {SeedPair} own
   * @param {Limits} limits
   */
  static responder(suite, transcript, keys, own, limits) {
    const [root, nextReceiveHeader, nextSendHeader] = keysOf(keys);
    const state = { root, own, remote: null, sending: null, previous: 0, receiving: null, nextSendHeader, nextReceiveHeader, step: 0 };
    return new Ratchet(suite, transcript, state, limits);
  }

  /** How many skipped keys are stored. */
  get skippedCount() {
    return this.#skipped.size;
  }

  /** Which skipped keys a store must write and delete since the last call. */
  drainChanges() {
    return this.#skipped.drainChanges();
  }

  /** Drops the skipped keys that are too old; reading does so too. @param {number} now */
  expire(now) {
    this.#skipped.purge(this.#state.step, now, this.#limits);
  }

  /**
   * One message of type 1, which is to stand behind `outer`.
   *
   * Draws 32 bytes if a new pair is due, then two nonces of 12.
   *
   * @param {Bytes} padded
   * @param {{outer: Bytes, random: Random}} options
   * @returns {Promise<Bytes>} rejects with `CounterExhausted` at the end of a chain, `NoSession` on the responder's side before it has read
   */
  async encrypt(padded, { outer, random }) {
    const next = this.#state.sending ? this.#state : await this.#turnToSend(random);
    const sending = /** @type {Sending} */ (next.sending);
    // One less than the limit, so that the length of the chain, which the next one tells as PN, stays below it too.
    if (sending.number >= MAX_COUNTER - 1) throw new CounterExhausted("a sending chain has reached its last message");
    const [headerNonce, nonce] = [random(NONCE_BYTES), random(NONCE_BYTES)];
    const plain = concat(next.own.public, u32(sending.previous), u32(sending.number));
    const header = await seal(sending.header, headerNonce, plain, this.#aad);
    const start = concat(this.#prefix, headerNonce, header, nonce);
    const { messageKey, chain } = await chainStep(sending.chain);
    const body = await seal(messageKey, nonce, padded, concat(this.#transcript, outer, start));
    this.#state = { ...next, sending: { ...sending, chain, number: sending.number + 1 } };
    return concat(start, body);
  }

  /** @param {Random} random @returns {Promise<State>} */
  async #turnToSend(random) {
    const state = this.#state;
    if (!state.remote) throw new NoSession("the first message of the other side has not been read yet");
    const own = await agreementPair(random(KEY_BYTES));
    const [root, chain, nextSendHeader] = await rootStep(state.root, own.secret, state.remote);
    const sending = { chain, header: state.nextSendHeader, number: 0, previous: state.previous };
    return { ...state, root, own, sending, nextSendHeader };
  }

  /**
   * What `accept` makes of the padded plaintext of a message of type 1 that stood behind `outer`.
   *
   * @param {Incoming} incoming  `now` in Unix seconds
   * @returns {Promise<Bytes>} rejects with `MalformedMessage`, `DecryptionFailed`, `DuplicateMessage`, `TooManySkipped`, `CounterExhausted`,
   *   `InvalidKey` or what `accept` throws; nothing is changed then
   */
  async decrypt(incoming) {
    const { message, now } = incoming;
    this.#checkLayout(message);
    const { step, header } = await this.#openHeader(message);
    const reader = new Reader(header);
    const [remote, previous, number] = [reader.take(KEY_BYTES), reader.u32(), reader.u32()];
    if (number >= MAX_COUNTER || previous >= MAX_COUNTER) throw new CounterExhausted("a message has a number that no chain reaches");
    const { receiving, step: present } = this.#state;
    if (step > present) return this.#decryptTurning(incoming, remote, previous, number);
    if (!receiving || step < present || number < receiving.number) return this.#decryptSkipped(incoming, step, number);
    if (number > receiving.number) this.#checkRoom(number - receiving.number, 0, step, now);
    const skipped = await skip(receiving.chain, receiving.number, number, now);
    const { messageKey, chain } = await chainStep(skipped.chain);
    const content = incoming.accept(await this.#openBody(messageKey, incoming));
    this.#state = { ...this.#state, receiving: { ...receiving, chain, number: number + 1 } };
    this.#skipped.add(step, receiving.header, skipped.keys);
    this.#skipped.purge(step, now, this.#limits);
    return content;
  }

  /** @param {Incoming} incoming @param {number} step @param {number} number */
  async #decryptSkipped(incoming, step, number) {
    const { now, accept } = incoming;
    const key = this.#skipped.get(step, number);
    const stale = this.#skipped.stale(this.#state.step, now, this.#limits);
    if (!key || stale.some((place) => place.step === step && place.number === number)) {
      throw new DuplicateMessage("a message was read before, or its key is gone");
    }
    const content = accept(await this.#openBody(key.messageKey, incoming));
    this.#skipped.remove({ step, number });
    this.#skipped.purge(this.#state.step, now, this.#limits);
    return content;
  }

  /**
   * Reads the first message under a new ratchet key.
   *
   * @param {Incoming} incoming
   * @param {Bytes} remote
   * @param {number} previous
   * @param {number} number
   */
  async #decryptTurning(incoming, remote, previous, number) {
    const state = this.#state;
    const { now } = incoming;
    const [ended, step] = [state.receiving, state.step + 1];
    const left = ended ? Math.max(previous - ended.number, 0) : 0;
    if (left || number) this.#checkRoom(number, left, step, now);
    const [root, firstChain, nextReceiveHeader] = await rootStep(state.root, state.own.secret, remote);
    const skipped = await skip(firstChain, 0, number, now);
    const { messageKey, chain } = await chainStep(skipped.chain);
    const content = incoming.accept(await this.#openBody(messageKey, incoming));
    const missed = ended && left ? await skip(ended.chain, ended.number, previous, now) : null;
    if (ended && missed) this.#skipped.add(state.step, ended.header, missed.keys);
    this.#skipped.add(step, state.nextReceiveHeader, skipped.keys);
    const receiving = { chain, header: state.nextReceiveHeader, number: number + 1 };
    const ratcheted = { ...state, root, remote, step, receiving, nextReceiveHeader };
    this.#state = state.sending ? { ...ratcheted, previous: state.sending.number, sending: null } : ratcheted;
    this.#skipped.purge(step, now, this.#limits);
    return content;
  }

  /** @param {Bytes} message */
  #checkLayout(message) {
    if (message.length >= MESSAGE_OVERHEAD && equal(message.subarray(0, PREFIX_BYTES), this.#prefix)) return;
    if (messageType(message) !== TYPE_MESSAGE) throw new MalformedMessage(`a message has type ${message[1]}, which no session reads`);
    if (message.length < MESSAGE_OVERHEAD) {
      throw new MalformedMessage(`a message has ${message.length} bytes; it has at least ${MESSAGE_OVERHEAD}`);
    }
    checkSuite(message[2]);
    if (message[3]) throw new MalformedMessage("a message has flags that the profile does not know");
    throw new DecryptionFailed("a message is of another suite than its session");
  }

  /**
   * The chain that a header belongs to, and the header: chains with skipped keys first, then the present and the next one.
   *
   * @param {Bytes} message
   */
  async #openHeader(message) {
    const { receiving, step, nextReceiveHeader } = this.#state;
    const tries = this.#skipped.headers().filter((chain) => chain.step !== step);
    if (receiving) tries.push({ step, header: receiving.header });
    tries.push({ step: step + 1, header: nextReceiveHeader });
    const [nonce, sealed] = [message.slice(PREFIX_BYTES, HEADER_NONCE_END), message.slice(HEADER_NONCE_END, HEADER_END)];
    for (const { step: tried, header: key } of tries) {
      try {
        return { step: tried, header: await openSealed(key, nonce, sealed, this.#aad) };
      } catch (error) {
        if (!(error instanceof DecryptionFailed)) throw error;
      }
    }
    throw new DecryptionFailed("no key of the session opens the message");
  }

  /** @param {Bytes} messageKey @param {Incoming} incoming */
  async #openBody(messageKey, { message, outer }) {
    const aad = concat(this.#transcript, outer, message.subarray(0, NONCE_END));
    return openSealed(messageKey, message.slice(HEADER_END, NONCE_END), message.slice(NONCE_END), aad);
  }

  /**
   * `TooManySkipped` where one chain would jump too far, or more keys would be stored than may be.
   *
   * @param {number} ahead
   * @param {number} left
   * @param {number} step
   * @param {number} now
   */
  #checkRoom(ahead, left, step, now) {
    const { maxSkip, maxSkippedStored } = this.#limits;
    const most = Math.max(ahead, left);
    if (most > maxSkip) throw new TooManySkipped(`a message skips ${most} others; it may skip ${maxSkip} (maxSkip)`);
    const stored = this.#skipped.size - this.#skipped.stale(step, now, this.#limits).length + ahead + left;
    if (stored > maxSkippedStored) {
      throw new TooManySkipped(`${stored} skipped keys; ${maxSkippedStored} may be stored (maxSkippedStored)`);
    }
  }

  /** All but the skipped keys themselves: 393 bytes, and 36 for each chain that has some. @returns {Bytes} */
  toRecord() {
    const { root, own, remote, sending, previous, receiving, nextSendHeader, nextReceiveHeader, step } = this.#state;
    const flags = (sending ? HAS_SENDING : 0) | (receiving ? HAS_RECEIVING : 0) | (remote ? HAS_REMOTE : 0);
    const keys = concat(root, own.secret, own.public, remote ?? ZERO_KEY, nextSendHeader, nextReceiveHeader, u32(previous));
    const out = sending ?? { chain: ZERO_KEY, header: ZERO_KEY, number: 0, previous: 0 };
    const into = receiving ?? { chain: ZERO_KEY, header: ZERO_KEY, number: 0 };
    const chains = concat(out.chain, out.header, u32(out.number), u32(out.previous), into.chain, into.header, u32(into.number));
    const headers = this.#skipped.headers();
    const listed = headers.map((chain) => concat(u32(chain.step), chain.header));
    return concat(u8(flags), keys, chains, u32(step), u32(this.#skipped.size), u8(headers.length), ...listed);
  }

  /**
   * Takes back what `toRecord` gave; `MalformedMessage` for a record, or a set of skipped keys, that is not what was written.
   *
   * @param {Reader} reader
   * @param {number} suite
   * @param {Bytes} transcript
   * @param {{key: Uint8Array, record: Uint8Array}[]} skipped
   * @param {Limits} limits
   */
  static readRecord(reader, suite, transcript, skipped, limits) {
    const key = () => reader.take(KEY_BYTES);
    const flags = reader.u8();
    const [root, own, remote, nextSendHeader, nextReceiveHeader] = [key(), { secret: key(), public: key() }, key(), key(), key()];
    const previous = reader.u32();
    const sending = { chain: key(), header: key(), number: reader.u32(), previous: reader.u32() };
    const receiving = { chain: key(), header: key(), number: reader.u32() };
    const [step, count] = [reader.u32(), reader.u32()];
    const headers = Array.from({ length: reader.u8() }, () => ({ step: reader.u32(), header: key() }));
    const present = {
      remote: flags & HAS_REMOTE ? remote : null,
      sending: flags & HAS_SENDING ? sending : null,
      receiving: flags & HAS_RECEIVING ? receiving : null,
    };
    const ratchet = new Ratchet(suite, transcript, { root, own, previous, nextSendHeader, nextReceiveHeader, step, ...present }, limits);
    if (count) ratchet.#skipped.load(headers, skipped);
    if (ratchet.#skipped.size !== count) throw new MalformedMessage("the stored skipped keys are not those of the session");
    return ratchet;
  }
}
