/**
 * Sender keys: one chain of message keys and one signing pair for each sending device (the profile's section 7).
 *
 * A chain gives forward secrecy: who takes a device learns nothing about messages that were read. It gives no healing: who takes the
 * chain reads on until a new key is made.
 */
import { GROUP_ID_BYTES, KEY_ID_BYTES } from "./content.js";
import { Reader, concat, u32, u64, u8 } from "./encoding.js";
import { CounterExhausted, DuplicateMessage, MalformedMessage, TooManySkipped, UnsupportedSuite, UnsupportedVersion } from "./errors.js";
import { MAX_COUNTER, SUITE_X25519 } from "./limits.js";
import { unpad } from "./padding.js";
import { chainStep } from "./ratchet.js";
import { KEY_BYTES, NONCE_BYTES, SIGNATURE_BYTES, TAG_BYTES, openSealed, seal, sign, signingPair, verify } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { Limits } from "./limits.js" */
/** @import { SeedPair } from "./prekeys.js" */
/** @import { Random } from "./suite.js" */
/** @typedef {{messageKey: Bytes, since: number}} SkippedKey  the key of a message that has not come yet, and since when it is kept (Unix seconds) */

const VERSION = 1;
const TYPE = 3;
const HEADER = Uint8Array.of(VERSION, TYPE, SUITE_X25519, 0);
const KIND = "group-msg";
const RECORD_VERSION = 1;

/** @param {Uint8Array} record */
function recordReader(record) {
  const reader = new Reader(record);
  const version = reader.u8();
  if (version !== RECORD_VERSION) throw new UnsupportedVersion(`a sender key record of version ${version}`);
  return reader;
}

/** A group message, parsed and not judged. `head` is all before the ciphertext. */
export class GroupMessage {
  /**
   * @param {{groupId: Bytes, epoch: number, keyId: Bytes, iteration: number, nonce: Bytes, sealed: Bytes, signature: Bytes, head: Bytes}} fields
   */
  constructor({ groupId, epoch, keyId, iteration, nonce, sealed, signature, head }) {
    this.groupId = groupId;
    this.epoch = epoch;
    this.keyId = keyId;
    this.iteration = iteration;
    this.nonce = nonce;
    this.sealed = sealed;
    this.signature = signature;
    this.head = head;
  }

  /** Reads a message of type 3; `MalformedMessage` for whatever is none. @param {Uint8Array} data */
  static parse(data) {
    const reader = new Reader(data);
    const [version, kind, suite, flags] = [reader.u8(), reader.u8(), reader.u8(), reader.u8()];
    if (version !== VERSION) throw new UnsupportedVersion(`a group message of version ${version}`);
    if (kind !== TYPE || flags) throw new MalformedMessage(`a message of type ${kind} with flags ${flags} is no group message`);
    if (suite !== SUITE_X25519) throw new UnsupportedSuite(`a group message of suite ${suite}`);
    const [groupId, epoch, keyId] = [reader.take(GROUP_ID_BYTES), reader.u32(), reader.take(KEY_ID_BYTES)];
    const [iteration, nonce] = [reader.u32(), reader.take(NONCE_BYTES)];
    const head = new Uint8Array(data.subarray(0, reader.position));
    if (reader.left < TAG_BYTES + SIGNATURE_BYTES) throw new MalformedMessage("a group message ends before its tag and signature");
    const [sealed, signature] = [reader.take(reader.left - SIGNATURE_BYTES), reader.rest()];
    return new GroupMessage({ groupId, epoch, keyId, iteration, nonce, sealed, signature, head });
  }
}

/** The sender key of this device. It only moves forward; nothing that it has sent can be opened with it. */
export class SendingKey {
  #chainKey;
  #signing;
  #created;

  /** @param {{keyId: Bytes, chainKey: Bytes, signing: SeedPair, iteration: number, created: number}} fields */
  constructor({ keyId, chainKey, signing, iteration, created }) {
    this.keyId = keyId;
    /** The number of the next message, and of those sent before it. */
    this.iteration = iteration;
    this.#chainKey = chainKey;
    this.#signing = signing;
    this.#created = created;
  }

