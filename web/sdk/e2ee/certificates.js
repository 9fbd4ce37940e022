/** What devices a user has: device certificates and device lists, both signed by the account key (the profile's section 2). */
import { Reader, checkDeviceId, compare, concat, equal, fixed, lp, u8, u16, u32, u64, userBytes } from "./encoding.js";
import { DeviceListRollback, LimitReached, MalformedMessage, UnsupportedVersion, UntrustedIdentity } from "./errors.js";
import { DEFAULT_LIMITS } from "./limits.js";
import { KEY_BYTES, SIGNATURE_BYTES, checkAgreementKey, sha256, sign, verify } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { KeyPair } from "./suite.js" */
/** @import { Limits } from "./limits.js" */

const VERSION = 1;
const MAX_SUITES = 8;
const HASH_BYTES = 32;
/** What the first list of an account names as the one before it. */
export const NO_HASH = new Uint8Array(HASH_BYTES);

/** @param {ArrayLike<number>} suites */
function checkSuites(suites) {
  const list = Array.from(suites);
  const rising = list.every((suite, index) => index === 0 || suite > list[index - 1]);
  if (list.length < 1 || list.length > MAX_SUITES || !rising) {
    throw new MalformedMessage(`a certificate lists the suites ${list}; they must be 1 to ${MAX_SUITES}, rising`);
  }
}

/** @param {number} version @param {string} what */
function checkVersion(version, what) {
  if (version !== VERSION) throw new UnsupportedVersion(`a ${what} has version ${version}; this release reads ${VERSION}`);
}

/** @param {string} userId @param {number} deviceId @param {Bytes} signing @param {Bytes} agreement */
function deviceKeyBody(userId, deviceId, signing, agreement) {
  return concat(lp(userBytes(userId)), u32(checkDeviceId(deviceId)), signing, agreement);
}

/**
 * The device's own signature over both of its public keys, which binds them to each other and to the device.
 *
 * @param {KeyPair} signing
 * @param {string} userId
 * @param {number} deviceId
 * @param {Bytes} agreementPublic
 */
export async function deviceKeySignature(signing, userId, deviceId, agreementPublic) {
  return sign(signing, "device-key", deviceKeyBody(userId, deviceId, signing.public, checkAgreementKey(agreementPublic)));
}

/**
 * The account key's word that a device belongs to its user, with the device's keys and suites.
 *
 * One that was parsed is not trusted before `verify`, and then only as far as its `account` key is: whether that is the key of
 * `userId` is the caller's question.
 */
export class DeviceCertificate {
  /** @type {Promise<Bytes> | null} */ #hash = null;

  /**
   * @param {{userId: string, deviceId: number, account: Bytes, signing: Bytes, agreement: Bytes, created: bigint, suites: number[],
   *   deviceSignature: Bytes, encoded: Bytes}} fields
   */
  constructor({ userId, deviceId, account, signing, agreement, created, suites, deviceSignature, encoded }) {
    this.userId = userId;
    this.deviceId = deviceId;
    this.account = account;
    this.signing = signing;
    this.agreement = agreement;
    this.created = created;
    this.suites = suites;
    this.deviceSignature = deviceSignature;
    this.encoded = encoded;
    Object.freeze(this);
  }

  /** SHA-256 of the whole certificate, by which a device list names it. */
  hash() {
    this.#hash ??= sha256(this.encoded);
    return this.#hash;
  }

  /** Reads a certificate without checking signatures or keys; `MalformedMessage` for another layout. @param {Uint8Array} data */
  static parse(data) {
    const reader = new Reader(data);
    checkVersion(reader.u8(), "device certificate");
    const [userId, deviceId] = [reader.user(), reader.deviceId()];
    const [account, signing, agreement] = [reader.take(KEY_BYTES), reader.take(KEY_BYTES), reader.take(KEY_BYTES)];
    const created = reader.u64();
    const suites = Array.from(reader.take(reader.u8()));
    checkSuites(suites);
    const deviceSignature = reader.take(SIGNATURE_BYTES);
    reader.take(SIGNATURE_BYTES);
    reader.done();
    const encoded = new Uint8Array(data);
    return new DeviceCertificate({ userId, deviceId, account, signing, agreement, created, suites, deviceSignature, encoded });
  }

