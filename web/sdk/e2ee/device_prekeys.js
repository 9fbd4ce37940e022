/**
 * The prekeys of this device: making, renewing, finding and dropping them (the profile's section 3).
 *
 * The store keeps the private halves by id. Ids come from one counter and are never used again, so a key that was handed out never
 * stands for another one.
 */
import { u32, utf8 } from "./encoding.js";
import { LimitReached, PreKeyReplay, UnknownPreKey } from "./errors.js";
import { SUITE_PQ } from "./limits.js";
import { makeKemPrekey, makeOneTimePrekey, makeSignedPrekey } from "./prekeys.js";
import {
  COUNTERS,
  KEM_LAST_PREKEYS,
  KEM_ONCE_PREKEYS,
  ONE_TIME_PREKEYS,
  SIGNED_PREKEYS,
  counterRecord,
  readCounter,
  readSecret,
  secretRecord,
  seenTable,
} from "./records.js";
import { agreementPair, kemPair } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { LocalDevice, PreKeySecrets } from "./handshake.js" */
/** @import { Limits } from "./limits.js" */
/** @import { PreKeyMessage } from "./prekey_message.js" */
/** @import { KemPreKey, OneTimePreKey, SeedPair, SignedPreKey } from "./prekeys.js" */
/** @import { Transaction } from "./store.js" */
/** @import { Random } from "./suite.js" */
/** @typedef {{signed: SignedPreKey | null, kemLast: KemPreKey | null, oneTime: OneTimePreKey[], kemOnce: KemPreKey[]}} PreKeyUpload  what to give to the server now; null: what it has stays */

const COUNTER = utf8("prekey");
// Keys that the server handed out and that never came back are kept up to this multiple of those on offer: a first message may be
// under way for days, but keys that somebody only fetches must not pile up.
const KEPT_TIMES = 10;
// First messages that one signed prekey accepts in its 30 days. 100 bytes each; a device that meets more is being flooded.
const MAX_SEEN = 10_000;
const SEEN = new Uint8Array([1]);

/** Makes and stores prekeys inside of one transaction. */
class Maker {
  #tx;
  #signing;
  #limits;
  #random;
  #now;

  /** @param {Transaction} tx @param {LocalDevice} local @param {Limits} limits @param {Random} random @param {number} now */
  constructor(tx, local, limits, random, now) {
    this.#tx = tx;
    this.#signing = local.signing;
    this.#limits = limits;
    this.#random = random;
    this.#now = Math.floor(now);
  }

