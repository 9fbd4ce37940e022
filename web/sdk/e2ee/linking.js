/**
 * Linking a device to an account: both sides as state machines without any I/O (the profile's section 12).
 *
 * The new device shows an offer as a QR code; the primary, which holds the account key, scans it. The other three messages go through
 * the server. Both then show six digits, and a person says whether they are the same: only that keeps the server out. The new device
 * commits to a random value in its offer and tells it last, so nobody can look for keys that give the digits of the other side; for
 * the same reason each side takes one proposal or answer only, and a new try needs a new offer.
 */
import { DeviceCertificate, DeviceList, deviceKeySignature, issueCertificate } from "./certificates.js";
import { Reader, checkDeviceId, concat, equal, lp, u32, u8, userBytes, utf8 } from "./encoding.js";
import { BadRequest, MalformedMessage, UnsupportedVersion, UntrustedIdentity } from "./errors.js";
import { DEFAULT_LIMITS } from "./limits.js";
import {
  KEY_BYTES,
  NONCE_BYTES,
  SIGNATURE_BYTES,
  ZERO_KEY,
  agree,
  agreementPair,
  checkAgreementKey,
  checkSigningKey,
  hkdf,
  keysOf,
  label,
  openSealed,
  seal,
  sha256,
  systemRandom,
} from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { Limits } from "./limits.js" */
/** @import { SeedPair } from "./prekeys.js" */
/** @import { KeyPair, Random } from "./suite.js" */
/** @typedef {"started" | "proposed" | "code" | "confirmed" | "linked"} LinkState  `code`: nothing goes on before a person has confirmed the digits */

const MAGIC = utf8("SLL1");
const VERSION = 1;
const MAX_SUITES = 8;
const HASH_BYTES = 32;
const CODE_BYTES = 8;
const CODE_DIGITS = 6;
const STEP_COMPLETE = u8(4);
const NO_STEP = new Uint8Array(0);

/** What the new device shows as a QR code: its keys, and the commitment to a random value. */
export class LinkOffer {
  /** @param {{ephemeral: Bytes, signing: Bytes, agreement: Bytes, suites: number[], commitment: Bytes}} fields */
  constructor({ ephemeral, signing, agreement, suites, commitment }) {
    this.ephemeral = ephemeral;
    this.signing = signing;
    this.agreement = agreement;
    this.suites = suites;
    this.commitment = commitment;
  }

  encode() {
    const keys = concat(this.ephemeral, this.signing, this.agreement);
    return concat(MAGIC, keys, u8(this.suites.length), Uint8Array.from(this.suites), this.commitment);
  }

  /** Reads what a camera saw, without checking the keys; `MalformedMessage` for another layout. @param {Uint8Array} data */
  static parse(data) {
    const reader = new Reader(data);
    if (!equal(reader.take(MAGIC.length), MAGIC)) throw new MalformedMessage("this is no offer of a device");
    const [ephemeral, signing, agreement] = [reader.take(KEY_BYTES), reader.take(KEY_BYTES), reader.take(KEY_BYTES)];
    const suites = Array.from(reader.take(reader.u8()));
    const rising = suites.every((suite, index) => index === 0 || suite > suites[index - 1]);
    if (suites.length < 1 || suites.length > MAX_SUITES || !rising) {
      throw new MalformedMessage(`an offer lists the suites ${suites}; they must be 1 to ${MAX_SUITES}, rising`);
    }
    const commitment = reader.take(HASH_BYTES);
    reader.done();
    return new LinkOffer({ ephemeral, signing, agreement, suites, commitment });
  }
}

/** @param {Bytes} nonce */
const commitmentOf = (nonce) => sha256(label("link-commit"), nonce);

/** The two keys that both sides agree on, and what every message between them is bound to. */
class Channel {
  #bound;
  #primary;
  #newDevice;

  /** Use `create`. @param {Bytes} bound @param {Bytes} primary @param {Bytes} newDevice */
  constructor(bound, primary, newDevice) {
    this.#bound = bound;
    this.#primary = primary;
    this.#newDevice = newDevice;
  }

