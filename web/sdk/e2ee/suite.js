/**
 * The primitives of the profile over WebCrypto, with the checks that browsers leave out.
 *
 * Private keys are raw seeds (32 bytes), or for the keys of a device's identity a CryptoKey that no script can read out. Nothing here
 * keeps, logs or prints a secret.
 */
import { concat, fromHex, hex, utf8 } from "./encoding.js";
import { hasSmallOrder, isReduced, isValidPoint } from "./edwards.js";
import { BadSignature, DecryptionFailed, InvalidKey } from "./errors.js";

export { KEM_CIPHERTEXT_BYTES, KEM_PUBLIC_BYTES, KEM_SEED_BYTES, decapsulate, encapsulate, kemAvailable, kemPair } from "./mlkem.js";

/** @import { Bytes } from "./encoding.js" */
/** @typedef {{secret: Bytes | CryptoKey, public: Bytes}} KeyPair  a private seed or key, and its public key */
/** @typedef {(length: number) => Bytes} Random  fills the number of bytes asked for; only tests pass another one than the browser's */

export const PREFIX = utf8("salam/e2ee/1/");
export const KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;
export const NONCE_BYTES = 12;
export const TAG_BYTES = 16;
export const ZERO_KEY = new Uint8Array(KEY_BYTES);

const subtle = globalThis.crypto.subtle;
// A private key in WebCrypto comes as PKCS #8 (RFC 8410); these are the 16 bytes before the seed.
const PKCS8_X25519 = fromHex("302e020100300506032b656e04220420");
const PKCS8_ED25519 = fromHex("302e020100300506032b657004220420");