  /** @param {boolean} always */
  async signed(always) {
    const newest = await this.#newest(SIGNED_PREKEYS);
    if (newest) return always ? (await makeSignedPrekey(this.#signing, newest.id, newest.created, () => newest.seed)).prekey : null;
    const id = await this.#ids(1);
    const { prekey, pair } = await makeSignedPrekey(this.#signing, id, this.#now, this.#random);
    this.#keep(SIGNED_PREKEYS, id, pair);
    return prekey;
  }

  /** @param {boolean} always */
  async kemLast(always) {
    const newest = await this.#newest(KEM_LAST_PREKEYS);
    if (newest) return always ? (await makeKemPrekey(this.#signing, newest.id, newest.created, () => newest.seed, false)).prekey : null;
    const id = await this.#ids(1);
    const { prekey, pair } = await makeKemPrekey(this.#signing, id, this.#now, this.#random, false);
    this.#keep(KEM_LAST_PREKEYS, id, pair);
    return prekey;
  }

  /** @param {number} count */
  async oneTime(count) {
    const start = await this.#ids(count);
    const made = await Promise.all(Array.from({ length: count }, (_, index) => makeOneTimePrekey(start + index, this.#random)));
    return this.#keepAll(ONE_TIME_PREKEYS, made, this.#limits.oneTimePrekeys);
  }

  /** @param {number} count */
  async kemOnce(count) {
    const start = await this.#ids(count);
    const made = await Promise.all(
      Array.from({ length: count }, (_, index) => makeKemPrekey(this.#signing, start + index, this.#now, this.#random, true)),
    );
    return this.#keepAll(KEM_ONCE_PREKEYS, made, this.#limits.oneTimeKemPrekeys);
  }

  /** The first of `count` new ids. @param {number} count */
  async #ids(count) {
    const start = readCounter(await this.#tx.get(COUNTERS, COUNTER));
    if (start + count >= 2 ** 32) throw new LimitReached("all prekey ids are used up");
    this.#tx.put(COUNTERS, COUNTER, counterRecord(start + count));
    return start;
  }

  /** @param {string} table @param {number} id @param {SeedPair} pair */
  #keep(table, id, pair) {
    this.#tx.put(table, u32(id), secretRecord(this.#now, pair.secret));
  }

  /** @template {{id: number}} P @param {string} table @param {{prekey: P, pair: SeedPair}[]} made @param {number} onOffer */
  async #keepAll(table, made, onOffer) {
    for (const { prekey, pair } of made) this.#keep(table, prekey.id, pair);
    const rows = await this.#tx.scan(table);
    for (const { key } of rows.slice(0, Math.max(0, rows.length - onOffer * KEPT_TIMES))) this.#tx.delete(table, key);
    return made.map(({ prekey }) => prekey);
  }

  /** The newest prekey of a kind that is renewed, if it is not due; those that are dead are dropped. @param {string} table */
  async #newest(table) {
    let newest = null;
    for (const { key, record } of await this.#tx.scan(table)) {
      const secret = readSecret(record);
      const id = new DataView(key.buffer, key.byteOffset).getUint32(0);
      if (this.#now >= secret.created + this.#limits.signedPrekeyLifetimeS) {
        this.#tx.delete(table, key);
        if (table === SIGNED_PREKEYS) this.#tx.clear(seenTable(id));
      } else if (this.#now < secret.created + this.#limits.signedPrekeyRotationS) {
        newest = { id, ...secret };
      }
    }
    return newest;
  }
}

/** @param {number | null} left @param {number} refillUnder @param {number} full */
const missing = (left, refillUnder, full) => ((left ?? 0) < Math.min(refillUnder, full) ? full - (left ?? 0) : 0);

/**
 * Renews what is due and fills up what runs low; null for a count means that the server has nothing of this device at all.
 *
 * @param {Transaction} tx
 * @param {LocalDevice} local
 * @param {Limits} limits
 * @param {{oneTimeLeft: number | null, kemOnceLeft: number | null, random: Random, now: number}} options
 * @returns {Promise<PreKeyUpload>}
 */
export async function refill(tx, local, limits, { oneTimeLeft, kemOnceLeft, random, now }) {
  const maker = new Maker(tx, local, limits, random, now);
  const kem = local.certificate.suites.includes(SUITE_PQ);
  return {
    signed: await maker.signed(oneTimeLeft === null),
    kemLast: kem ? await maker.kemLast(kemOnceLeft === null) : null,
    oneTime: await maker.oneTime(missing(oneTimeLeft, limits.oneTimePrekeysRefill, limits.oneTimePrekeys)),
    kemOnce: kem ? await maker.kemOnce(missing(kemOnceLeft, limits.oneTimeKemPrekeysRefill, limits.oneTimeKemPrekeys)) : [],
  };
}

/** `PreKeyReplay` for a first message that was accepted before, `LimitReached` when too many were. @param {Transaction} tx @param {PreKeyMessage} message */
export async function checkUnseen(tx, message) {
  const table = seenTable(message.signedId);
  if (await tx.get(table, await message.fingerprint())) {
    throw new PreKeyReplay("the first message was accepted before, and its session is gone");
  }
  if ((await tx.count(table)) >= MAX_SEEN) throw new LimitReached(`one signed prekey accepts at most ${MAX_SEEN} first messages`);
}

/** @param {PreKeyMessage} message */
const kemTable = (message) => (message.kemOnce ? KEM_ONCE_PREKEYS : KEM_LAST_PREKEYS);

/**
 * The pairs that a first message names; null for those that are not there.
 *
 * @param {Transaction} tx
 * @param {PreKeyMessage} message
 * @param {Limits} limits
 * @param {number} now
 * @returns {Promise<PreKeySecrets>} rejects with `UnknownPreKey` where the signed one is not there or dead
 */
export async function findSecrets(tx, message, limits, now) {
  /** @param {string} table @param {number | null} id @param {(seed: Bytes) => Promise<SeedPair>} pair */
  const find = async (table, id, pair) => {
    const record = id === null ? undefined : await tx.get(table, u32(id));
    if (!record) return null;
    const { created, seed } = readSecret(record);
    const alive = table === ONE_TIME_PREKEYS || table === KEM_ONCE_PREKEYS || now < created + limits.signedPrekeyLifetimeS;
    return alive ? pair(seed) : null;
  };
  const signed = await find(SIGNED_PREKEYS, message.signedId, agreementPair);
  if (!signed) throw new UnknownPreKey(`a first message names the signed prekey ${message.signedId}, which is not there`);
  const oneTime = await find(ONE_TIME_PREKEYS, message.oneTimeId, agreementPair);
  return { signed, oneTime, kem: await find(kemTable(message), message.kemId, kemPair) };
}

/** The session of a first message is there: its one-time keys go, and the message is remembered. @param {Transaction} tx @param {PreKeyMessage} message */
export async function acceptFirst(tx, message) {
  if (message.oneTimeId !== null) tx.delete(ONE_TIME_PREKEYS, u32(message.oneTimeId));
  if (message.kemId !== null && message.kemOnce) tx.delete(KEM_ONCE_PREKEYS, u32(message.kemId));
  tx.put(seenTable(message.signedId), await message.fingerprint(), SEEN);
}
