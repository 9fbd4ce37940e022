/**
 * A device: the one object that an application needs for encrypted chat with other people's devices.
 *
 * Each call is one transaction of the store: when it returns, what it did is durable, so a ciphertext never leaves before the state
 * that made it is safe. Nothing is fetched or sent: the application brings device lists and bundles, and carries messages away.
 */
import { DeviceCertificate, DeviceList, deviceKeySignature, issueCertificate, issueDeviceList } from "./certificates.js";
import { DeviceSteps } from "./device_steps.js";
import { utf8 } from "./encoding.js";
import { BadRequest, E2EEError, MalformedMessage, ResourceUnavailable, UntrustedIdentity } from "./errors.js";
import { DEFAULT_LIMITS, DEFAULT_POLICY } from "./limits.js";
import { Bundle } from "./prekeys.js";
import { COUNTERS, LOCAL, counterRecord, localRecord, readCounter, readLocal } from "./records.js";
import { KEY_BYTES, lockedPair, signingPair, systemRandom } from "./suite.js";

/** @import { PreKeyUpload } from "./device_prekeys.js" */
/** @import { Address, Outgoing, Received } from "./device_steps.js" */
/** @import { Content } from "./content.js" */
/** @import { Bytes } from "./encoding.js" */
/** @import { Limits, Policy } from "./limits.js" */
/** @import { Learned } from "./peers.js" */
/** @import { LocalRecord, Peer } from "./records.js" */
/** @import { Store, Transaction } from "./store.js" */
/** @import { KeyPair, Random } from "./suite.js" */
/** @typedef {{policy?: Policy, limits?: Limits, clock?: () => number, random?: Random}} DeviceOptions  `clock` gives Unix seconds; another one, or `random`, only in tests */
/** @typedef {{certificate: DeviceCertificate, deviceList: DeviceList | null, prekeys: PreKeyUpload}} Publication  what a device shows to everybody through the server */
/** @typedef {(tx: Transaction, received: Received) => void | Promise<void>} OnPlaintext  puts what was received where the application keeps it, in the transaction that moves the session */

const SELF = utf8("self");
const DEVICE_COUNTER = utf8("device");
// A restored account does not know which ids removed devices had, and an id never comes back with another key. So it goes on from a
// random number of 31 bits, above those of accounts that were never restored.
const RESTORED_IDS_FROM = 2 ** 16;
const RESTORED_IDS = 2 ** 31 - RESTORED_IDS_FROM;

const unixSeconds = () => Date.now() / 1000;

/** One device of one user, over the store that holds its state. Made by `create` or `load`. Calls take turns, those of other tabs too. */
export class Device {
  #store;
  #record;
  #clock;

  /** @param {Store} store @param {LocalRecord} record @param {DeviceOptions} options */
  constructor(store, record, { policy = DEFAULT_POLICY, limits = DEFAULT_LIMITS, clock = unixSeconds, random = systemRandom }) {
    this.#store = store;
    this.#record = record;
    this.#clock = clock;
    const { signing, agreement } = record;
    this.local = { certificate: DeviceCertificate.parse(record.certificate), signing, agreement };
    this.steps = new DeviceSteps(this.local, policy, limits, random);
  }