// The points of order 1, 2, 4 and 8 of Curve25519 and their forms that are not canonical (RFC 7748 section 6.1), with the high bit
// cleared, which X25519 ignores.
const SMALL_ORDER_X25519 = new Set([
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
  "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]);

/** The browser's own randomness. @type {Random} */
export function systemRandom(length) {
  return globalThis.crypto.getRandomValues(new Uint8Array(length));
}

/** The profile's label: its prefix and `name`. @param {string} name @param {...Uint8Array} more */
export const label = (name, ...more) => concat(PREFIX, utf8(name), ...more);

/** @param {...Uint8Array} parts @returns {Promise<Bytes>} */
export async function sha256(...parts) {
  return new Uint8Array(await subtle.digest("SHA-256", concat(...parts)));
}

/** @param {...Uint8Array} parts @returns {Promise<Bytes>} */
export async function sha512(...parts) {
  return new Uint8Array(await subtle.digest("SHA-512", concat(...parts)));
}

/** @param {Bytes} key @returns {Promise<(message: Bytes) => Promise<Bytes>>} HMAC-SHA256 under that key */
export async function hmacSha256(key) {
  const imported = await subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return async (message) => new Uint8Array(await subtle.sign("HMAC", imported, message));
}

/**
 * HKDF-SHA256 (RFC 5869); an empty salt is that of the RFC.
 *
 * @param {Bytes} salt
 * @param {Bytes} ikm
 * @param {Bytes} info
 * @param {number} length
 */
export async function hkdf(salt, ikm, info, length) {
  const key = await subtle.importKey("raw", ikm, "HKDF", false, ["deriveBits"]);
  return new Uint8Array(await subtle.deriveBits({ name: "HKDF", hash: "SHA-256", salt, info }, key, 8 * length));
}

/** Cuts `bytes` in keys of 32 bytes. @param {Bytes} bytes @returns {Bytes[]} */
export function keysOf(bytes) {
  return Array.from({ length: bytes.length / KEY_BYTES }, (_, index) => bytes.slice(index * KEY_BYTES, (index + 1) * KEY_BYTES));
}

/** @param {Bytes} key */
function checkCipherKey(key) {
  if (key.length !== KEY_BYTES) throw new InvalidKey("an AES-256 key does not have 32 bytes");
}

/**
 * AES-256-GCM: ciphertext and tag.
 *
 * @param {Bytes} key
 * @param {Bytes} nonce
 * @param {Bytes} plaintext
 * @param {Bytes} aad
 * @returns {Promise<Bytes>}
 */
export async function seal(key, nonce, plaintext, aad) {
  checkCipherKey(key);
  const imported = await subtle.importKey("raw", key, "AES-GCM", false, ["encrypt"]);
  return new Uint8Array(await subtle.encrypt({ name: "AES-GCM", iv: nonce, additionalData: aad }, imported, plaintext));
}

/**
 * AES-256-GCM; `DecryptionFailed` on any failure, a nonce of another length among them.
 *
 * A key of another length is `InvalidKey`: the profile has no AES-128, which the browser would take without a word.
 *
 * @param {Bytes} key
 * @param {Bytes} nonce
 * @param {Bytes} sealed
 * @param {Bytes} aad
 * @returns {Promise<Bytes>}
 */
export async function openSealed(key, nonce, sealed, aad) {
  checkCipherKey(key);
  if (nonce.length !== NONCE_BYTES) throw new DecryptionFailed("the data does not open");
  const imported = await subtle.importKey("raw", key, "AES-GCM", false, ["decrypt"]);
  try {
    return new Uint8Array(await subtle.decrypt({ name: "AES-GCM", iv: nonce, additionalData: aad }, imported, sealed));
  } catch {
    throw new DecryptionFailed("the data does not open");
  }
}

/** @param {Bytes | CryptoKey} secret @param {"X25519" | "Ed25519"} name @param {boolean} [extractable] @returns {Promise<CryptoKey>} */
async function privateKey(secret, name, extractable = false) {
  if (secret instanceof CryptoKey) return secret;
  if (secret.length !== KEY_BYTES) throw new InvalidKey(`an ${name} private key is not valid`);
  const prefix = name === "X25519" ? PKCS8_X25519 : PKCS8_ED25519;
  const usages = /** @type {KeyUsage[]} */ (name === "X25519" ? ["deriveBits"] : ["sign"]);
  return subtle.importKey("pkcs8", concat(prefix, secret), name, extractable, usages);
}

/** @param {Bytes} seed @param {"X25519" | "Ed25519"} name @returns {Promise<Bytes>} */
async function publicOf(seed, name) {
  const { x } = await subtle.exportKey("jwk", await privateKey(seed, name, true));
  const binary = atob(/** @type {string} */ (x).replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

/** The X25519 public key itself; `InvalidKey` for a wrong length or small order. @param {Bytes} publicKey */
export function checkAgreementKey(publicKey) {
  const masked = publicKey.slice();
  masked[KEY_BYTES - 1] &= 0x7f;
  if (publicKey.length !== KEY_BYTES || SMALL_ORDER_X25519.has(hex(masked))) {
    throw new InvalidKey("an X25519 public key is not valid");
  }
  return publicKey;
}

/**
 * X25519 (RFC 7748); `InvalidKey` for a public key of wrong length or small order.
 *
 * @param {Bytes | CryptoKey} secret
 * @param {Bytes} publicKey
 * @returns {Promise<Bytes>}
 */
export async function agree(secret, publicKey) {
  checkAgreementKey(publicKey);
  const own = await privateKey(secret, "X25519");
  try {
    const theirs = await subtle.importKey("raw", publicKey, "X25519", false, []);
    return new Uint8Array(await subtle.deriveBits({ name: "X25519", public: theirs }, own, 256));
  } catch {
    throw new InvalidKey("an X25519 public key is not valid");
  }
}

/**
 * The X25519 pair whose private key is `seed` (RFC 7748 clamps it at use).
 *
 * @param {Bytes} seed
 * @returns {Promise<{secret: Bytes, public: Bytes}>}
 */
export async function agreementPair(seed) {
  return { secret: seed, public: await publicOf(seed, "X25519") };
}

/** The Ed25519 pair of a 32-byte seed (RFC 8032). @param {Bytes} seed @returns {Promise<{secret: Bytes, public: Bytes}>} */
export async function signingPair(seed) {
  return { secret: seed, public: await publicOf(seed, "Ed25519") };
}

/**
 * A pair whose private key stays inside the browser: it can be stored in IndexedDB and used, and read out by nobody.
 *
 * @param {"X25519" | "Ed25519"} name
 * @returns {Promise<KeyPair>}
 */
export async function lockedPair(name) {
  const usages = /** @type {KeyUsage[]} */ (name === "X25519" ? ["deriveBits"] : ["sign", "verify"]);
  const pair = /** @type {CryptoKeyPair} */ (await subtle.generateKey(name, false, usages));
  return { secret: pair.privateKey, public: new Uint8Array(await subtle.exportKey("raw", pair.publicKey)) };
}

/**
 * The Ed25519 public key itself; `InvalidKey` for a wrong length, a form that is not canonical, small or mixed order.
 *
 * @param {Bytes} publicKey
 */
export function checkSigningKey(publicKey) {
  if (!isValidPoint(publicKey)) throw new InvalidKey("an Ed25519 public key is not valid");
  return publicKey;
}

/**
 * Ed25519 over the profile's prefix, `kind`, a zero byte and `body`.
 *
 * @param {KeyPair} key
 * @param {string} kind
 * @param {Uint8Array} body
 * @returns {Promise<Bytes>}
 */
export async function sign(key, kind, body) {
  const imported = await privateKey(key.secret, "Ed25519");
  return new Uint8Array(await subtle.sign("Ed25519", imported, label(kind, new Uint8Array(1), body)));
}

/**
 * `BadSignature` unless `signature` is that of `kind` and `body` under `publicKey`; `InvalidKey` for what is no key.
 *
 * @param {Bytes} publicKey
 * @param {string} kind
 * @param {Uint8Array} body
 * @param {Bytes} signature
 */
export async function verify(publicKey, kind, body, signature) {
  checkSigningKey(publicKey);
  if (signature.length !== SIGNATURE_BYTES) throw new BadSignature("a signature does not have 64 bytes");
  if (await verifyRaw(publicKey, signature, label(kind, new Uint8Array(1), body))) return;
  throw new BadSignature(`the signature of kind ${JSON.stringify(kind)} does not verify`);
}

/**
 * Ed25519 (RFC 8032) as the profile has it: refuses a key that is not canonical or not in the prime-order group, R of small order, and S
 * that is not below the group order. Browsers let some of these pass.
 *
 * @param {Bytes} publicKey  32 bytes
 * @param {Bytes} signature  64 bytes
 * @param {Bytes} message
 * @returns {Promise<boolean>}
 */
export async function verifyRaw(publicKey, signature, message) {
  if (!isValidPoint(publicKey)) return false;
  const r = signature.subarray(0, 32);
  if (hasSmallOrder(r) || !isReduced(signature.subarray(32))) return false;
  try {
    const key = await subtle.importKey("raw", publicKey, "Ed25519", false, ["verify"]);
    return await subtle.verify("Ed25519", key, signature, message);
  } catch {
    // A browser that refuses the key where it enters says the same.
    return false;
  }
}
