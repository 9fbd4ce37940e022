/**
 * SFrame (RFC 9605) with suite 5, AES_256_GCM_SHA512_128: the header, the key schedule, and one frame sealed or opened under one key.
 *
 * Key ids and counters of a header are bigints, for the wire carries 64 bits of each.
 */
import { concat, u64 } from "./encoding.js";
import { DecryptionFailed, MalformedMessage } from "./errors.js";

/** @import { Bytes } from "./encoding.js" */
/** @typedef {{kid: bigint, counter: bigint, length: number}} Header  `length` in bytes */

const TAG_BYTES = 16;
const NONCE_BYTES = 12;
const SUITE = Uint8Array.of(0, 5);
const EMPTY = new Uint8Array(0);
const RATCHETED_KEY_BITS = 512;
// A value below this is inside the first byte of the header.
const SHORT = 8n;
const LONG_FLAG = 0x08;

const encoder = new TextEncoder();
const subtle = globalThis.crypto.subtle;

/** The first byte's half and the bytes that follow. @param {bigint} value @returns {[number, Bytes]} */
function encodeNumber(value) {
  if (value < SHORT) return [Number(value), EMPTY];
  const bytes = u64(value);
  const zeros = bytes.findIndex((byte) => byte !== 0);
  return [LONG_FLAG | (7 - zeros), bytes.slice(zeros)];
}

/** @param {number} nibble @param {Uint8Array} data @param {number} position @returns {[bigint, number]} the value, and where it ends */
function parseNumber(nibble, data, position) {
  if (!(nibble & LONG_FLAG)) return [BigInt(nibble), position];
  const end = position + (nibble & 0x07) + 1;
  if (end > data.length) throw new MalformedMessage("an SFrame header is truncated");
  let value = 0n;
  for (let at = position; at < end; at += 1) value = (value << 8n) | BigInt(data[at]);
  if (value < SHORT || data[position] === 0) throw new MalformedMessage("an SFrame header is not in its shortest form");
  return [value, end];
}

/** The header in its shortest form, 1 to 17 bytes. @param {number | bigint} kid @param {number | bigint} counter @returns {Bytes} */
export function encodeHeader(kid, counter) {
  const [firstKid, kidBytes] = encodeNumber(BigInt(kid));
  const [firstCounter, counterBytes] = encodeNumber(BigInt(counter));
  return concat(Uint8Array.of((firstKid << 4) | firstCounter), kidBytes, counterBytes);
}

/** The header at the front of `data`; `MalformedMessage` where the bytes run out or a number is longer than it must be. @param {Uint8Array} data @returns {Header} */
export function parseHeader(data) {
  if (data.length === 0) throw new MalformedMessage("an SFrame object is empty");
  const [kid, middle] = parseNumber(data[0] >> 4, data, 1);
  const [counter, length] = parseNumber(data[0] & 0x0f, data, middle);
  return { kid, counter, length };
}

/** @param {Bytes} baseKey @param {KeyUsage[]} usages */
const importBase = (baseKey, usages) => subtle.importKey("raw", baseKey, "HKDF", false, usages);

/** @param {Uint8Array} info */
const hkdf = (info) => ({ name: "HKDF", hash: "SHA-512", salt: EMPTY, info: new Uint8Array(info) });

/** The base key of the next step (section 5.1), 64 bytes. @param {Bytes} baseKey @returns {Promise<Bytes>} */
export async function ratchet(baseKey) {
  const info = encoder.encode("SFrame 1.0 Ratchet");
  return new Uint8Array(await subtle.deriveBits(hkdf(info), await importBase(baseKey, ["deriveBits"]), RATCHETED_KEY_BITS));
}

/** What a base key gives under one key id (section 4.4.2): it seals and opens frames, and counts nothing. */
export class FrameKey {
  #key;
  #salt;

  /** Use `FrameKey.create`. @param {bigint} kid @param {CryptoKey} key @param {Bytes} salt */
  constructor(kid, key, salt) {
    this.kid = kid;
    this.#key = key;
    this.#salt = salt;
  }

  /** @param {number | bigint} kid @param {Bytes} baseKey */
  static async create(kid, baseKey) {
    const base = await importBase(baseKey, ["deriveBits", "deriveKey"]);
    const context = concat(u64(kid), SUITE);
    const label = (/** @type {string} */ text) => hkdf(concat(encoder.encode(text), context));
    const [key, salt] = await Promise.all([
      subtle.deriveKey(label("SFrame 1.0 Secret key "), base, { name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]),
      subtle.deriveBits(label("SFrame 1.0 Secret salt "), base, 8 * NONCE_BYTES),
    ]);
    return new FrameKey(BigInt(kid), key, new Uint8Array(salt));
  }

  /**
   * Header, ciphertext and tag. The caller never uses a `counter` twice under one key.
   *
   * @param {number | bigint} counter
   * @param {Bytes} plaintext
   * @param {Bytes} [metadata]
   * @returns {Promise<Bytes>}
   */
  async seal(counter, plaintext, metadata = EMPTY) {
    const header = encodeHeader(this.kid, counter);
    const sealed = await subtle.encrypt(this.#algorithm(BigInt(counter), concat(header, metadata)), this.#key, plaintext);
    return concat(header, new Uint8Array(sealed));
  }

  /**
   * The plaintext of a whole SFrame object.
   *
   * @param {Bytes} sealed
   * @param {Bytes} [metadata]
   * @returns {Promise<Bytes>} rejects with `MalformedMessage` for a broken header or less than a tag behind it, with `DecryptionFailed`
   *   for another key id, and for everything that is not exactly what was sealed
   */
  async open(sealed, metadata = EMPTY) {
    const header = parseHeader(sealed);
    if (sealed.length - header.length < TAG_BYTES) throw new MalformedMessage("an SFrame object is shorter than its tag");
    if (header.kid !== this.kid) throw new DecryptionFailed("the frame does not open");
    const aad = concat(sealed.subarray(0, header.length), metadata);
    try {
      return new Uint8Array(await subtle.decrypt(this.#algorithm(header.counter, aad), this.#key, sealed.subarray(header.length)));
    } catch {
      throw new DecryptionFailed("the frame does not open");
    }
  }

  /** @param {bigint} counter @param {Bytes} additionalData @returns {AesGcmParams} */
  #algorithm(counter, additionalData) {
    const iv = this.#salt.slice();
    const bytes = u64(counter);
    for (let index = 0; index < bytes.length; index += 1) iv[NONCE_BYTES - 8 + index] ^= bytes[index];
    return { name: "AES-GCM", iv, additionalData, tagLength: 8 * TAG_BYTES };
  }
}
