/**
 * The own media key of a call: who is given which key as people come and go. The page does this; a worker seals the frames.
 *
 * `now` is in seconds of a clock that never goes back.
 */
import { CounterExhausted, LimitReached } from "./errors.js";
import { Lock } from "./lock.js";
import { BASE_KEY_BYTES, MAX_FRAME_SENDERS, MAX_GENERATION, STEPS, nextStep } from "./media_key.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { MediaKey } from "./media_key.js" */
/** @typedef {{kind: "sendKey", peer: string, key: MediaKey}} SendKey  send it to the peer in a pairwise message */
/** @typedef {{kind: "keyFrameNeeded"}} KeyFrameNeeded  another key is in use: every video encoder must make a key frame */
/** @typedef {SendKey | KeyFrameNeeded} KeyEvent */

/** A sender does not wait longer than this for everybody's acknowledgement of a new key. */
const SWITCH_S = 2;

/**
 * Methods that change who holds the key tell what is to be done, in order, and run one after the other. `deadline` says when
 * `onTime` wants to be called.
 */
export class SenderKeys {
  /** @type {Set<string>} */ #peers = new Set();
  /** @type {Set<string>} */ #unacknowledged = new Set();
  /** @type {MediaKey | null} */ #next = null;
  #lock = new Lock();
  #random;
  #lastGeneration;
  /** The key that frames are to be sealed under now. @type {MediaKey} */ present;
  deadline = Number.POSITIVE_INFINITY;

  /**
   * Starts with a fresh key for `peers`; `eventsAtStart` gives it to them. A device that starts anew may begin at any generation,
   * for its key is another.
   *
   * @param {{peers?: Iterable<string>, generation?: number, random?: (size: number) => Bytes}} [options]
   */
  constructor({ peers = [], generation = 0, random = (size) => crypto.getRandomValues(new Uint8Array(size)) } = {}) {
    this.#random = random;
    for (const peer of peers) this.#admit(peer);
    this.#lastGeneration = generation;
    this.present = { generation, step: 0, baseKey: random(BASE_KEY_BYTES) };
  }

  /** Who holds the key that is in use next, or now. */
  get peers() {
    return [...this.#peers];
  }

  /** @returns {KeyEvent[]} */
  eventsAtStart() {
    return this.#sendTo(this.#peers, this.present);
  }

  /**
   * `peer` joined: gives it a key that opens nothing from before. The others derive the key alone, by its KID.
   *
   * @param {string} peer
   * @param {number} now
   * @returns {Promise<KeyEvent[]>} rejects with `LimitReached` for too many, `CounterExhausted` past the last generation
   */
  add(peer, now) {
    return this.#lock.run(async () => {
      if (this.#peers.has(peer)) return [];
      if (this.#next) {
        // A fresh key is about to be used anyway; nobody waits for somebody who has only just come.
        this.#admit(peer);
        return this.#sendTo([peer], this.#next);
      }
      if (this.present.step === STEPS - 1) {
        const key = this.#fresh();
        this.#admit(peer);
        return this.#announce(key, now);
      }
      const ratcheted = await nextStep(this.present);
      this.#admit(peer);
      this.present = ratcheted;
      return this.#sendTo([peer], ratcheted);
    });
  }

  /** The key that `peer` should have, for its device lost it. @param {string} peer @returns {Promise<KeyEvent[]>} */
  again(peer) {
    return this.#lock.run(async () => (this.#peers.has(peer) ? this.#sendTo([peer], this.#next ?? this.present) : []));
  }

  /** `peer` left: a new generation for everybody else. @param {string} peer @param {number} now @returns {Promise<KeyEvent[]>} rejects with `CounterExhausted` */
  remove(peer, now) {
    return this.#lock.run(async () => {
      if (!this.#peers.has(peer)) return [];
      const key = this.#fresh();
      this.#peers.delete(peer);
      return this.#announce(key, now);
    });
  }

  /** A new generation although nobody left. @param {number} now @returns {Promise<KeyEvent[]>} rejects with `CounterExhausted` */
  renew(now) {
    return this.#lock.run(async () => this.#announce(this.#fresh(), now));
  }

  /** `peer` has the key of `generation`; what is not awaited from it changes nothing. @param {string} peer @param {number} generation @returns {Promise<KeyEvent[]>} */
  acknowledged(peer, generation) {
    return this.#lock.run(async () => {
      if (!this.#next || generation !== this.#next.generation) return [];
      this.#unacknowledged.delete(peer);
      return this.#unacknowledged.size > 0 ? [] : this.#switch(this.#next);
    });
  }

  /** Uses the new generation if somebody's acknowledgement did not come in time. @param {number} now @returns {Promise<KeyEvent[]>} */
  onTime(now) {
    return this.#lock.run(async () => (this.#next && now >= this.deadline ? this.#switch(this.#next) : []));
  }

  /** @param {string} peer */
  #admit(peer) {
    if (this.#peers.size >= MAX_FRAME_SENDERS) throw new LimitReached(`a call has at most ${MAX_FRAME_SENDERS} participants with keys`);
    this.#peers.add(peer);
  }

  /** @returns {MediaKey} */
  #fresh() {
    if (this.#lastGeneration >= MAX_GENERATION) throw new CounterExhausted("the call has used its last media key generation");
    this.#lastGeneration += 1;
    return { generation: this.#lastGeneration, step: 0, baseKey: this.#random(BASE_KEY_BYTES) };
  }

  /** @param {MediaKey} key @param {number} now @returns {KeyEvent[]} */
  #announce(key, now) {
    this.#next = key;
    this.#unacknowledged = new Set(this.#peers);
    // Whoever left first must not hear longer because others leave after them.
    this.deadline = Math.min(now + SWITCH_S, Math.max(now, this.deadline));
    return this.#peers.size > 0 ? this.#sendTo(this.#peers, key) : this.#switch(key);
  }

  /** @param {MediaKey} key @returns {KeyEvent[]} */
  #switch(key) {
    this.present = key;
    this.#next = null;
    this.#unacknowledged.clear();
    this.deadline = Number.POSITIVE_INFINITY;
    return [{ kind: "keyFrameNeeded" }];
  }

  /** @param {Iterable<string>} peers @param {MediaKey} key @returns {KeyEvent[]} */
  #sendTo(peers, key) {
    return Array.from(peers, (peer) => ({ kind: "sendKey", peer, key }));
  }
}
