/**
 * A device: the one object that an application needs for encrypted chat with other people's devices.
 *
 * Each call is one transaction of the store: when it resolves, what it did is durable, so a ciphertext never leaves before the state
 * that made it is safe. Nothing is fetched or sent: the application brings device lists and bundles, and carries messages away.
 */
import { DeviceCertificate, DeviceList } from "./certificates.js";
import { accountKey, admitDevice, createAccount, keepLinked, loadLocal, removeDevice, reserveDeviceId } from "./device_account.js";
import { DeviceGroups } from "./device_groups.js";
import { DeviceSteps } from "./device_steps.js";
import { E2EEError } from "./errors.js";
import { GroupSteps } from "./group_steps.js";
import { DEFAULT_LIMITS, DEFAULT_POLICY } from "./limits.js";
import { Bundle } from "./prekeys.js";
import { settled } from "./settled.js";
import { systemRandom } from "./suite.js";

/** @import { Content } from "./content.js" */
/** @import { Candidate, Loaded } from "./device_account.js" */
/** @import { PreKeyUpload } from "./device_prekeys.js" */
/** @import { Outgoing, Received } from "./device_steps.js" */
/** @import { Bytes } from "./encoding.js" */
/** @import { Address } from "./group_records.js" */
/** @import { LocalDevice } from "./handshake.js" */
/** @import { Limits, Policy } from "./limits.js" */
/** @import { SeedPair } from "./prekeys.js" */
/** @import { Store, Transaction } from "./transaction.js" */
/** @import { KeyPair, Random } from "./suite.js" */
/** @typedef {{policy: Policy, limits: Limits, random: Random, now: () => number}} DeviceOptions  `now` gives Unix seconds; `random` and `now` are others only in tests */
/** @typedef {{certificate: DeviceCertificate, deviceList: DeviceList | null, prekeys: PreKeyUpload}} Publication  what a device shows to everybody through the server */
/** @typedef {(tx: Transaction, received: Received) => Promise<void> | void} OnPlaintext  puts what was received where the application keeps it, in the same transaction */

/** @param {Partial<DeviceOptions>} given @returns {DeviceOptions} */
const complete = (given) => ({ policy: DEFAULT_POLICY, limits: DEFAULT_LIMITS, random: systemRandom, now: () => Date.now() / 1000, ...given });

/** Bytes are the application's own content. @param {Uint8Array | Content} content @returns {Content} */
const contentOf = (content) => (content instanceof Uint8Array ? { kind: "application", data: new Uint8Array(content) } : content);

/**
 * One device of one user, over the store that holds its state. Made by `create`, `link` or `load`.
 *
 * All methods reject as `Store.run` does. They may be called at the same time and in several tabs; they take turns.
 */
export class Device {
  #store;
  #record;
  #options;

  /**
   * Use `create`, `link` or `load`.
   *
   * @param {Store} store
   * @param {Loaded} loaded
   * @param {DeviceOptions} options
   * @param {DeviceSteps} steps
   */
  constructor(store, { record }, options, steps) {
    this.#store = store;
    this.#record = record;
    this.#options = options;
    /** The same things as steps, to be called in a transaction (`run`) together with other work. */
    this.steps = steps;
    /** The device's groups; what comes for them through `decrypt`, sender keys and operations, is taken by itself. */
    this.groups = new DeviceGroups(store, new GroupSteps(steps), options.now);
  }

  /**
   * A new account with this as its primary device; or, with the `account` key of a backup and the `previous` device list that the server
   * has of it, a new primary device of that account, whose list names no other one.
   *
   * @param {Store} store
   * @param {string} userId
   * @param {Partial<DeviceOptions> & {account?: SeedPair | null, previous?: DeviceList | null}} [given]
   * @returns {Promise<Device>} rejects with `BadRequest` (`device_exists`) where the store holds a device, `MalformedMessage` for a user id
   *   that the profile does not allow, and `UntrustedIdentity` or `BadSignature` for a list that is not of the account
   */
  static async create(store, userId, { account = null, previous = null, ...given } = {}) {
    const options = complete(given);
    const { policy, limits, random, now } = options;
    const stepsOf = (/** @type {LocalDevice} */ local) => new DeviceSteps(local, policy, limits, random);
    const made = { account, previous, policy, limits, random, now: now(), stepsOf };
    const loaded = await store.run((tx) => createAccount(tx, userId, made));
    return new Device(store, loaded, options, stepsOf(loaded.local));
  }

