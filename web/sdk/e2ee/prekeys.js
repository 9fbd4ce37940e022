/** Prekeys, which a device leaves with the server so that others can begin a session while it is away (the profile's section 3). */
import { DeviceCertificate } from "./certificates.js";
import { Reader, concat, lp, u8, u32, u64 } from "./encoding.js";
import { MalformedMessage, UnsupportedVersion } from "./errors.js";
import {
  KEM_PUBLIC_BYTES,
  KEM_SEED_BYTES,
  KEY_BYTES,
  SIGNATURE_BYTES,
  agreementPair,
  checkAgreementKey,
  kemPair,
  sign,
  verify,
} from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { KeyPair, Random } from "./suite.js" */
/** @typedef {{secret: Bytes, public: Bytes}} SeedPair  a pair whose private seed is at hand, since it is stored and used once */

const VERSION = 1;
export const FLAG_ONE_TIME = 0x01;
export const FLAG_KEM = 0x02;
export const FLAG_KEM_ONCE = 0x04;

/**
 * The flags of a bundle or a first message; `MalformedMessage` for unknown ones, or "one-time" without its KEM prekey.
 *
 * @param {number} flags
 */
export function checkFlags(flags) {
  if (flags & ~(FLAG_ONE_TIME | FLAG_KEM | FLAG_KEM_ONCE) || (flags & FLAG_KEM_ONCE && !(flags & FLAG_KEM))) {
    throw new MalformedMessage(`the prekey flags ${flags} are not of the profile`);
  }
  return flags;
}

/**
 * Reads a prekey that stands alone, as a device uploads it; unverified, `MalformedMessage` for another layout.
 *
 * @template T
 * @param {{read: (reader: Reader) => T}} type
 * @param {Uint8Array} data
 */
export function parsePrekey(type, data) {
  const reader = new Reader(data);
  const prekey = type.read(reader);
  reader.done();
  return prekey;
}

/** An X25519 prekey that the device signed and everybody may use until the next one. `created` is in Unix seconds. */
export class SignedPreKey {
  /** @param {number} id @param {bigint} created @param {Bytes} publicKey @param {Bytes} signature */
  constructor(id, created, publicKey, signature) {
    this.id = id;
    this.created = created;
    this.public = publicKey;
    this.signature = signature;
  }

