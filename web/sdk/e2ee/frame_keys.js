/**
 * What a worker holds of a call's media keys: the own one to seal with, and everybody else's to open with.
 *
 * Whose frame it is, is whose key opened it; SSRCs and what the forwarding unit says about them count for nothing. Frames of several
 * tracks come at once, so whatever a frame changes is checked and changed together, after its tag was right.
 */
import { concat, equal } from "./encoding.js";
import { CounterExhausted, FrameReplay, LimitReached, UnknownFrameKey } from "./errors.js";
import { join, metadata, split, splitSealed } from "./frames.js";
import { MAX_FRAME_SENDERS, STEPS, checkMediaKey, kidOf, nextStep } from "./media_key.js";
import { FrameKey, parseHeader } from "./sframe.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { Codec } from "./frames.js" */
/** @import { MediaKey } from "./media_key.js" */

// RFC 9605 leaves replay to the application: 1,024 frames are about 7 s of one camera and one microphone.
const WINDOW = 1_024;
const GRACE_S = 10;
// Each member who leaves makes every sender announce another generation, and all but the last go unused.
const MAX_GENERATIONS = 8;
const NEVER = Number.POSITIVE_INFINITY;

/** Seals the frames of all own tracks; a counter never repeats, whatever the number of tracks and layers. */
export class FrameSealer {
  /** @type {FrameKey | null} */ #key = null;
  #kid = -1;
  #counter = 0;