  /** Checks both signatures and all three keys: `BadSignature` or `InvalidKey`. */
  async verify() {
    checkAgreementKey(this.agreement);
    const body = deviceKeyBody(this.userId, this.deviceId, this.signing, this.agreement);
    await verify(this.signing, "device-key", body, this.deviceSignature);
    await verify(this.account, "device-cert", this.encoded.subarray(0, -SIGNATURE_BYTES), this.encoded.slice(-SIGNATURE_BYTES));
  }

  /**
   * `UntrustedIdentity` unless this is the same device with the same signing key, which a device id keeps for ever.
   *
   * @param {DeviceCertificate} known
   */
  checkFollows(known) {
    const keys = { trusted: known.signing, met: this.signing };
    if (this.userId !== known.userId || this.deviceId !== known.deviceId) {
      throw new UntrustedIdentity("a certificate is that of another device", keys);
    }
    if (!equal(this.signing, known.signing)) throw new UntrustedIdentity("a known device has another signing key", keys);
  }
}

/**
 * Signs a device into the account, after checking that the device vouches for its own keys.
 *
 * @param {KeyPair} account
 * @param {{userId: string, deviceId: number, signingPublic: Bytes, agreementPublic: Bytes, deviceSignature: Bytes, created: number | bigint,
 *   suites: readonly number[]}} device  `created` in Unix seconds, `suites` rising
 * @returns {Promise<DeviceCertificate>} rejects with `BadSignature` or `InvalidKey` for keys that do not belong together
 */
export async function issueCertificate(account, device) {
  checkSuites(device.suites);
  const head = concat(u8(VERSION), lp(userBytes(device.userId)), u32(checkDeviceId(device.deviceId)));
  const keys = concat(account.public, fixed(device.signingPublic, KEY_BYTES), fixed(device.agreementPublic, KEY_BYTES));
  const tail = concat(u64(device.created), u8(device.suites.length), Uint8Array.from(device.suites));
  const signed = concat(head, keys, tail, fixed(device.deviceSignature, SIGNATURE_BYTES));
  const certificate = DeviceCertificate.parse(concat(signed, await sign(account, "device-cert", signed)));
  await certificate.verify();
  return certificate;
}

/** @typedef {{deviceId: number, hash: Bytes}} ListedDevice */

/**
 * All devices of a user, numbered and chained by hash, so that a server can hide neither a device nor its removal for long.
 *
 * One that was parsed is not trusted before `verify`, and then only as far as its `account` key is.
 */
export class DeviceList {
  /** @type {Promise<Bytes> | null} */ #hash = null;

  /**
   * @param {{userId: string, account: Bytes, seq: bigint, prevHash: Bytes, created: bigint, devices: ListedDevice[], encoded: Bytes}} fields
   *   `devices` rise by id
   */
  constructor({ userId, account, seq, prevHash, created, devices, encoded }) {
    this.userId = userId;
    this.account = account;
    this.seq = seq;
    this.prevHash = prevHash;
    this.created = created;
    this.devices = devices;
    this.encoded = encoded;
    Object.freeze(this);
  }

  /** SHA-256 of the whole list, which its successor names. */
  hash() {
    this.#hash ??= sha256(this.encoded);
    return this.#hash;
  }