  /**
   * Another device of an account, with its own keys and what the primary device gave it when they were linked.
   *
   * Call `learn` for the own user next, with the certificates of the other devices.
   *
   * @param {Store} store
   * @param {DeviceCertificate} certificate
   * @param {DeviceList} deviceList
   * @param {Partial<DeviceOptions> & {signing: KeyPair, agreement: KeyPair}} given  pairs of `lockedPair`
   * @returns {Promise<Device>} rejects as `keepLinked` does
   */
  static async link(store, certificate, deviceList, { signing, agreement, ...given }) {
    const options = complete(given);
    const loaded = await store.run((tx) => keepLinked(tx, certificate, deviceList, { signing, agreement, limits: options.limits }));
    return new Device(store, loaded, options, new DeviceSteps(loaded.local, options.policy, options.limits, options.random));
  }

  /** The device of this store, or null where there is none yet. @param {Store} store @param {Partial<DeviceOptions>} [given] */
  static async load(store, given = {}) {
    const options = complete(given);
    const loaded = await store.run(loadLocal);
    if (!loaded) return null;
    return new Device(store, loaded, options, new DeviceSteps(loaded.local, options.policy, options.limits, options.random));
  }

  /** This device, and the two pairs that its certificate names. */
  get local() {
    return this.steps.local;
  }

  get certificate() {
    return this.steps.local.certificate;
  }

  get userId() {
    return this.certificate.userId;
  }

  get deviceId() {
    return this.certificate.deviceId;
  }

  /** Whether this device holds the account key, and so can admit and remove devices. */
  get isPrimary() {
    return this.#record.accountSeed !== null;
  }

