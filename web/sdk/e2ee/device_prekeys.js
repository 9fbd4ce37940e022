/**
 * The prekeys of this device: making, renewing, finding and dropping them (the profile's section 3).
 *
 * The store keeps the private halves by id. Ids come from one counter and are never used again, so a key that was handed out never
 * stands for another one.
 */
import { Reader, u32, utf8 } from "./encoding.js";
import { LimitReached, PreKeyReplay, UnknownPreKey } from "./errors.js";
import { SUITE_PQ } from "./limits.js";
import { makeKemPrekey, makeOneTimePrekey, makeSignedPrekey } from "./prekeys.js";
import {
  COUNTERS,
  KEM_LAST_PREKEYS,
  KEM_ONCE_PREKEYS,
  ONE_TIME_PREKEYS,
  PreKeySecret,
  SIGNED_PREKEYS,
  counterRecord,
  readCounter,
  seenTable,
} from "./records.js";
import { agreementPair, kemPair } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { LocalDevice, PreKeyMessage, PreKeySecrets } from "./handshake.js" */
/** @import { Limits } from "./limits.js" */
/** @import { KemPreKey, OneTimePreKey, SeedPair, SignedPreKey } from "./prekeys.js" */
/** @import { Transaction } from "./transaction.js" */
/** @import { Random } from "./suite.js" */
/**
 * @typedef {{signed: SignedPreKey | null, kemLast: KemPreKey | null, oneTime: OneTimePreKey[], kemOnce: KemPreKey[]}} PreKeyUpload
 *   what to give to the server now; the signed and the last-resort KEM prekey take the place of the ones there, if not null
 */