  #body() {
    return concat(u32(this.id), u64(this.created), this.public);
  }

  encode() {
    return concat(this.#body(), this.signature);
  }

  /** @param {Reader} reader */
  static read(reader) {
    return new SignedPreKey(reader.u32(), reader.u64(), reader.take(KEY_BYTES), reader.take(SIGNATURE_BYTES));
  }

  /** Checks key and signature under the device's signing key: `InvalidKey` or `BadSignature`. @param {Bytes} signing */
  async verify(signing) {
    checkAgreementKey(this.public);
    await verify(signing, "spk", this.#body(), this.signature);
  }
}

/** @param {boolean} once */
const kemKind = (once) => (once ? "kem-once" : "kem-last");

/** An ML-KEM-768 prekey, signed: for one use, or the last resort that stays when those are gone. */
export class KemPreKey {
  /** @param {number} id @param {bigint} created @param {Bytes} publicKey @param {Bytes} signature */
  constructor(id, created, publicKey, signature) {
    this.id = id;
    this.created = created;
    this.public = publicKey;
    this.signature = signature;
  }

  #body() {
    return concat(u32(this.id), u64(this.created), this.public);
  }

  encode() {
    return concat(this.#body(), this.signature);
  }

  /** @param {Reader} reader */
  static read(reader) {
    return new KemPreKey(reader.u32(), reader.u64(), reader.take(KEM_PUBLIC_BYTES), reader.take(SIGNATURE_BYTES));
  }

  /**
   * Checks the signature under the device's signing key and the kind: `BadSignature`. The key itself is checked at its use.
   *
   * @param {Bytes} signing
   * @param {boolean} once
   */
  async verify(signing, once) {
    await verify(signing, kemKind(once), this.#body(), this.signature);
  }
}

/** An X25519 prekey for one session. It is not signed: whoever changes it only makes the first message unreadable. */
export class OneTimePreKey {
  /** @param {number} id @param {Bytes} publicKey */
  constructor(id, publicKey) {
    this.id = id;
    this.public = publicKey;
  }

  encode() {
    return concat(u32(this.id), this.public);
  }

  /** @param {Reader} reader */
  static read(reader) {
    return new OneTimePreKey(reader.u32(), reader.take(KEY_BYTES));
  }
}

/**
 * A new signed prekey and its X25519 pair. Draws 32 bytes.
 *
 * @param {KeyPair} signing
 * @param {number} id
 * @param {number | bigint} created
 * @param {Random} random
 * @returns {Promise<{prekey: SignedPreKey, pair: SeedPair}>}
 */
export async function makeSignedPrekey(signing, id, created, random) {
  const pair = await agreementPair(random(KEY_BYTES));
  const signature = await sign(signing, "spk", concat(u32(id), u64(created), pair.public));
  return { prekey: new SignedPreKey(id, BigInt(created), pair.public, signature), pair };
}

/**
 * A new KEM prekey, for one use or as the last resort, and its ML-KEM-768 pair. Draws 64 bytes.
 *
 * @param {KeyPair} signing
 * @param {number} id
 * @param {number | bigint} created
 * @param {Random} random
 * @param {boolean} once
 * @returns {Promise<{prekey: KemPreKey, pair: SeedPair}>}
 */
export async function makeKemPrekey(signing, id, created, random, once) {
  const pair = await kemPair(random(KEM_SEED_BYTES));
  const signature = await sign(signing, kemKind(once), concat(u32(id), u64(created), pair.public));
  return { prekey: new KemPreKey(id, BigInt(created), pair.public, signature), pair };
}

/** A new one-time prekey and its X25519 pair. Draws 32 bytes. @param {number} id @param {Random} random */
export async function makeOneTimePrekey(id, random) {
  const pair = await agreementPair(random(KEY_BYTES));
  return { prekey: new OneTimePreKey(id, pair.public), pair };
}

/**
 * What the server hands out for one device: its certificate and one prekey of each kind that is there.
 *
 * Nothing in a parsed bundle is trusted before `verify`, and whether `certificate` is the user's own, on the current device list, is
 * the caller's question.
 */
export class Bundle {
  /**
   * @param {{certificate: DeviceCertificate, signed: SignedPreKey, oneTime?: OneTimePreKey | null, kem?: KemPreKey | null, kemOnce?: boolean}} fields
   *   `kemOnce`: that `kem` is a one-time one
   */
  constructor({ certificate, signed, oneTime = null, kem = null, kemOnce = false }) {
    this.certificate = certificate;
    this.signed = signed;
    this.oneTime = oneTime;
    this.kem = kem;
    this.kemOnce = kemOnce;
  }

  encode() {
    const flags = (this.oneTime ? FLAG_ONE_TIME : 0) | (this.kem ? FLAG_KEM | (this.kemOnce ? FLAG_KEM_ONCE : 0) : 0);
    const optional = [this.oneTime, this.kem].filter((prekey) => prekey !== null).map((prekey) => prekey.encode());
    return concat(u8(VERSION), u8(flags), lp(this.certificate.encoded), this.signed.encode(), ...optional);
  }

  /** Reads a bundle, unverified; `MalformedMessage` for another layout. @param {Uint8Array} data */
  static parse(data) {
    const reader = new Reader(data);
    const version = reader.u8();
    if (version !== VERSION) throw new UnsupportedVersion(`a bundle has version ${version}; this release reads ${VERSION}`);
    const flags = checkFlags(reader.u8());
    const certificate = DeviceCertificate.parse(reader.lp());
    const signed = SignedPreKey.read(reader);
    const oneTime = flags & FLAG_ONE_TIME ? OneTimePreKey.read(reader) : null;
    const kem = flags & FLAG_KEM ? KemPreKey.read(reader) : null;
    reader.done();
    return new Bundle({ certificate, signed, oneTime, kem, kemOnce: Boolean(flags & FLAG_KEM_ONCE) });
  }

  /** Checks the certificate, every prekey's signature and every X25519 key: `BadSignature` or `InvalidKey`. */
  async verify() {
    await this.certificate.verify();
    const { signing } = this.certificate;
    await this.signed.verify(signing);
    if (this.oneTime) checkAgreementKey(this.oneTime.public);
    if (this.kem) await this.kem.verify(signing, this.kemOnce);
  }
}
