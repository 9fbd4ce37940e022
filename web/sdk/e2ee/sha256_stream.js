/**
 * SHA-256 (FIPS 180-4) of bytes that come in pieces, which WebCrypto cannot do.
 *
 * Only for what is public, the sealed stream of a file: its time need not be independent of the data, though it is.
 */

/** @import { Bytes } from "./encoding.js" */

const BLOCK_BYTES = 64;
const LENGTH_BYTES = 8;

/** The first 32 bits behind the point of the roots of the first primes. @param {number} count @param {number} root */
function rootsOfPrimes(count, root) {
  const words = new Int32Array(count);
  for (let candidate = 2, found = 0; found < count; candidate += 1) {
    let prime = true;
    for (let divisor = 2; divisor * divisor <= candidate; divisor += 1) prime &&= candidate % divisor !== 0;
    if (prime) words[found++] = integerRoot(BigInt(candidate) << BigInt(32 * root), root);
  }
  return words;
}

/** The lowest 32 bits of the whole part of a root. @param {bigint} value @param {number} root */
function integerRoot(value, root) {
  let [low, high] = [0n, 1n << 40n];
  while (low + 1n < high) {
    const middle = (low + high) >> 1n;
    if (middle ** BigInt(root) <= value) low = middle;
    else high = middle;
  }
  return Number(low & 0xffffffffn);
}

const START = rootsOfPrimes(8, 2);
const ROUND = rootsOfPrimes(64, 3);

/** @param {number} word @param {number} count */
const rotate = (word, count) => (word >>> count) | (word << (32 - count));

export class Sha256 {
  #state = START.slice();
  #schedule = new Int32Array(64);
  #pending = new Uint8Array(BLOCK_BYTES);
  #length = 0;

  /** A copy that goes on by itself. */
  clone() {
    const copy = new Sha256();
    copy.#state.set(this.#state);
    copy.#pending.set(this.#pending);
    copy.#length = this.#length;
    return copy;
  }

  /** @param {Uint8Array} data @returns {this} */
  update(data) {
    const filled = this.#length % BLOCK_BYTES;
    this.#length += data.length;
    let position = 0;
    if (filled) {
      position = Math.min(BLOCK_BYTES - filled, data.length);
      this.#pending.set(data.subarray(0, position), filled);
      if (filled + position < BLOCK_BYTES) return this;
      this.#block(this.#pending, 0);
    }
    for (; position + BLOCK_BYTES <= data.length; position += BLOCK_BYTES) this.#block(data, position);
    this.#pending.set(data.subarray(position), 0);
    return this;
  }

  /** The hash of what came so far; more may follow. @returns {Bytes} */
  digest() {
    const copy = this.clone();
    const filled = copy.#length % BLOCK_BYTES;
    const end = new Uint8Array((filled < BLOCK_BYTES - LENGTH_BYTES ? BLOCK_BYTES : 2 * BLOCK_BYTES) - filled);
    end[0] = 0x80;
    new DataView(end.buffer).setBigUint64(end.length - LENGTH_BYTES, BigInt(copy.#length) * 8n);
    copy.update(end);
    const result = new Uint8Array(32);
    const view = new DataView(result.buffer);
    copy.#state.forEach((word, index) => view.setInt32(4 * index, word));
    return result;
  }

  /** Section 6.2.2. @param {Uint8Array} data @param {number} at */
  #block(data, at) {
    const w = this.#schedule;
    const round = ROUND;
    for (let t = 0, i = at; t < 16; t += 1, i += 4) w[t] = (data[i] << 24) | (data[i + 1] << 16) | (data[i + 2] << 8) | data[i + 3];
    for (let t = 16; t < 64; t += 1) {
      const early = w[t - 15];
      const late = w[t - 2];
      const small0 = rotate(early, 7) ^ rotate(early, 18) ^ (early >>> 3);
      const small1 = rotate(late, 17) ^ rotate(late, 19) ^ (late >>> 10);
      w[t] = (small1 + w[t - 7] + small0 + w[t - 16]) | 0;
    }
    const state = this.#state;
    // One by one: taking an array apart costs more than the hash.
    let a = state[0];
    let b = state[1];
    let c = state[2];
    let d = state[3];
    let e = state[4];
    let f = state[5];
    let g = state[6];
    let h = state[7];
    for (let t = 0; t < 64; t += 1) {
      const big1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
      const t1 = (h + big1 + ((e & f) ^ (~e & g)) + round[t] + w[t]) | 0;
      const t2 = ((rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g;
      g = f;
      f = e;
      e = (d + t1) | 0;
      d = c;
      c = b;
      b = a;
      a = (t1 + t2) | 0;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
  }
}
