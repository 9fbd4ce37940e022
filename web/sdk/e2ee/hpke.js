/**
 * Hybrid public key encryption, RFC 9180: base mode, one message, of the suite that the profile uses.
 *
 * DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. The ephemeral key's 32 random bytes are the X25519 private key itself, without
 * the RFC's DeriveKeyPair, which is only one way to choose it.
 */
import { concat, u16, u8, utf8 } from "./encoding.js";
import { DecryptionFailed } from "./errors.js";
import { KEY_BYTES, NONCE_BYTES, TAG_BYTES, ZERO_KEY, agree, agreementPair, hmacSha256, openSealed, seal, systemRandom } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { KeyPair, Random } from "./suite.js" */

export const ENCAPSULATED_BYTES = 32;
const VERSION = utf8("HPKE-v1");
// RFC 9180 section 7: the KEM, then KEM, KDF and AEAD, each by its two-byte number.
const KEM_SUITE = concat(utf8("KEM"), u16(0x0020));
const SUITE = concat(utf8("HPKE"), u16(0x0020), u16(0x0001), u16(0x0002));
const MODE_BASE = u8(0);
const NOTHING = new Uint8Array(0);

/** LabeledExtract of section 4. @param {Bytes} suite @param {Bytes} salt @param {string} name @param {Bytes} ikm */
async function extract(suite, salt, name, ikm) {
  const mac = await hmacSha256(salt.length ? salt : ZERO_KEY);
  return mac(concat(VERSION, suite, utf8(name), ikm));
}

/**
 * LabeledExpand of section 4, up to the 32 bytes of one block.
 *
 * @param {Bytes} suite
 * @param {Bytes} prk
 * @param {string} name
 * @param {Bytes} info
 * @param {number} length
 */
async function expand(suite, prk, name, info, length) {
  const mac = await hmacSha256(prk);
  return (await mac(concat(u16(length), VERSION, suite, utf8(name), info, u8(1)))).slice(0, length);
}

/** ExtractAndExpand of section 4.1. @param {Bytes} agreed @param {Bytes} encapsulated @param {Bytes} recipient */
async function sharedSecret(agreed, encapsulated, recipient) {
  const prk = await extract(KEM_SUITE, NOTHING, "eae_prk", agreed);
  return expand(KEM_SUITE, prk, "shared_secret", concat(encapsulated, recipient), KEY_BYTES);
}

/**
 * Key and nonce of the first message (section 5.1), of mode base with neither pre-shared key nor its id.
 *
 * @param {Bytes} shared
 * @param {Bytes} info
 */
async function schedule(shared, info) {
  const context = concat(MODE_BASE, await extract(SUITE, NOTHING, "psk_id_hash", NOTHING), await extract(SUITE, NOTHING, "info_hash", info));
  const secret = await extract(SUITE, shared, "secret", NOTHING);
  return { key: await expand(SUITE, secret, "key", context, KEY_BYTES), nonce: await expand(SUITE, secret, "base_nonce", context, NONCE_BYTES) };
}

/**
 * `enc || ciphertext` for an X25519 public key; draws 32 bytes.
 *
 * @param {Bytes} recipient
 * @param {Bytes} plain
 * @param {{info: Bytes, aad: Bytes, random?: Random}} options
 * @returns {Promise<Bytes>} rejects with `InvalidKey` when `recipient` is no key
 */
export async function hpkeSeal(recipient, plain, { info, aad, random = systemRandom }) {
  const ephemeral = await agreementPair(random(KEY_BYTES));
  const shared = await sharedSecret(await agree(ephemeral.secret, recipient), ephemeral.public, recipient);
  const { key, nonce } = await schedule(shared, info);
  return concat(ephemeral.public, await seal(key, nonce, plain, aad));
}

/**
 * The plaintext of `enc || ciphertext`.
 *
 * @param {KeyPair} recipient
 * @param {Bytes} sealed
 * @param {{info: Bytes, aad: Bytes}} options
 * @returns {Promise<Bytes>} rejects with `DecryptionFailed` for what does not open, `InvalidKey` for a bad `enc`
 */
export async function hpkeOpen(recipient, sealed, { info, aad }) {
  if (sealed.length < ENCAPSULATED_BYTES + TAG_BYTES) throw new DecryptionFailed("the data does not open");
  const encapsulated = sealed.slice(0, ENCAPSULATED_BYTES);
  const shared = await sharedSecret(await agree(recipient.secret, encapsulated), encapsulated, recipient.public);
  const { key, nonce } = await schedule(shared, info);
  return openSealed(key, nonce, sealed.slice(ENCAPSULATED_BYTES), aad);
}
