/**
 * ML-KEM-768 (FIPS 203): the browser's own, or where it has none a module in JavaScript that is fetched only then.
 *
 * The module is public code of the vendor folder; without it such a browser can offer suite 1 only (`kemAvailable` tells).
 */
import { InvalidKey } from "./errors.js";

/** @import { Bytes } from "./encoding.js" */
/**
 * @typedef {object} Kem
 * @property {(seed: Bytes) => Promise<Bytes>} publicOf
 * @property {(publicKey: Bytes) => Promise<{secret: Bytes, ciphertext: Bytes}>} encapsulate
 * @property {(seed: Bytes, ciphertext: Bytes) => Promise<Bytes>} decapsulate
 */

export const KEM_PUBLIC_BYTES = 1184;
export const KEM_CIPHERTEXT_BYTES = 1088;
export const KEM_SEED_BYTES = 64;
const NAME = "ML-KEM-768";
// What the standard library's types do not know yet.
const subtle = /** @type {any} */ (globalThis.crypto.subtle);

/** @type {Promise<Kem> | null} */
let chosen = null;

/** @returns {Kem} */
function native() {
  /** @param {Bytes} seed */
  const privateKey = (seed) => subtle.importKey("raw-seed", seed, NAME, true, ["decapsulateBits"]);
  return {
    async publicOf(seed) {
      const publicKey = await subtle.getPublicKey(await privateKey(seed), ["encapsulateBits"]);
      return new Uint8Array(await subtle.exportKey("raw-public", publicKey));
    },
    async encapsulate(publicKey) {
      const key = await subtle.importKey("raw-public", publicKey, NAME, false, ["encapsulateBits"]);
      const { sharedKey, ciphertext } = await subtle.encapsulateBits({ name: NAME }, key);
      return { secret: new Uint8Array(sharedKey), ciphertext: new Uint8Array(ciphertext) };
    },
    async decapsulate(seed, ciphertext) {
      return new Uint8Array(await subtle.decapsulateBits({ name: NAME }, await privateKey(seed), ciphertext));
    },
  };
}

/** @param {any} noble @returns {Kem} */
function inJavaScript({ ml_kem768: kem }) {
  return {
    publicOf: async (seed) => kem.keygen(seed).publicKey,
    async encapsulate(publicKey) {
      const { sharedSecret, cipherText } = kem.encapsulate(publicKey);
      return { secret: sharedSecret, ciphertext: cipherText };
    },
    decapsulate: async (seed, ciphertext) => kem.decapsulate(ciphertext, kem.keygen(seed).secretKey),
  };
}

/** @returns {Promise<Kem>} */
function kem() {
  if (!chosen) {
    const module = new URL("../../vendor/@noble/post-quantum/ml-kem.js", import.meta.url).href;
    chosen = typeof subtle.encapsulateBits === "function" ? Promise.resolve(native()) : import(module).then(inJavaScript);
    chosen.catch(() => {
      // A later call may find the network back.
      chosen = null;
    });
  }
  return chosen;
}

/** Whether this browser can take part in suite 2. @returns {Promise<boolean>} */
export async function kemAvailable() {
  return kem().then(
    () => true,
    () => false,
  );
}

/** The pair of a 64-byte seed (`d || z`). @param {Bytes} seed @returns {Promise<{secret: Bytes, public: Bytes}>} */
export async function kemPair(seed) {
  if (seed.length !== KEM_SEED_BYTES) throw new InvalidKey("an ML-KEM-768 seed is not valid");
  return { secret: seed, public: await (await kem()).publicOf(seed) };
}

/**
 * The shared secret and the ciphertext; `InvalidKey` for a public key that the checks of FIPS 203 refuse.
 *
 * @param {Bytes} publicKey
 * @returns {Promise<{secret: Bytes, ciphertext: Bytes}>}
 */
export async function encapsulate(publicKey) {
  const { encapsulate: run } = await kem();
  if (publicKey.length !== KEM_PUBLIC_BYTES) throw new InvalidKey("an ML-KEM-768 public key is not valid");
  if (!isReduced(publicKey)) throw new InvalidKey("an ML-KEM-768 public key is not valid");
  try {
    return await run(publicKey);
  } catch {
    throw new InvalidKey("an ML-KEM-768 public key is not valid");
  }
}

/**
 * The modulus check of FIPS 203 section 7.2: every 12-bit coefficient is below 3329. Not every implementation makes it.
 *
 * @param {Bytes} publicKey
 */
function isReduced(publicKey) {
  for (let at = 0; at < KEM_PUBLIC_BYTES - 32; at += 3) {
    const low = publicKey[at] | ((publicKey[at + 1] & 0x0f) << 8);
    const high = (publicKey[at + 1] >> 4) | (publicKey[at + 2] << 4);
    if (low >= 3329 || high >= 3329) return false;
  }
  return true;
}

/**
 * The shared secret; a ciphertext of the right length never fails but gives another secret (implicit rejection).
 *
 * @param {Bytes} seed
 * @param {Bytes} ciphertext
 * @returns {Promise<Bytes>}
 */
export async function decapsulate(seed, ciphertext) {
  if (seed.length !== KEM_SEED_BYTES || ciphertext.length !== KEM_CIPHERTEXT_BYTES) {
    throw new InvalidKey("an ML-KEM-768 ciphertext is not valid");
  }
  return (await kem()).decapsulate(seed, ciphertext);
}