  /** A new key; `now` in Unix seconds. Draws: key id 8, chain key 32, Ed25519 seed 32. @param {{random: Random, now: number}} options */
  static async make({ random, now }) {
    const [keyId, chainKey, seed] = [random(KEY_ID_BYTES), random(KEY_BYTES), random(KEY_BYTES)];
    return new SendingKey({ keyId, chainKey, signing: await signingPair(seed), iteration: 0, created: Math.floor(now) });
  }

  /** The chain key of the next message: what a device gets that joins now. A secret. */
  get chainKey() {
    return this.#chainKey;
  }

  /** The Ed25519 key that verifies what is sent. */
  get public() {
    return this.#signing.public;
  }

  /** Whether its messages or its days are used up. @param {number} now @param {Limits} limits */
  worn(now, limits) {
    return this.iteration >= limits.senderKeyMaxMessages || now - this.#created >= limits.senderKeyLifetimeS;
  }

  /**
   * The message of type 3 around a padded plaintext. Draws: nonce 12.
   *
   * @param {Bytes} padded
   * @param {{groupId: Bytes, epoch: number, binding: Bytes, random: Random}} options  `binding` is what both sides know and is not sent
   * @returns {Promise<Bytes>} rejects with `CounterExhausted` at the end of the chain
   */
  async encrypt(padded, { groupId, epoch, binding, random }) {
    if (this.iteration >= MAX_COUNTER) throw new CounterExhausted("the sender key has reached its last message");
    const nonce = random(NONCE_BYTES);
    const { messageKey, chain } = await chainStep(this.#chainKey);
    const head = concat(HEADER, groupId, u32(epoch), this.keyId, u32(this.iteration), nonce);
    const unsigned = concat(head, await seal(messageKey, nonce, padded, concat(head, binding)));
    const message = concat(unsigned, await sign(this.#signing, KIND, concat(unsigned, binding)));
    this.#chainKey = chain;
    this.iteration += 1;
    return message;
  }

  /** The key as it is stored; secret. */
  toRecord() {
    const numbers = concat(u32(this.iteration), u64(this.#created));
    return concat(u8(RECORD_VERSION), this.keyId, numbers, this.#chainKey, this.#signing.secret);
  }

  /** What `toRecord` wrote; `MalformedMessage` for anything else. @param {Uint8Array} record */
  static async fromRecord(record) {
    const reader = recordReader(record);
    const [keyId, iteration, created] = [reader.take(KEY_ID_BYTES), reader.u32(), Number(reader.u64())];
    const [chainKey, seed] = [reader.take(KEY_BYTES), reader.take(KEY_BYTES)];
    reader.done();
    return new SendingKey({ keyId, chainKey, signing: await signingPair(seed), iteration, created });
  }
}

/** @param {SkippedKey} key */
export function encodeSkipped({ messageKey, since }) {
  return concat(u8(RECORD_VERSION), u64(since), messageKey);
}

/** @param {Uint8Array} record @returns {SkippedKey} */
export function parseSkipped(record) {
  const reader = recordReader(record);
  const [since, messageKey] = [Number(reader.u64()), reader.take(KEY_BYTES)];
  reader.done();
  return { messageKey, since };
}

/** @typedef {{content: Bytes, kept: number[], dropped: number[]}} Opened  the content, and the numbers whose skipped keys came and went */

/** The sender key of another device, from the message on at which this device was given it. */
export class ReceivingKey {
  #chainKey;
  #public;
  /** @type {Map<number, SkippedKey>} by number, the oldest first */ #skipped = new Map();

  /**
   * @param {{keyId: Bytes, chainKey: Bytes, signingPublic: Bytes, iteration: number, epoch: number, account: Bytes | null, serial: number}} fields
   *   `epoch` is that in which it was given, `account` the account key of its owner then, or null as long as that epoch is ahead;
   *   `serial` rises with each key of a device
   */
  constructor({ keyId, chainKey, signingPublic, iteration, epoch, account, serial }) {
    this.keyId = keyId;
    this.iteration = iteration;
    this.epoch = epoch;
    this.account = account;
    this.serial = serial;
    this.#chainKey = chainKey;
    this.#public = signingPublic;
  }

  /** The keys of messages that have not come yet. @returns {ReadonlyMap<number, SkippedKey>} */
  get skipped() {
    return this.#skipped;
  }

  /** Takes back the skipped keys, which are stored one by one. @param {[number, SkippedKey][]} skipped */
  restoreSkipped(skipped) {
    this.#skipped = new Map(skipped.toSorted(([one, first], [other, second]) => first.since - second.since || one - other));
  }

  /**
   * The content of a message under this key.
   *
   * The signature comes first: only the owner of the key can make this device compute.
   *
   * @param {GroupMessage} message
   * @param {{binding: Bytes, now: number, limits: Limits}} options  `now` in Unix seconds
   * @returns {Promise<Opened>} rejects with `BadSignature`, `DuplicateMessage`, `TooManySkipped`, `CounterExhausted`, `DecryptionFailed`
   *   and, for a wrong padding, `MalformedMessage`; then nothing has changed
   */
  async open(message, { binding, now, limits }) {
    const { iteration } = message;
    await verify(this.#public, KIND, concat(message.head, message.sealed, binding), message.signature);
    if (iteration >= MAX_COUNTER) throw new CounterExhausted("a message number is past the end of every chain");
    const expired = this.#expired(now, limits);
    const open = async (/** @type {Bytes} */ messageKey) =>
      unpad(await openSealed(messageKey, message.nonce, message.sealed, concat(message.head, binding)));
    if (iteration < this.iteration) {
      const skipped = this.#skipped.get(iteration);
      if (!skipped || expired.includes(iteration)) throw new DuplicateMessage("the message was read before, or its key is gone");
      const content = await open(skipped.messageKey);
      return this.#commit(content, [], [...expired, iteration]);
    }
    const ahead = iteration - this.iteration;
    if (ahead > limits.maxSkip || this.#skipped.size - expired.length + ahead > limits.maxSkippedStored) {
      throw new TooManySkipped(`${ahead} messages of a sender key are missing`);
    }
    let chainKey = this.#chainKey;
    /** @type {[number, SkippedKey][]} */
    const passed = [];
    for (let number = this.iteration; number < iteration; number += 1) {
      const { messageKey, chain } = await chainStep(chainKey);
      passed.push([number, { messageKey, since: Math.floor(now) }]);
      chainKey = chain;
    }
    const { messageKey, chain } = await chainStep(chainKey);
    const content = await open(messageKey);
    this.#chainKey = chain;
    this.iteration = iteration + 1;
    return this.#commit(content, passed, expired);
  }

  /** @param {Bytes} content @param {[number, SkippedKey][]} passed @param {number[]} dropped @returns {Opened} */
  #commit(content, passed, dropped) {
    for (const number of dropped) this.#skipped.delete(number);
    for (const [number, key] of passed) this.#skipped.set(number, key);
    return { content, kept: passed.map(([number]) => number), dropped };
  }

  /**
   * The numbers whose keys have been kept for too long. They were put in by time, so the first that is young ends it.
   *
   * @param {number} now
   * @param {Limits} limits
   */
  #expired(now, limits) {
    const expired = [];
    for (const [number, { since }] of this.#skipped) {
      if (now - since < limits.skippedLifetimeS) break;
      expired.push(number);
    }
    return expired;
  }

  /** The key as it is stored, without its skipped keys, which are stored one by one; secret. */
  toRecord() {
    const account = this.account ? concat(u8(1), this.account) : u8(0);
    const numbers = concat(u32(this.iteration), u32(this.epoch), u32(this.serial));
    return concat(u8(RECORD_VERSION), this.keyId, numbers, this.#chainKey, this.#public, account);
  }

  /** What `toRecord` wrote; `MalformedMessage` for anything else. @param {Uint8Array} record */
  static fromRecord(record) {
    const reader = recordReader(record);
    const [keyId, iteration, epoch, serial] = [reader.take(KEY_ID_BYTES), reader.u32(), reader.u32(), reader.u32()];
    const [chainKey, signingPublic] = [reader.take(KEY_BYTES), reader.take(KEY_BYTES)];
    const account = reader.u8() ? reader.take(KEY_BYTES) : null;
    reader.done();
    return new ReceivingKey({ keyId, chainKey, signingPublic, iteration, epoch, account, serial });
  }
}