  /** @param {Bytes} agreed @param {Bytes} offer @param {Bytes} primaryEphemeral */
  static async create(agreed, offer, primaryEphemeral) {
    const bound = concat(await sha256(offer), primaryEphemeral);
    const [primary, newDevice] = keysOf(await hkdf(ZERO_KEY, agreed, label("link", bound), 2 * KEY_BYTES));
    return new Channel(bound, primary, newDevice);
  }

  /** @param {Bytes} plain @param {{byPrimary: boolean, random: Random, step?: Bytes}} options */
  async seal(plain, { byPrimary, random, step = NO_STEP }) {
    const nonce = random(NONCE_BYTES);
    return concat(nonce, await seal(byPrimary ? this.#primary : this.#newDevice, nonce, plain, concat(this.#bound, step)));
  }

  /** @param {Reader} sealed @param {{byPrimary: boolean, step?: Bytes}} options */
  async open(sealed, { byPrimary, step = NO_STEP }) {
    const key = byPrimary ? this.#primary : this.#newDevice;
    const nonce = sealed.take(NONCE_BYTES);
    return new Reader(await openSealed(key, nonce, sealed.rest(), concat(this.#bound, step)));
  }
}

/** What follows the version of a message. @param {Uint8Array} data */
function messageReader(data) {
  const reader = new Reader(data);
  const version = reader.u8();
  if (version !== VERSION) throw new UnsupportedVersion(`a linking message has version ${version}; this release reads ${VERSION}`);
  return reader;
}

/** @param {Bytes} nonce @param {Bytes} offer @param {Uint8Array} proposal */
async function codeOf(nonce, offer, proposal) {
  const number = new Reader(await hkdf(nonce, await sha256(offer, proposal), label("link-code"), CODE_BYTES)).u64();
  return String(number % 10n ** BigInt(CODE_DIGITS)).padStart(CODE_DIGITS, "0");
}

/** Where a side is, and the digits that it shows. */
class Side {
  /** @type {LinkState} */ state = "started";
  #code = "";

  /** The six digits to show; `BadRequest` before there are any. */
  get code() {
    if (!this.#code) throw new BadRequest("there is no code yet");
    return this.#code;
  }

  /** A person has seen the same digits on both screens. If they differ, drop this object: somebody stands between. */
  confirm() {
    this.expect("code");
    this.state = "confirmed";
  }

  /** @param {string} code */
  show(code) {
    this.#code = code;
    this.state = "code";
  }

  /** @param {LinkState} state */
  expect(state) {
    if (this.state !== state) throw new BadRequest(`linking is at ${this.state}, and this comes at ${state}`);
  }
}

/**
 * The side of the device that joins an account: `offer`, `propose` (read the proposal), `confirm`, `complete`.
 *
 * Draws the ephemeral seed (32) and the committed value (32) when it is made, and one nonce (12) for its answer.
 */
export class NewDevice extends Side {
  #signing;
  #agreement;
  #random;
  #ephemeral;
  #nonce;
  /** @type {Channel | null} */ #channel = null;
  /** The user that the proposal names; empty before. */
  userId = "";
  /** The device id that the proposal gives; 0 before. */
  deviceId = 0;
  /** The account key that the proposal names; empty before. It is not to be trusted before `complete`. */
  account = new Uint8Array(0);

  /**
   * Use `create`.
   *
   * @param {KeyPair} signing
   * @param {KeyPair} agreement
   * @param {Random} random
   * @param {SeedPair} ephemeral
   * @param {Bytes} nonce
   * @param {Bytes} offer
   */
  constructor(signing, agreement, random, ephemeral, nonce, offer) {
    super();
    this.#signing = signing;
    this.#agreement = agreement;
    this.#random = random;
    this.#ephemeral = ephemeral;
    this.#nonce = nonce;
    /** What to show as a QR code. */
    this.offer = offer;
  }

  /** @param {{signing: KeyPair, agreement: KeyPair, suites: number[], random?: Random}} options */
  static async create({ signing, agreement, suites, random = systemRandom }) {
    const ephemeral = await agreementPair(random(KEY_BYTES));
    const nonce = random(KEY_BYTES);
    const keys = { ephemeral: ephemeral.public, signing: signing.public, agreement: agreement.public };
    const offer = new LinkOffer({ ...keys, suites, commitment: await commitmentOf(nonce) }).encode();
    LinkOffer.parse(offer);
    return new NewDevice(signing, agreement, random, ephemeral, nonce, offer);
  }

  /**
   * Reads the primary's proposal and gives the answer to send; the digits can be shown from here on.
   *
   * Only one proposal is ever read.
   *
   * @param {Uint8Array} proposal
   * @returns {Promise<Bytes>} rejects with `MalformedMessage`, `InvalidKey`, or `DecryptionFailed` for one that is not meant for this
   *   offer, which changes nothing; `BadRequest` after the first
   */
  async propose(proposal) {
    this.expect("started");
    const reader = messageReader(proposal);
    const primary = reader.take(KEY_BYTES);
    const channel = await Channel.create(await agree(this.#ephemeral.secret, primary), this.offer, primary);
    const body = await channel.open(reader, { byPrimary: true });
    const [userId, deviceId, account] = [body.user(), body.deviceId(), checkSigningKey(body.take(KEY_BYTES))];
    body.done();
    const signature = await deviceKeySignature(this.#signing, userId, deviceId, this.#agreement.public);
    const accept = concat(u8(VERSION), await channel.seal(concat(this.#nonce, signature), { byPrimary: false, random: this.#random }));
    const code = await codeOf(this.#nonce, this.offer, proposal);
    // Another proposal may have been read while this one was: the first one counts.
    this.expect("started");
    this.#channel = channel;
    [this.userId, this.deviceId, this.account] = [userId, deviceId, account];
    this.show(code);
    return accept;
  }

  /**
   * Reads the last message: this device's certificate and the account's device list, both checked.
   *
   * @param {Uint8Array} message
   * @param {{limits?: Limits}} [options]
   * @returns {Promise<{certificate: DeviceCertificate, devices: DeviceList}>} only after `confirm`; rejects with `MalformedMessage` or
   *   `DecryptionFailed` for other bytes, `BadSignature`, `InvalidKey` and `UntrustedIdentity` for a certificate or list that is not
   *   this device's on that account; nothing is changed then
   */
  async complete(message, { limits = DEFAULT_LIMITS } = {}) {
    this.expect("confirmed");
    const channel = /** @type {Channel} */ (this.#channel);
    const body = await channel.open(messageReader(message), { byPrimary: true, step: STEP_COMPLETE });
    const [certificate, devices] = [DeviceCertificate.parse(body.lp()), DeviceList.parse(body.rest(), limits)];
    await certificate.verify();
    await devices.verify();
    const sameDevice = certificate.userId === this.userId && certificate.deviceId === this.deviceId && equal(certificate.account, this.account);
    const sameKeys = equal(certificate.signing, this.#signing.public) && equal(certificate.agreement, this.#agreement.public);
    if (!sameDevice || !sameKeys || !(await devices.includes(certificate))) {
      throw new UntrustedIdentity("the certificate or the device list is not that of this device", { met: certificate.account });
    }
    this.state = "linked";
    return { certificate, devices };
  }
}

/**
 * The side of the device that holds the account key: `propose`, `accept`, `confirm`, `certificate`, `complete`.
 *
 * Draws the ephemeral seed (32) and a nonce (12) for the proposal, and a nonce (12) for the last message.
 */
export class PrimaryDevice extends Side {
  #account;
  #userId;
  #deviceId;
  #random;
  /** @type {LinkOffer | null} */ #offer = null;
  /** @type {Channel | null} */ #channel = null;
  #proposal = new Uint8Array(0);
  #signature = new Uint8Array(0);
  /** @type {DeviceCertificate | null} */ #certificate = null;

  /** @param {KeyPair} account @param {{userId: string, deviceId: number, random?: Random}} options */
  constructor(account, { userId, deviceId, random = systemRandom }) {
    super();
    userBytes(userId);
    this.#account = account;
    this.#userId = userId;
    this.#deviceId = checkDeviceId(deviceId);
    this.#random = random;
  }

  /**
   * Reads the scanned offer and gives the proposal to send; `MalformedMessage` or `InvalidKey` for what is no offer.
   *
   * @param {Uint8Array} offer
   * @returns {Promise<Bytes>}
   */
  async propose(offer) {
    this.expect("started");
    const parsed = LinkOffer.parse(offer);
    checkSigningKey(parsed.signing);
    checkAgreementKey(parsed.agreement);
    checkAgreementKey(parsed.ephemeral);
    // Taken before anything is awaited: a second offer would be another proposal under the same state.
    this.state = "proposed";
    const ephemeral = await agreementPair(this.#random(KEY_BYTES));
    const channel = await Channel.create(await agree(ephemeral.secret, parsed.ephemeral), parsed.encode(), ephemeral.public);
    const named = concat(lp(userBytes(this.#userId)), u32(this.#deviceId), this.#account.public);
    this.#proposal = concat(u8(VERSION), ephemeral.public, await channel.seal(named, { byPrimary: true, random: this.#random }));
    [this.#offer, this.#channel] = [parsed, channel];
    return this.#proposal;
  }

  /**
   * Reads the new device's answer; the digits can be shown from here on.
   *
   * @param {Uint8Array} message
   * @returns {Promise<void>} rejects with `MalformedMessage` or `DecryptionFailed` for other bytes, `UntrustedIdentity` for a value that
   *   the offer did not commit to; nothing is changed then
   */
  async accept(message) {
    this.expect("proposed");
    const [offer, channel] = this.#proposed();
    const body = await channel.open(messageReader(message), { byPrimary: false });
    const [nonce, signature] = [body.take(KEY_BYTES), body.take(SIGNATURE_BYTES)];
    body.done();
    if (!equal(await commitmentOf(nonce), offer.commitment)) {
      throw new UntrustedIdentity("the new device tells another value than the one that it committed to", { met: offer.signing });
    }
    const code = await codeOf(nonce, offer.encode(), this.#proposal);
    this.expect("proposed");
    this.#signature = signature;
    this.show(code);
  }

  /**
   * Signs the new device into the account, after `confirm`. The caller puts it on a new list.
   *
   * @param {{created: number | bigint}} options  in Unix seconds
   * @returns {Promise<DeviceCertificate>} rejects with `BadSignature` when the new device did not sign its own keys
   */
  async certificate({ created }) {
    this.expect("confirmed");
    const [offer] = this.#proposed();
    this.#certificate = await issueCertificate(this.#account, {
      userId: this.#userId,
      deviceId: this.#deviceId,
      signingPublic: offer.signing,
      agreementPublic: offer.agreement,
      deviceSignature: this.#signature,
      created,
      suites: offer.suites,
    });
    return this.#certificate;
  }

  /**
   * The last message, with the certificate and a device list that has it; `UntrustedIdentity` for another list.
   *
   * @param {DeviceList} devices
   * @returns {Promise<Bytes>}
   */
  async complete(devices) {
    this.expect("confirmed");
    const [, channel] = this.#proposed();
    if (!this.#certificate || !(await devices.includes(this.#certificate))) {
      throw new UntrustedIdentity("the new device is not on the device list", { met: devices.account });
    }
    const plain = concat(lp(this.#certificate.encoded), devices.encoded);
    const sealed = concat(u8(VERSION), await channel.seal(plain, { byPrimary: true, random: this.#random, step: STEP_COMPLETE }));
    this.state = "linked";
    return sealed;
  }

  /** @returns {[LinkOffer, Channel]} */
  #proposed() {
    if (!this.#offer || !this.#channel) throw new BadRequest("the proposal is not ready yet");
    return [this.#offer, this.#channel];
  }
}