const COUNTER = utf8("prekey");
// Keys that the server handed out and that never came back are kept up to this multiple of those on offer: a first message may be
// under way for days, but keys that somebody only fetches must not pile up.
const KEPT_TIMES = 10;
// First messages that one signed prekey accepts in its 30 days. 100 bytes each; a device that meets more is being flooded.
const MAX_SEEN = 10_000;
const SEEN = Uint8Array.of(1);

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

  /** @param {number} count */
  async #ids(count) {
    const start = readCounter(await this.#tx.get(COUNTERS, COUNTER), 1);
    if (start + count >= 2 ** 32) throw new LimitReached("all prekey ids are used up");
    await this.#tx.put(COUNTERS, COUNTER, counterRecord(start + count));
    return Array.from({ length: count }, (_, index) => start + index);
  }

  /** @param {string} table @param {number} id @param {SeedPair} pair */
  #keep(table, id, pair) {
    return this.#tx.put(table, u32(id), new PreKeySecret(this.#now, pair.secret).encode());
  }

  /** The newest prekey of a kind that is renewed, if it is not due; those that are dead are dropped. @param {string} table */
  async #newest(table) {
    let newest = null;
    for (const { key, record } of await this.#tx.scan(table)) {
      const [secret, id] = [PreKeySecret.parse(record), new Reader(key).u32()];
      if (this.#now >= secret.created + this.#limits.signedPrekeyLifetimeS) {
        await this.#tx.delete(table, key);
        if (table === SIGNED_PREKEYS) await this.#tx.clear(seenTable(id));
      } else if (this.#now < secret.created + this.#limits.signedPrekeyRotationS) {
        newest = { id, secret };
      }
    }
    return newest;
  }

  /**
   * The present prekey of a kind that is renewed: a new one where it is due, else the same again if it is wanted `always`.
   *
   * @template T
   * @param {string} table
   * @param {boolean} always
   * @param {(id: number, created: number, random: Random) => Promise<{prekey: T, pair: SeedPair}>} make
   */
  async renewed(table, always, make) {
    const newest = await this.#newest(table);
    if (newest && !always) return null;
    // A source that gives back a stored seed, so that a prekey comes out as it was; signatures are deterministic.
    if (newest) return (await make(newest.id, newest.secret.created, () => newest.secret.seed)).prekey;
    const [id] = await this.#ids(1);
    const { prekey, pair } = await make(id, this.#now, this.#random);
    await this.#keep(table, id, pair);
    return prekey;
  }

  /**
   * New prekeys for one use; the oldest beyond what is kept are dropped.
   *
   * @template T
   * @param {string} table
   * @param {number} count
   * @param {number} onOffer
   * @param {(id: number) => Promise<{prekey: T, pair: SeedPair}>} make
   */
  async once(table, count, onOffer, make) {
    const made = [];
    for (const id of await this.#ids(count)) {
      const { prekey, pair } = await make(id);
      await this.#keep(table, id, pair);
      made.push(prekey);
    }
    const kept = await this.#tx.scan(table);
    for (const { key } of kept.slice(0, Math.max(kept.length - onOffer * KEPT_TIMES, 0))) await this.#tx.delete(table, key);
    return made;
  }

  /** @param {boolean} always */
  signed(always) {
    return this.renewed(SIGNED_PREKEYS, always, (id, created, random) => makeSignedPrekey(this.#signing, id, created, random));
  }

  /** @param {boolean} always */
  kemLast(always) {
    return this.renewed(KEM_LAST_PREKEYS, always, (id, created, random) => makeKemPrekey(this.#signing, id, created, random, false));
  }

  /** @param {number} count */
  oneTime(count) {
    return this.once(ONE_TIME_PREKEYS, count, this.#limits.oneTimePrekeys, (id) => makeOneTimePrekey(id, this.#random));
  }

  /** @param {number} count */
  kemOnce(count) {
    const make = (/** @type {number} */ id) => makeKemPrekey(this.#signing, id, this.#now, this.#random, true);
    return this.once(KEM_ONCE_PREKEYS, count, this.#limits.oneTimeKemPrekeys, make);
  }
}

/** @param {number | null} left @param {number} refillUnder @param {number} full */
function missing(left, refillUnder, full) {
  const there = left ?? 0;
  return there < Math.min(refillUnder, full) ? full - there : 0;
}

/**
 * Renews what is due and fills up what runs low.
 *
 * Draws in this order, of what is made: signed 32, KEM last 64, one-time 32 each, one-time KEM 64 each.
 *
 * @param {Transaction} tx
 * @param {LocalDevice} local
 * @param {Limits} limits
 * @param {{oneTimeLeft: number | null, kemOnceLeft: number | null, random: Random, now: number}} options  null for a count: the server has
 *   nothing of this device at all
 * @returns {Promise<PreKeyUpload>}
 */
export async function refillPrekeys(tx, local, limits, { oneTimeLeft, kemOnceLeft, random, now }) {
  const maker = new Maker(tx, local, limits, random, now);
  const kem = local.certificate.suites.includes(SUITE_PQ);
  const signed = await maker.signed(oneTimeLeft === null);
  const kemLast = kem ? await maker.kemLast(kemOnceLeft === null) : null;
  const oneTime = await maker.oneTime(missing(oneTimeLeft, limits.oneTimePrekeysRefill, limits.oneTimePrekeys));
  const kemCount = kem ? missing(kemOnceLeft, limits.oneTimeKemPrekeysRefill, limits.oneTimeKemPrekeys) : 0;
  return { signed, kemLast, oneTime, kemOnce: await maker.kemOnce(kemCount) };
}

/**
 * `PreKeyReplay` for a first message that was accepted before, `LimitReached` when too many were.
 *
 * @param {Transaction} tx
 * @param {PreKeyMessage} message
 */
export async function checkUnseen(tx, message) {
  const table = seenTable(message.signedId);
  if (await tx.get(table, await message.fingerprint())) {
    throw new PreKeyReplay("the first message was accepted before, and its session is gone");
  }
  if ((await tx.count(table)) >= MAX_SEEN) throw new LimitReached(`one signed prekey accepts at most ${MAX_SEEN} first messages`);
}

/**
 * The pairs that a first message names; `UnknownPreKey` where the signed one is not there or dead, null for the others.
 *
 * @param {Transaction} tx
 * @param {PreKeyMessage} message
 * @param {Limits} limits
 * @param {number} now
 * @returns {Promise<PreKeySecrets>}
 */
export async function findSecrets(tx, message, limits, now) {
  /** @param {string} table @param {number | null} id @param {(seed: Bytes) => Promise<SeedPair>} pairOf */
  const find = async (table, id, pairOf) => {
    const record = id === null ? null : await tx.get(table, u32(id));
    if (!record) return null;
    const secret = PreKeySecret.parse(record);
    const once = table === ONE_TIME_PREKEYS || table === KEM_ONCE_PREKEYS;
    return once || now < secret.created + limits.signedPrekeyLifetimeS ? pairOf(secret.seed) : null;
  };
  const signed = await find(SIGNED_PREKEYS, message.signedId, agreementPair);
  if (!signed) throw new UnknownPreKey(`a first message names the signed prekey ${message.signedId}, which is not there`);
  const oneTime = await find(ONE_TIME_PREKEYS, message.oneTimeId, agreementPair);
  return { signed, oneTime, kem: await find(message.kemOnce ? KEM_ONCE_PREKEYS : KEM_LAST_PREKEYS, message.kemId, kemPair) };
}

/**
 * The session of a first message is there: its one-time keys go, and the message is remembered.
 *
 * @param {Transaction} tx
 * @param {PreKeyMessage} message
 */
export async function acceptFirst(tx, message) {
  if (message.oneTimeId !== null) await tx.delete(ONE_TIME_PREKEYS, u32(message.oneTimeId));
  if (message.kemId !== null && message.kemOnce) await tx.delete(KEM_ONCE_PREKEYS, u32(message.kemId));
  await tx.put(seenTable(message.signedId), await message.fingerprint(), SEEN);
}