  /**
   * Reads a list without checking its signature; `MalformedMessage` for another layout.
   *
   * @param {Uint8Array} data
   * @param {Limits} [limits]
   */
  static parse(data, limits = DEFAULT_LIMITS) {
    const reader = new Reader(data);
    checkVersion(reader.u8(), "device list");
    const [userId, account] = [reader.user(), reader.take(KEY_BYTES)];
    const [seq, prevHash, created, count] = [reader.u64(), reader.take(HASH_BYTES), reader.u64(), reader.u16()];
    if (seq < 1n || (seq === 1n && !equal(prevHash, NO_HASH))) {
      throw new MalformedMessage("a device list is numbered from 1, and the first has none before it");
    }
    if (count > limits.maxDevices) {
      throw new MalformedMessage(`a device list names ${count} devices; it may name ${limits.maxDevices} (maxDevices)`);
    }
    const devices = Array.from({ length: count }, () => ({ deviceId: reader.deviceId(), hash: reader.take(HASH_BYTES) }));
    if (devices.some(({ deviceId }, index) => index > 0 && deviceId <= devices[index - 1].deviceId)) {
      throw new MalformedMessage("the devices of a list do not rise");
    }
    reader.take(SIGNATURE_BYTES);
    reader.done();
    return new DeviceList({ userId, account, seq, prevHash, created, devices, encoded: new Uint8Array(data) });
  }

  /** Checks the signature under the list's own account key: `BadSignature` or `InvalidKey`. */
  async verify() {
    await verify(this.account, "device-list", this.encoded.subarray(0, -SIGNATURE_BYTES), this.encoded.slice(-SIGNATURE_BYTES));
  }

  /**
   * Whether this very certificate is on the list, for the same user and under the same account key.
   *
   * @param {DeviceCertificate} certificate
   */
  async includes(certificate) {
    if (certificate.userId !== this.userId || !equal(certificate.account, this.account)) return false;
    const digest = await certificate.hash();
    return this.devices.some(({ deviceId, hash }) => deviceId === certificate.deviceId && equal(hash, digest));
  }

  /**
   * Checks that this list may take the place of `known`, or is the same.
   *
   * @param {DeviceList} known
   * @returns {Promise<void>} rejects with `UntrustedIdentity` for another user or account key, `DeviceListRollback` for an older list,
   *   another one under the same number, or a direct successor that does not name the known one
   */
  async checkFollows(known) {
    if (this.userId !== known.userId || !equal(this.account, known.account)) {
      throw new UntrustedIdentity("a device list is under another account key", { trusted: known.account, met: this.account });
    }
    if (this.seq < known.seq) throw new DeviceListRollback(`a device list has number ${this.seq}; ${known.seq} is known`);
    if (this.seq === known.seq && !equal(await this.hash(), await known.hash())) {
      throw new DeviceListRollback(`there are two device lists with number ${this.seq}`);
    }
    if (this.seq === known.seq + 1n && !equal(this.prevHash, await known.hash())) {
      throw new DeviceListRollback(`device list ${this.seq} does not follow from the one before it`);
    }
  }
}

/**
 * Signs the list of a user's devices that follows `previous`, or the first one.
 *
 * @param {KeyPair} account
 * @param {{userId: string, created: number | bigint, certificates: DeviceCertificate[], previous?: DeviceList | null, limits?: Limits}} list
 * @returns {Promise<DeviceList>} rejects with `UntrustedIdentity` for a certificate of another user or account, `LimitReached` for more
 *   devices than allowed, `MalformedMessage` for the same device twice
 */
export async function issueDeviceList(account, { userId, created, certificates, previous = null, limits = DEFAULT_LIMITS }) {
  if (certificates.length > limits.maxDevices) {
    throw new LimitReached(`${certificates.length} devices; an account may have ${limits.maxDevices} (maxDevices)`);
  }
  for (const certificate of certificates) {
    if (certificate.userId !== userId || !equal(certificate.account, account.public)) {
      throw new UntrustedIdentity("a certificate is not of this account", { trusted: account.public, met: certificate.account });
    }
  }
  const entries = await Promise.all(certificates.map(async (certificate) => concat(u32(certificate.deviceId), await certificate.hash())));
  const [seq, prevHash] = previous ? [previous.seq + 1n, await previous.hash()] : [1n, NO_HASH];
  const head = concat(u8(VERSION), lp(userBytes(userId)), account.public, u64(seq), prevHash, u64(created));
  const body = concat(head, u16(entries.length), ...entries.sort(compare));
  const issued = DeviceList.parse(concat(body, await sign(account, "device-list", body)), limits);
  if (previous) await issued.checkFollows(previous);
  return issued;
}