  /** The account key, for a backup (its seed) and for `PrimaryDevice`; `BadRequest` unless this is the primary device. */
  accountKey() {
    return accountKey(this.#record);
  }

  /**
   * Runs `work` in one transaction of the store; see `Store.run`.
   *
   * @template T
   * @param {(tx: Transaction) => Promise<T>} work
   * @returns {Promise<T>}
   */
  run(work) {
    return this.#store.run(work);
  }

  /** Gives up the store, once the work under way is done. */
  close() {
    return this.#store.close();
  }

  /**
   * All that the server is to have of this device, with a full set of new one-time prekeys; they replace what is there.
   *
   * For registration, or when the server lost them; later ones come by `replenish`. Repeating it is safe: no id comes twice. Sender keys
   * of groups are made anew before the next message, for an old copy of the store may have used them.
   *
   * @returns {Promise<Publication>}
   */
  publish() {
    return this.run(async (tx) => {
      await this.groups.steps.renewKeys(tx);
      const prekeys = await this.steps.refill(tx, { oneTimeLeft: null, kemOnceLeft: null, now: this.#options.now() });
      return { certificate: this.certificate, deviceList: await this.steps.deviceList(tx, this.userId), prekeys };
    });
  }

  /**
   * What the server needs when it has so many one-time prekeys left: new ones where they run low, and a signed or last-resort prekey that
   * is due. Call it daily, and when the server says that it runs low.
   *
   * @param {{oneTimeLeft: number, kemOnceLeft: number}} left
   */
  replenish(left) {
    return this.run((tx) => this.steps.refill(tx, { ...left, now: this.#options.now() }));
  }

  /** An id for a device that is being linked. `BadRequest` unless this is the primary device. */
  reserveDeviceId() {
    return this.run((tx) => reserveDeviceId(tx, this.#record, this.steps));
  }

  /**
   * Signs a device into the account; publish the list that comes back. Rejects as `admitDevice` of device_account.js.
   *
   * @param {Candidate} candidate  what linking gave; in the same second its `PrimaryDevice.certificate` is this very certificate
   */
  admitDevice(candidate) {
    return this.run((tx) => admitDevice(tx, this.#record, this.steps, candidate, this.#options.now()));
  }

  /** Takes a device off the account; publish the list that comes back. @param {number} deviceId */
  removeDevice(deviceId) {
    return this.run((tx) => removeDevice(tx, this.#record, this.steps, deviceId, this.#options.now()));
  }

  /**
   * Takes a user's device list and the certificates that are new in it; the sessions of removed devices are dropped.
   *
   * @param {string} userId
   * @param {Uint8Array} deviceList
   * @param {Uint8Array[]} [certificates]
   * @returns {Promise<{added: number[], removed: number[]}>} The first account key of a user is trusted as it comes; rejects with
   *   `UntrustedIdentity` for another one later: nothing is sent to that user from then on until `acceptIdentity`. Also `MalformedMessage`,
   *   `BadSignature`, `InvalidKey`, `DeviceListRollback`, `LimitReached`.
   */
  async learn(userId, deviceList, certificates = []) {
    const parsed = DeviceList.parse(deviceList, this.#options.limits);
    const given = certificates.map((data) => DeviceCertificate.parse(data));
    const { refused, ...learned } = await this.run((tx) => this.steps.learn(tx, userId, parsed, given));
    if (refused) throw refused;
    return learned;
  }

  /**
   * A person has decided that this is the user's account key: the one that was met, the old one, or one read off a QR code.
   *
   * With another than the trusted one all sessions with the user are dropped; `learn` its device list again.
   *
   * @param {string} userId
   * @param {Bytes} account
   * @returns {Promise<void>} rejects with `UntrustedIdentity` for a key that was never met, and for the own user
   */
  acceptIdentity(userId, account) {
    return this.run((tx) => this.steps.acceptIdentity(tx, userId, account));
  }

  /**
   * A person has compared the safety number under this account key, or takes that back; `UntrustedIdentity` unless the key is the
   * trusted one.
   *
   * @param {string} userId
   * @param {Bytes} account
   * @param {boolean} [verified]
   */
  setVerified(userId, account, verified = true) {
    return this.run((tx) => this.steps.setVerified(tx, userId, account, verified));
  }

  /** What is known of a user: account key, verified or not, devices. Null of a stranger. @param {string} userId */
  peer(userId) {
    return this.run((tx) => this.steps.peer(tx, userId));
  }

  /** The certificates of all devices on a user's newest list; none of a stranger. @param {string} userId */
  devices(userId) {
    return this.run((tx) => this.steps.certificates(tx, userId));
  }

  /**
   * The newest list of a user and the certificates that it names: to hand on, or, of the own user, to publish again.
   *
   * @param {string} userId
   */
  devicesOf(userId) {
    return this.run(async (tx) => {
      const deviceList = await this.steps.deviceList(tx, userId);
      return deviceList && { deviceList, certificates: await this.steps.certificates(tx, userId) };
    });
  }

  /**
   * The devices, also own ones, whose bundles have to be fetched and started before `encrypt`; rejects with `NoSession`,
   * `UntrustedIdentity`.
   *
   * @param {string} userId
   * @returns {Promise<Address[]>}
   */
  needsBundles(userId) {
    return this.run((tx) => this.steps.needsBundles(tx, userId, this.#options.now()));
  }

  /**
   * Begins a session with the device of a bundle, unless there is one to send with.
   *
   * @param {Uint8Array | Bundle} bundle
   * @returns {Promise<boolean>} whether it did; rejects with `MalformedMessage`, `UntrustedIdentity` for a device that is not on the known
   *   list, `BadSignature`, `InvalidKey`, `DowngradeRefused`, `PreKeysExhausted`, and `NoSession` for a user whose list is not known
   */
  async start(bundle) {
    const parsed = bundle instanceof Bundle ? bundle : Bundle.parse(bundle);
    return this.run((tx) => this.steps.start(tx, parsed, this.#options.now()));
  }

  /**
   * Begins anew with a device whose messages fail with `DecryptionFailed` or `NoSession`, or with `DuplicateMessage` though they are new;
   * the message that comes back tells it. What it sent before stays lost: the application asks for it again.
   *
   * @param {Uint8Array | Bundle} bundle
   * @returns {Promise<Outgoing>} rejects with `LimitReached` when the last one is less than an hour ago, and as `start`
   */
  async reset(bundle) {
    const parsed = bundle instanceof Bundle ? bundle : Bundle.parse(bundle);
    return this.run((tx) => this.steps.reset(tx, parsed, this.#options.now()));
  }

  /**
   * One message for each device of the user and each other own device. Bytes are the application's own content.
   *
   * @param {string} userId
   * @param {Uint8Array | Content} content
   * @param {{skipMissing?: boolean}} [options]  leaves out devices without a session, as long as there is one that has one
   * @returns {Promise<Outgoing[]>} rejects with `NoSession` otherwise (`needsBundles`), `UntrustedIdentity` while the user's account key is
   *   in doubt, `LimitReached` for content that is too long, and `CounterExhausted`
   */
  async encrypt(userId, content, options = {}) {
    const [sent] = await this.encryptMany([{ userId, content }], options);
    return sent;
  }

  /**
   * Many contents, each for the user named with it, in one transaction; if one fails as `encrypt` may, none is sent.
   *
   * @param {{userId: string, content: Uint8Array | Content}[]} contents
   * @param {{skipMissing?: boolean}} [options]
   */
  encryptMany(contents, { skipMissing = false } = {}) {
    return this.run(async (tx) => {
      const now = this.#options.now();
      const sent = [];
      for (const { userId, content } of contents) sent.push(await this.steps.encrypt(tx, userId, contentOf(content), { now, skipMissing }));
      return sent;
    });
  }

  /**
   * The same content for single devices, in one transaction; in the place of one that cannot be sent stands why.
   *
   * @param {Address[]} addresses
   * @param {Uint8Array | Content} content
   * @returns {Promise<(Outgoing | E2EEError)[]>}
   */
  encryptToAll(addresses, content) {
    return this.run(async (tx) => {
      const now = this.#options.now();
      const sent = [];
      for (const address of addresses) sent.push(await settled(this.steps.encryptTo(tx, address, contentOf(content), now)));
      return sent;
    });
  }

  /**
   * Reads one message of a device.
   *
   * `onPlaintext` is called in the same transaction: what it stores and what the session has moved are kept together or not at all, so a
   * crash neither loses a message nor doubles it. What it throws rejects this call, and the message can be read again.
   *
   * @param {Address} from  as the server names the sender
   * @param {Uint8Array} message
   * @param {OnPlaintext} [onPlaintext]
   * @returns {Promise<Received>} rejects with `MalformedMessage`, `NoSession`, `UntrustedIdentity`, `UnknownPreKey`, `PreKeyReplay`,
   *   `DowngradeRefused`, `DecryptionFailed`, `DuplicateMessage`, `TooManySkipped`, `CounterExhausted`, `InvalidKey`, `LimitReached`
   */
  decrypt(from, message, onPlaintext) {
    return this.run(async (tx) => {
      const received = await this.steps.decrypt(tx, from, message, this.#options.now());
      await onPlaintext?.(tx, received);
      return received;
    });
  }

  /**
   * Reads many messages in one transaction; in the place of one that cannot be read stands what `decrypt` would reject with.
   *
   * What `onPlaintext` throws rejects this call, and then no message counts as read.
   *
   * @param {(Address & {message: Uint8Array})[]} messages
   * @param {OnPlaintext} [onPlaintext]
   * @returns {Promise<(Received | E2EEError)[]>}
   */
  decryptMany(messages, onPlaintext) {
    return this.run(async (tx) => {
      const now = this.#options.now();
      const results = [];
      for (const { message, ...from } of messages) {
        const received = await settled(this.steps.decrypt(tx, from, message, now));
        if (!(received instanceof E2EEError)) await onPlaintext?.(tx, received);
        results.push(received);
      }
      return results;
    });
  }
}