  /**
   * A new account with this as its primary device; or, with the `accountSeed` of a backup and the `previous` device list that the
   * server has of it, a new primary device of that account, whose list names no other one.
   *
   * @param {Store} store
   * @param {string} userId
   * @param {DeviceOptions & {accountSeed?: Bytes, previous?: DeviceList}} [options]
   * @returns {Promise<Device>} rejects with `BadRequest` (`device_exists`) where the store holds a device
   */
  static async create(store, userId, options = {}) {
    const { policy = DEFAULT_POLICY, limits = DEFAULT_LIMITS, clock = unixSeconds, random = systemRandom, previous } = options;
    const account = await signingPair(options.accountSeed ?? random(KEY_BYTES));
    await previous?.verify();
    const deviceId = previous ? RESTORED_IDS_FROM + (new DataView(random(4).buffer).getUint32(0) % RESTORED_IDS) : 1;
    const [signing, agreement] = await Promise.all([lockedPair("Ed25519"), lockedPair("X25519")]);
    const created = Math.floor(clock());
    const deviceSignature = await deviceKeySignature(signing, userId, deviceId, agreement.public);
    const keys = { signingPublic: signing.public, agreementPublic: agreement.public, deviceSignature };
    const certificate = await issueCertificate(account, { userId, deviceId, ...keys, created, suites: policy.suites });
    const deviceList = await issueDeviceList(account, { userId, created, certificates: [certificate], previous, limits });
    const record = localRecord({ certificate: certificate.encoded, signing, agreement, accountSeed: account.secret });
    const device = new Device(store, record, options);
    await store.run(async (tx) => {
      if (await tx.get(LOCAL, SELF)) throw new BadRequest("the store holds a device already", "device_exists");
      tx.put(LOCAL, SELF, record);
      tx.put(COUNTERS, DEVICE_COUNTER, counterRecord(deviceId + 1));
      await device.steps.learn(tx, userId, deviceList, [certificate]);
    });
    return device;
  }

  /** The device of this store, or null where there is none yet. @param {Store} store @param {DeviceOptions} [options] */
  static async load(store, options = {}) {
    const record = await store.run((tx) => tx.get(LOCAL, SELF));
    return record ? new Device(store, readLocal(record), options) : null;
  }

  get userId() {
    return this.local.certificate.userId;
  }

  get deviceId() {
    return this.local.certificate.deviceId;
  }

  /** Whether this device holds the account key, and so can admit and remove devices. */
  get isPrimary() {
    return this.#record.accountSeed !== null;
  }

  /** Runs `work` in one transaction of the store. @template T @param {(tx: Transaction) => Promise<T>} work */
  run(work) {
    return this.#store.run(work);
  }

  close() {
    this.#store.close();
  }