  /** Seals with `key` from now on. A KID that is not above the one in use changes nothing: its counters may be used up. @param {MediaKey} key */
  async use(key) {
    const kid = kidOf(checkMediaKey(key));
    if (kid <= this.#kid) return;
    this.#kid = kid;
    const made = await FrameKey.create(kid, key.baseKey);
    // A later one may have been asked for meanwhile.
    if (kid !== this.#kid) return;
    this.#key = made;
    this.#counter = 0;
  }

  /**
   * @param {Codec} codec
   * @param {string} stream
   * @param {Bytes} frame
   * @returns {Promise<Bytes>} rejects with `MalformedMessage` for what is no frame of that codec, `UnknownFrameKey` before the first key,
   *   `CounterExhausted` past the last counter; the frame is dropped then, never sent as it is
   */
  async seal(codec, stream, frame) {
    const { clear, rest } = split(codec, frame);
    const authenticated = metadata(codec, clear, stream);
    if (!this.#key) throw new UnknownFrameKey("there is no media key yet");
    if (this.#counter >= Number.MAX_SAFE_INTEGER) throw new CounterExhausted("the media key has sealed its last frame; renew it");
    // Key and counter are taken together, before anything is waited for.
    const counter = this.#counter;
    this.#counter += 1;
    return join(codec, clear, await this.#key.seal(counter, rest, authenticated));
  }
}

/** Which counters of one KID were seen: the newest, and the 1,024 up to it. */
class Window {
  #newest = -1n;
  #seen = new Uint8Array(WINDOW);

  /** @param {bigint} counter */
  check(counter) {
    const behind = this.#newest - counter;
    if (behind >= BigInt(WINDOW) || (behind >= 0n && this.#seen[this.#slot(counter)])) {
      throw new FrameReplay("a media frame came before, or is too old to tell");
    }
  }

  /** @param {bigint} counter  that `check` has let pass */
  add(counter) {
    if (counter - this.#newest >= BigInt(WINDOW)) this.#seen.fill(0);
    else for (let passed = this.#newest + 1n; passed < counter; passed += 1n) this.#seen[this.#slot(passed)] = 0;
    this.#seen[this.#slot(counter)] = 1;
    if (counter > this.#newest) this.#newest = counter;
  }

  /** @param {bigint} counter */
  #slot(counter) {
    return Number(counter & BigInt(WINDOW - 1));
  }
}

/** @typedef {{key: FrameKey, window: Window, expires: number}} Step  one KID */
/** @typedef {{arrival: number, expires: number, latest: MediaKey, steps: Map<number, Step>}} Generation  a key as it arrived, and what was derived from it */

/** @param {MediaKey} key @returns {Promise<Step>} */
async function makeStep(key) {
  return { key: await FrameKey.create(kidOf(key), key.baseKey), window: new Window(), expires: NEVER };
}

/** Whether both are of one chain, at whatever steps. @param {MediaKey} one @param {MediaKey} other */
async function sameChain(one, other) {
  let [early, late] = one.step <= other.step ? [one, other] : [other, one];
  while (early.step < late.step) early = await nextStep(early);
  return equal(early.baseKey, late.baseKey);
}

/**
 * The keys of one sender. Of two generations the newer one is that whose key arrived later, whatever its number.
 *
 * So a device that starts anew at a low generation is heard, and a key that comes late changes nothing unless it is used.
 */
class Sender {
  /** @type {Map<number, Generation>} */ #generations = new Map();
  #arrivals = 0;
  #newestUsed = 0;

  /** @param {MediaKey} key */
  async add(key) {
    const known = this.#generations.get(key.generation);
    if (known && (await sameChain(known.latest, key))) return;
    const step = await makeStep(key);
    this.#generations.delete(key.generation);
    if (this.#generations.size >= MAX_GENERATIONS) {
      const unused = [...this.#generations].filter(([, { arrival }]) => arrival !== this.#newestUsed);
      unused.sort(([, one], [, other]) => one.arrival - other.arrival);
      this.#generations.delete(unused[0][0]);
    }
    this.#arrivals += 1;
    this.#generations.set(key.generation, { arrival: this.#arrivals, expires: NEVER, latest: key, steps: new Map([[key.step, step]]) });
  }

  /** @param {Codec} codec @param {string} stream @param {Bytes} frame @param {number} now */
  async open(codec, stream, frame, now) {
    const { clear, rest } = splitSealed(codec, frame);
    const authenticated = metadata(codec, clear, stream);
    const { kid, counter } = parseHeader(rest);
    this.#expire(now);
    const generation = this.#generations.get(Number(kid / BigInt(STEPS)));
    if (!generation) throw new UnknownFrameKey("a media frame is under a key that is not known");
    const number = Number(kid % BigInt(STEPS));
    let latest = generation.latest;
    let step = generation.steps.get(number);
    if (!step) {
      if (number <= latest.step) throw new UnknownFrameKey("a media frame is under a key that is no longer valid");
      while (latest.step < number) latest = await nextStep(latest);
      step = await makeStep(latest);
    }
    step.window.check(counter);
    const plain = await step.key.open(rest, authenticated);
    // Another frame may have taken this counter meanwhile, or this step, or a later one.
    const taken = generation.steps.get(number) ?? step;
    if (!generation.steps.has(number) && number <= generation.latest.step) throw new UnknownFrameKey("a media frame is under a key that is no longer valid");
    taken.window.check(counter);
    taken.window.add(counter);
    if (generation.latest.step < number) {
      this.#retire(generation.steps.values(), now);
      generation.latest = latest;
      generation.steps.set(number, taken);
    }
    if (generation.arrival > this.#newestUsed) {
      this.#newestUsed = generation.arrival;
      this.#retire([...this.#generations.values()].filter(({ arrival }) => arrival < generation.arrival), now);
    }
    return concat(clear, plain);
  }

  /** @param {Iterable<{expires: number}>} old @param {number} now */
  #retire(old, now) {
    for (const item of old) item.expires = Math.min(item.expires, now + GRACE_S);
  }

  /** @param {number} now */
  #expire(now) {
    for (const [number, generation] of this.#generations) {
      if (now >= generation.expires) this.#generations.delete(number);
      for (const [step, { expires }] of generation.steps) if (now >= expires) generation.steps.delete(step);
    }
  }
}

/** Everybody else's media keys in one call. Bounded: 1,024 senders, 8 generations each, 16 steps of each. */
export class KeyRing {
  /** @type {Map<string, Sender>} */ #senders = new Map();

  get senders() {
    return [...this.#senders.keys()];
  }

  /**
   * Keeps a key that came from the session with `sender`; its generation is acknowledged afterwards. A generation that is known
   * under another key is replaced.
   *
   * @param {string} sender
   * @param {MediaKey} key
   * @returns {Promise<void>} rejects with `MalformedMessage` for what is no key, `LimitReached` for too many senders
   */
  async add(sender, key) {
    const checked = checkMediaKey(key);
    let ring = this.#senders.get(sender);
    if (!ring) {
      if (this.#senders.size >= MAX_FRAME_SENDERS) throw new LimitReached(`media keys of at most ${MAX_FRAME_SENDERS} senders are kept`);
      ring = new Sender();
      this.#senders.set(sender, ring);
    }
    await ring.add(checked);
  }

  /** `sender` left: nothing of it is opened any more. @param {string} sender */
  remove(sender) {
    this.#senders.delete(sender);
  }

  /**
   * Decrypts a frame of `sender`'s track `stream`, ready for the decoder.
   *
   * @param {string} sender
   * @param {Codec} codec
   * @param {string} stream
   * @param {Bytes} frame
   * @param {number} now
   * @returns {Promise<Bytes>} rejects with `MalformedMessage`, `UnknownFrameKey` (not yet, or no longer), `FrameReplay` or
   *   `DecryptionFailed`, and nothing has changed then: the frame is dropped, never passed on as it is
   */
  async open(sender, codec, stream, frame, now) {
    const ring = this.#senders.get(sender);
    if (!ring) throw new UnknownFrameKey("a media frame is of a sender without a key");
    const opened = await ring.open(codec, stream, frame, now);
    // Removed while the frame was being decrypted.
    if (this.#senders.get(sender) !== ring) throw new UnknownFrameKey("a media frame is of a sender without a key");
    return opened;
  }
}