  /** All that the server is to have of this device, with a full set of new one-time prekeys. Repeating it is safe: no id comes twice. @returns {Promise<Publication>} */
  publish() {
    return this.#store.run(async (tx) => ({
      certificate: this.local.certificate,
      deviceList: await this.steps.deviceList(tx, this.userId),
      prekeys: await this.steps.refill(tx, { oneTimeLeft: null, kemOnceLeft: null, now: this.#clock() }),
    }));
  }

  /** What the server needs when it has so many one-time prekeys left. @param {{oneTimeLeft: number, kemOnceLeft: number}} left @returns {Promise<PreKeyUpload>} */
  replenish(left) {
    return this.#store.run((tx) => this.steps.refill(tx, { ...left, now: this.#clock() }));
  }

  /** An id for a device that is being linked; `BadRequest` unless this is the primary device. */
  reserveDeviceId() {
    return this.#store.run(async (tx) => {
      await this.#account();
      const deviceId = readCounter(await tx.get(COUNTERS, DEVICE_COUNTER));
      tx.put(COUNTERS, DEVICE_COUNTER, counterRecord(deviceId + 1));
      return deviceId;
    });
  }

  /**
   * Signs a device into the account; publish the list that comes back.
   *
   * @param {{deviceId: number, signingPublic: Bytes, agreementPublic: Bytes, deviceSignature: Bytes, suites: number[]}} device
   */
  admitDevice(device) {
    return this.#store.run(async (tx) => {
      const account = await this.#account();
      const certificate = await issueCertificate(account, { userId: this.userId, created: Math.floor(this.#clock()), ...device });
      const others = (await this.#siblings(tx)).filter(({ deviceId }) => deviceId !== device.deviceId);
      return { certificate, deviceList: await this.#issue(tx, account, [...others, certificate]) };
    });
  }

  /** Takes another device off the account; publish the list that comes back. @param {number} deviceId */
  removeDevice(deviceId) {
    return this.#store.run(async (tx) => {
      const account = await this.#account();
      if (deviceId === this.deviceId) throw new BadRequest("a device does not remove itself");
      const siblings = await this.#siblings(tx);
      const kept = siblings.filter((known) => known.deviceId !== deviceId);
      if (kept.length === siblings.length) throw new BadRequest("the account has no such device");
      return this.#issue(tx, account, kept);
    });
  }

  /**
   * Takes a user's device list and the certificates that are new in it; the sessions of removed devices are dropped.
   *
   * The first account key of a user is trusted as it comes. With another one later nothing is sent to that user until `acceptIdentity`.
   *
   * @param {string} userId
   * @param {Bytes} deviceList
   * @param {Bytes[]} [certificates]
   * @returns {Promise<Learned>} rejects with `UntrustedIdentity`, `MalformedMessage`, `BadSignature`, `InvalidKey`, `DeviceListRollback`,
   *   `LimitReached`
   */
  async learn(userId, deviceList, certificates = []) {
    const list = DeviceList.parse(deviceList, this.steps.limits);
    const given = certificates.map((data) => DeviceCertificate.parse(data));
    const learned = await this.#store.run((tx) => this.steps.learn(tx, userId, list, given));
    if (learned.refused) throw learned.refused;
    return learned;
  }

  /** A person has decided that this is the user's account key; `learn` the device list again. @param {string} userId @param {Bytes} account */
  acceptIdentity(userId, account) {
    return this.#store.run((tx) => this.steps.acceptIdentity(tx, userId, account));
  }

  /** A person has compared the safety number under this account key, or takes that back. @param {string} userId @param {Bytes} account @param {boolean} [verified] */
  setVerified(userId, account, verified = true) {
    return this.#store.run((tx) => this.steps.setVerified(tx, userId, account, verified));
  }

  /** What is known of a user: account key, verified or not, devices; null of a stranger. @param {string} userId @returns {Promise<Peer | null>} */
  peer(userId) {
    return this.#store.run((tx) => this.steps.peer(tx, userId));
  }

  /** The certificates of a user's present devices. @param {string} userId @returns {Promise<DeviceCertificate[]>} */
  devices(userId) {
    return this.#store.run(async (tx) => {
      const found = [];
      for (const deviceId of (await this.steps.peer(tx, userId))?.devices ?? []) {
        const certificate = await this.steps.certificate(tx, userId, deviceId);
        if (certificate) found.push(certificate);
      }
      return found;
    });
  }

  /** The devices, also own ones, whose bundles have to be fetched and started before `encrypt`. @param {string} userId @returns {Promise<Address[]>} */
  needsBundles(userId) {
    return this.#store.run((tx) => this.steps.needsBundles(tx, userId, this.#clock()));
  }

  /** Begins a session with the device of a bundle, unless there is one to send with; whether it did. @param {Bundle | Bytes} bundle */
  start(bundle) {
    const parsed = bundle instanceof Bundle ? bundle : Bundle.parse(bundle);
    return this.#store.run((tx) => this.steps.start(tx, parsed, this.#clock()));
  }

  /**
   * Begins anew with a device whose messages cannot be read; the message that comes back tells it. What it sent before stays lost.
   *
   * @param {Bundle | Bytes} bundle
   * @returns {Promise<Outgoing>} rejects with `LimitReached` when the last one is less than an hour ago, and what `start` rejects with
   */
  reset(bundle) {
    const parsed = bundle instanceof Bundle ? bundle : Bundle.parse(bundle);
    return this.#store.run((tx) => this.steps.reset(tx, parsed, this.#clock()));
  }

  /**
   * One message for each device of the user and each other own device. Bytes are the application's own content.
   *
   * @param {string} userId
   * @param {Bytes | Content} content
   * @param {{skipMissing?: boolean}} [options]  leave out devices without a session, as long as there is one that has one
   * @returns {Promise<Outgoing[]>} rejects with `NoSession`, `UntrustedIdentity`, `LimitReached`, `CounterExhausted`
   */
  encrypt(userId, content, { skipMissing = false } = {}) {
    return this.#store.run((tx) => this.steps.encrypt(tx, userId, asContent(content), { now: this.#clock(), skipMissing }));
  }

  /** One message for each of these devices, or its error in its place. @param {Address[]} to @param {Bytes | Content} content @returns {Promise<(Outgoing | E2EEError)[]>} */
  encryptToAll(to, content) {
    return this.#store.run((tx) => each(to, (address) => this.steps.encryptTo(tx, address, asContent(content), this.#clock())));
  }

  /**
   * Reads one message of a device. What `onPlaintext` stores and what the session has moved are kept together or not at all.
   *
   * @param {Address} from
   * @param {Bytes} message
   * @param {OnPlaintext} [onPlaintext]
   * @returns {Promise<Received>}
   */
  async decrypt(from, message, onPlaintext) {
    const [received] = await this.decryptMany([{ ...from, message }], onPlaintext);
    if (received instanceof E2EEError) throw received;
    return /** @type {Received} */ (received);
  }

  /**
   * Reads many messages in one transaction; in the place of one that cannot be read stands its error. What `onPlaintext` throws
   * is thrown here, and then no message counts as read.
   *
   * @param {Outgoing[]} messages  with their senders
   * @param {OnPlaintext} [onPlaintext]
   * @returns {Promise<(Received | E2EEError)[]>}
   */
  decryptMany(messages, onPlaintext = () => {}) {
    return this.#store.run((tx) =>
      each(messages, (from) => this.steps.decrypt(tx, from, from.message, this.#clock()), (received) => onPlaintext(tx, received)),
    );
  }

  async #account() {
    const seed = this.#record.accountSeed;
    if (!seed) throw new BadRequest("this device does not hold the account key; only the primary one does", "not_primary_device");
    return signingPair(seed);
  }

  /** The certificates of all devices on the own list, this one's too. @param {Transaction} tx */
  async #siblings(tx) {
    const found = [];
    for (const { deviceId } of (await this.steps.deviceList(tx, this.userId))?.devices ?? []) {
      const certificate = await this.steps.certificate(tx, this.userId, deviceId);
      if (!certificate) throw new MalformedMessage("the store lacks the certificate of an own device");
      found.push(certificate);
    }
    return found;
  }

  /** @param {Transaction} tx @param {KeyPair} account @param {DeviceCertificate[]} certificates */
  async #issue(tx, account, certificates) {
    const previous = await this.steps.deviceList(tx, this.userId);
    const list = { userId: this.userId, created: Math.floor(this.#clock()), certificates, previous, limits: this.steps.limits };
    const deviceList = await issueDeviceList(account, list);
    const learned = await this.steps.learn(tx, this.userId, deviceList, certificates);
    if (learned.refused) throw new UntrustedIdentity("the own list is under another account key");
    return deviceList;
  }
}

/** @param {Bytes | Content} content @returns {Content} */
const asContent = (content) => (content instanceof Uint8Array ? { kind: "application", data: content } : content);

/**
 * The outcome of `step` for each item, one after the other, or its E2EEError in its place.
 *
 * @template I, T
 * @param {I[]} items
 * @param {(item: I) => Promise<T>} step
 * @param {(outcome: T) => void | Promise<void>} [done]
 * @returns {Promise<(T | E2EEError)[]>}
 */
async function each(items, step, done = () => {}) {
  const outcomes = [];
  for (const item of items) {
    /** @type {T} */
    let outcome;
    try {
      outcome = await step(item);
    } catch (error) {
      // What the store refuses concerns all of them.
      if (!(error instanceof E2EEError) || error instanceof ResourceUnavailable) throw error;
      outcomes.push(error);
      continue;
    }
    await done(outcome);
    outcomes.push(outcome);
  }
  return outcomes;
}
