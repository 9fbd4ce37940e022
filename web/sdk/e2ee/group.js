/** Encrypted groups that work by sender keys (the profile's section 7). */
import { NO_HASH } from "./certificates.js";
import { GROUP_ID_BYTES } from "./content.js";
import { Reader, concat, equal, hex, lp, u32, u8, userBytes } from "./encoding.js";
import {
  CounterExhausted,
  GroupStateMismatch,
  LimitReached,
  MalformedMessage,
  NotAMember,
  UnknownSenderKey,
  UnsupportedVersion,
} from "./errors.js";
import { Operation, signOperation } from "./group_operation.js";
import { Journal, SENDING_NAME, STATE_NAME, holderName, keyName, readName, skippedName } from "./group_records.js";
import { GroupState } from "./group_state.js";
import { DEFAULT_LIMITS, MAX_COUNTER } from "./limits.js";
import { Lock } from "./lock.js";
import { pad } from "./padding.js";
import { GroupMessage, ReceivingKey, SendingKey, encodeSkipped, parseSkipped } from "./sender_keys.js";
import { checkSigningKey, systemRandom } from "./suite.js";

/** @import { DeviceCertificate } from "./certificates.js" */
/** @import { SenderKeyDistribution } from "./content.js" */
/** @import { Bytes } from "./encoding.js" */
/** @import { Member, OperationKind } from "./group_operation.js" */
/** @import { Address } from "./group_records.js" */
/** @import { Resolver } from "./group_state.js" */
/** @import { Limits } from "./limits.js" */
/** @import { SkippedKey } from "./sender_keys.js" */
/** @import { KeyPair, Random } from "./suite.js" */
/** @typedef {Address & {content: SenderKeyDistribution}} Delivery  what one device is sent through its pairwise session */
/** @typedef {Address & {account: Bytes}} GroupDevice  a device, and the trusted account key on whose signed list it is */
/** @typedef {{from: Address, keys: Map<string, ReceivingKey>}} Sender  another device, and its keys by their id in hexadecimal */

const HOLDER_VERSION = 1;
// After these a device that had the sender key may not have the next one.
/** @type {OperationKind[]} */
const ROTATING = ["remove", "renew", "rekey"];

/** @param {Address} address */
const nameOf = ({ userId, deviceId }) => `${deviceId}/${userId}`;

/**
 * What both sides of a message know and is not sent: the state of the group, and who sends.
 *
 * @param {Bytes} stateHash
 * @param {Address} address
 */
function bindingOf(stateHash, { userId, deviceId }) {
  return concat(stateHash, lp(userBytes(userId)), u32(deviceId));
}

/** @param {Uint8Array} record */
function readHolder(record) {
  const reader = new Reader(record);
  const [version, due] = [reader.u8(), reader.u8()];
  reader.done();
  if (version !== HOLDER_VERSION) throw new UnsupportedVersion(`a sender key's holder record of version ${version}`);
  return Boolean(due);
}

/**
 * A group in which each device has a sender key that it gives to all others pairwise.
 *
 * Calls may overlap: each waits for those before it. Any that rejects or throws leaves everything as it was. The caller stores what
 * `drainChanges` gives before it sends anything.
 */
export class SenderKeyGroup {
  #own;
  #state;
  #limits;
  #lock = new Lock();
  /** @type {SendingKey | null} */ #sending = null;
  // Devices that may have the present sending key, and whether its delivery is still due. At most maxGroupDevices.
  /** @type {Map<string, Address & {due: boolean}>} */ #holders = new Map();
  // At most maxGroupDevices devices with senderKeysKept keys each.
  /** @type {Map<string, Sender>} */ #receiving = new Map();
  #journal = new Journal();
  /**
   * The members that the last `prepareSend` left out, for their devices are of another account key than the group knows.
   *
   * @type {string[]}
   */
  withheld = [];

  /**
   * Use `create`, `join` or `fromRecords`.
   *
   * @param {DeviceCertificate} own  of this device
   * @param {GroupState} state
   * @param {Limits} [limits]
   */
  constructor(own, state, limits = DEFAULT_LIMITS) {
    this.#own = own;
    this.#state = state;
    this.#limits = limits;
    this.#putState();
  }

  /**
   * A new group of this device's user, as its admin, and `others`; with the operation that everybody has to get. Draws: group id 16.
   *
   * @param {DeviceCertificate} own
   * @param {KeyPair} signing
   * @param {Member[]} others
   * @param {{time: number, random?: Random, limits?: Limits}} options  `time` in Unix seconds
   * @returns {Promise<{group: SenderKeyGroup, operation: Operation}>} rejects with `LimitReached`, `MalformedMessage` (somebody is there twice)
   */
  static async create(own, signing, others, { time, random = systemRandom, limits = DEFAULT_LIMITS }) {
    const [signerUser, signerDevice] = [own.userId, own.deviceId];
    /** @type {Member[]} */
    const members = [{ userId: own.userId, account: own.account, role: "admin" }, ...others];
    const place = { groupId: random(GROUP_ID_BYTES), epoch: 0, prevHash: NO_HASH, signerUser, signerDevice, time };
    const operation = await signOperation(signing, { ...place, kind: "create", members });
    const state = await GroupState.create(operation, () => own, limits);
    return { group: new SenderKeyGroup(own, state, limits), operation };
  }

  /**
   * The group at the end of a whole chain; rejects as `GroupState.replay` does, and with `NotAMember` if we are none.
   *
   * @param {DeviceCertificate} own
   * @param {Uint8Array[]} operations
   * @param {Resolver} resolve
   * @param {Limits} [limits]
   */
  static async join(own, operations, resolve, limits = DEFAULT_LIMITS) {
    const group = new SenderKeyGroup(own, await GroupState.replay(operations, resolve, limits), limits);
    group.#requireMember();
    return group;
  }

  get groupId() {
    return this.#state.groupId;
  }

  get epoch() {
    return this.#state.epoch;
  }

  get state() {
    return this.#state;
  }

  get members() {
    return this.#state.members;
  }

  /** Whether this device's user is in the group, under this device's account key. */
  get isMember() {
    const account = this.#state.accountAt(this.#own.userId, this.#state.epoch);
    return account !== null && equal(account, this.#own.account);
  }

  /**
   * The next operation, signed by this device and not applied: it counts once it was the first to be sent to everybody.
   *
   * @param {KeyPair} signing
   * @param {OperationKind} kind
   * @param {{time: number, members?: Member[], users?: string[]}} options  `time` in Unix seconds
   * @returns {Promise<Operation>} rejects with `NotAMember`, `GroupStateMismatch` or `LimitReached` for what others would refuse
   */
  async propose(signing, kind, { time, members = [], users = [] }) {
    this.#requireMember();
    const { groupId, epoch, hash: prevHash } = this.#state;
    const [signerUser, signerDevice] = [this.#own.userId, this.#own.deviceId];
    const place = { groupId, epoch: epoch + 1, prevHash, signerUser, signerDevice, time };
    const operation = await signOperation(signing, { ...place, kind, members, users });
    this.#state.changed(operation, this.#limits);
    return operation;
  }

  /**
   * Takes the next operation of the chain; rejects as `GroupState.apply` does.
   *
   * @param {Uint8Array} operation
   * @param {Resolver} resolve
   * @returns {Promise<Operation>}
   */
  async apply(operation, resolve) {
    return this.#lock.run(async () => {
      const parsed = Operation.parse(operation);
      this.#state = await this.#state.apply(parsed, resolve, this.#limits);
      this.#putState();
      if (ROTATING.includes(parsed.kind) || !this.isMember) this.#retire();
      this.#settleKeys();
      return parsed;
    });
  }

  /**
   * The user has these devices and no others: what the others sent is not read any more, and they get no more keys.
   *
   * @param {string} userId
   * @param {number[]} devices
   */
  async updateDevices(userId, devices) {
    return this.#lock.run(async () => {
      const gone = (/** @type {Address} */ address) => address.userId === userId && !devices.includes(address.deviceId);
      for (const sender of [...this.#receiving.values()].filter(({ from }) => gone(from))) {
        for (const key of [...sender.keys.values()]) this.#dropKey(sender, key);
      }
      if ([...this.#holders.values()].some(gone)) this.#retire();
    });
  }

  /** Whether a new sender key is made at the next `prepareSend`, as far as it is known without the devices. @param {number} now */
  needsRotation(now) {
    return this.#sending === null || this.#sending.worn(now, this.#limits);
  }

  /** Makes a new sender key at the next `prepareSend`: this one may have been used elsewhere, by a copy of the store. */
  renewKey() {
    this.#retire();
  }

  /** The device has lost what it was sent: it gets the sender key, if it had it, from the next `prepareSend`. @param {Address} address */
  giveAgain({ userId, deviceId }) {
    if (this.#holders.has(nameOf({ userId, deviceId }))) this.#setHolder({ userId, deviceId }, true);
  }

  /**
   * The devices for which `prepareSend` would now have a delivery; throws what that rejects with.
   *
   * @param {GroupDevice[]} devices
   * @param {{now: number}} options
   * @returns {Address[]}
   */
  lacking(devices, { now }) {
    const { recipients, fresh } = this.#plan(devices, now);
    return [...recipients].filter(([name]) => fresh || (this.#holders.get(name)?.due ?? true)).map(([, address]) => address);
  }

  /**
   * The sender key for every device that does not have it, a new one if the present one is worn or known to somebody gone.
   *
   * Devices of users who are no members now are left out, and so are those of another account key than the group's (`withheld`). A
   * device that is missing counts as gone. What is not marked with `markDistributed` or `markUnsent` is given again.
   *
   * @param {GroupDevice[]} devices  the trusted devices in the members' signed lists, all of them, our own among them
   * @param {{now: number, random?: Random}} options  `now` in Unix seconds
   * @returns {Promise<Delivery[]>} rejects with `NotAMember`, and `LimitReached` for too many devices
   */
  async prepareSend(devices, { now, random = systemRandom }) {
    return this.#lock.run(async () => {
      const { recipients, withheld, fresh } = this.#plan(devices, now);
      let sending = this.#sending;
      if (!sending || fresh) {
        sending = await SendingKey.make({ random, now });
        this.#retire();
        this.#sending = sending;
        this.#journal.put(SENDING_NAME, () => /** @type {SendingKey} */ (sending).toRecord());
      }
      this.withheld = withheld;
      for (const [name, address] of recipients) {
        if (!this.#holders.has(name)) this.#setHolder(address, true);
      }
      const { keyId, iteration, chainKey, public: signingPublic } = sending;
      const { groupId, epoch } = this.#state;
      /** @type {SenderKeyDistribution} */
      const content = { kind: "senderKey", groupId, epoch, keyId, iteration, chainKey, signingPublic };
      return [...recipients].filter(([name]) => this.#holders.get(name)?.due).map(([, address]) => ({ ...address, content }));
    });
  }

  /**
   * Who gets the sender key, in order, who is withheld, and whether it has to be a new one.
   *
   * @param {GroupDevice[]} devices
   * @param {number} now
   */
  #plan(devices, now) {
    this.#requireMember();
    const { recipients, withheld } = this.#recipients(devices);
    const gone = [...this.#holders.keys()].some((name) => !recipients.has(name));
    return { recipients, withheld, fresh: this.needsRotation(now) || gone };
  }

  /** @param {GroupDevice[]} devices */
  #recipients(devices) {
    /** @type {Map<string, Address>} */
    const recipients = new Map();
    const withheld = new Set();
    const own = nameOf(this.#own);
    for (const { userId, deviceId, account } of devices) {
      const member = this.#state.members.get(userId);
      const name = nameOf({ userId, deviceId });
      if (!member || name === own) continue;
      if (equal(account, member.account)) recipients.set(name, { userId, deviceId });
      else withheld.add(userId);
    }
    const { maxGroupDevices } = this.#limits;
    if (recipients.size >= maxGroupDevices) throw new LimitReached(`a group has at most ${maxGroupDevices} devices (maxGroupDevices)`);
    return { recipients, withheld: [...withheld] };
  }

  /**
   * These deliveries are encrypted and stored for sending; those of a key that was replaced meanwhile change nothing.
   *
   * @param {Delivery[]} sent
   */
  markDistributed(sent) {
    for (const address of this.#stillDue(sent)) this.#setHolder(address, false);
  }

  /**
   * These deliveries never left, because there is no session with the device: it stays without the key for now.
   *
   * Leave the device out of the next `prepareSend`, or it is asked for again.
   *
   * @param {Delivery[]} unsent
   */
  markUnsent(unsent) {
    for (const address of this.#stillDue(unsent)) {
      this.#holders.delete(nameOf(address));
      this.#journal.delete(holderName(address));
    }
  }

  /**
   * A message of type 3 for all members. Draws: nonce 12.
   *
   * Call `prepareSend` before each one: only it sees that devices came or went.
   *
   * @param {Uint8Array} content
   * @param {{now: number, random?: Random}} options  `now` in Unix seconds
   * @returns {Promise<Bytes>} rejects with `NotAMember`, `LimitReached` for content that is too long, and `UnknownSenderKey` while a new
   *   key or a delivery is due
   */
  async encrypt(content, { now, random = systemRandom }) {
    return this.#lock.run(async () => {
      this.#requireMember();
      const { maxContentBytes } = this.#limits;
      if (content.length > maxContentBytes) throw new LimitReached(`content has at most ${maxContentBytes} bytes (maxContentBytes)`);
      const sending = this.#sending;
      const due = [...this.#holders.values()].filter((holder) => holder.due).length;
      if (!sending || due || sending.worn(now, this.#limits)) {
        throw new UnknownSenderKey(`the sender key is not with everybody (${due} deliveries are due): prepareSend comes first`);
      }
      const { groupId, epoch, hash } = this.#state;
      const message = await sending.encrypt(pad(content), { groupId, epoch, binding: bindingOf(hash, this.#own), random });
      this.#journal.put(SENDING_NAME, () => sending.toRecord());
      return message;
    });
  }

  /**
   * Takes the sender key of the device whose pairwise session carried it; one that is there already changes nothing.
   *
   * @param {Address} from
   * @param {SenderKeyDistribution} distribution
   * @returns {Promise<void>} rejects with `GroupStateMismatch` for another group, an epoch that is no longer kept, or one that is ahead
   *   where the user is no member yet (apply what is missing, then try again); `NotAMember`; `InvalidKey`; `CounterExhausted`; `LimitReached`
   */
  async receiveKey(from, distribution) {
    return this.#lock.run(async () => {
      const { groupId, iteration, epoch, keyId, chainKey, signingPublic } = distribution;
      if (!equal(groupId, this.#state.groupId)) throw new GroupStateMismatch("the sender key is that of another group");
      if (iteration >= MAX_COUNTER) throw new CounterExhausted("a sender key is past the end of its chain");
      checkSigningKey(signingPublic);
      const account = this.#accountOfKey(from.userId, epoch);
      const address = { userId: from.userId, deviceId: from.deviceId };
      const known = this.#receiving.get(nameOf(address));
      if (known?.keys.has(hex(keyId))) return;
      const { maxGroupDevices, senderKeysKept } = this.#limits;
      if (!known && this.#receiving.size >= maxGroupDevices) {
        throw new LimitReached(`a group has at most ${maxGroupDevices} devices (maxGroupDevices)`);
      }
      const sender = known ?? { from: address, keys: new Map() };
      this.#receiving.set(nameOf(address), sender);
      const serial = Math.max(0, ...[...sender.keys.values()].map((other) => other.serial)) + 1;
      const key = new ReceivingKey({ keyId, chainKey, signingPublic, iteration, epoch, account, serial });
      sender.keys.set(hex(keyId), key);
      this.#journal.put(keyName(address, keyId), () => key.toRecord());
      if (sender.keys.size > senderKeysKept) {
        this.#dropKey(sender, [...sender.keys.values()].reduce((oldest, other) => (other.serial < oldest.serial ? other : oldest)));
      }
    });
  }

  /**
   * The content of a message of this device.
   *
   * @param {Address} from
   * @param {Uint8Array} message
   * @param {{now: number}} options  in Unix seconds
   * @returns {Promise<Bytes>} rejects with `GroupStateMismatch` for another group or an epoch that is ahead or no longer kept, `NotAMember`
   *   when the sender or this device was none then, `UnknownSenderKey` (keep the message until the key comes), and as `ReceivingKey.open`
   *   does: `BadSignature` also when the two devices do not have the same chain of operations
   */
  async decrypt(from, message, { now }) {
    return this.#lock.run(async () => {
      const parsed = GroupMessage.parse(message);
      const stateHash = this.#state.hashAt(parsed.epoch);
      if (!equal(parsed.groupId, this.#state.groupId) || !stateHash) {
        throw new GroupStateMismatch("the message is of a group or an epoch that is not known here");
      }
      const account = this.#state.accountAt(from.userId, parsed.epoch);
      const own = this.#state.accountAt(this.#own.userId, parsed.epoch);
      if (!account || !own || !equal(own, this.#own.account)) {
        throw new NotAMember("the sender or this device was no member at the epoch of the message");
      }
      const key = this.#receiving.get(nameOf(from))?.keys.get(hex(parsed.keyId));
      if (!key?.account) throw new UnknownSenderKey("the sender key of the message has not come yet");
      if (!equal(key.account, account)) throw new NotAMember("the sender key is that of another account key of the sender");
      const opened = await key.open(parsed, { binding: bindingOf(stateHash, from), now, limits: this.#limits });
      this.#journal.put(keyName(from, key.keyId), () => key.toRecord());
      for (const number of opened.kept) {
        const record = encodeSkipped(/** @type {SkippedKey} */ (key.skipped.get(number)));
        this.#journal.put(skippedName(from, key.keyId, number), () => record);
      }
      for (const number of opened.dropped) this.#journal.delete(skippedName(from, key.keyId, number));
      return opened.content;
    });
  }

  /**
   * The records that changed since the last call, by name within the group.
   *
   * All of them belong into one transaction. When that fails, this object is ahead of the store and must be loaded again.
   */
  drainChanges() {
    return this.#journal.drain();
  }

  /**
   * The group whose records `drainChanges` gave over time; `MalformedMessage` for what it did not give.
   *
   * @param {DeviceCertificate} own
   * @param {{name: Uint8Array, record: Uint8Array}[]} records
   * @param {Limits} [limits]
   */
  static async fromRecords(own, records, limits = DEFAULT_LIMITS) {
    const state = records.find(({ name }) => equal(name, STATE_NAME));
    if (!state) throw new MalformedMessage("a group's records without its state");
    const group = new SenderKeyGroup(own, GroupState.fromRecord(state.record), limits);
    await group.#restore(records.filter((record) => record !== state));
    group.#journal = new Journal(records.map(({ name }) => name));
    return group;
  }

  /** @param {{name: Uint8Array, record: Uint8Array}[]} records */
  async #restore(records) {
    /** @type {Map<string, {sender: string, keyId: string, keys: [number, SkippedKey][]}>} */
    const skipped = new Map();
    for (const { name, record } of records) {
      if (equal(name, SENDING_NAME)) {
        this.#sending = await SendingKey.fromRecord(record);
        continue;
      }
      const { kind, address, keyId, number } = readName(name);
      const [sender, keyHex] = [nameOf(address), hex(keyId)];
      if (kind === "holder") {
        this.#holders.set(sender, { ...address, due: readHolder(record) });
      } else if (kind === "key") {
        const known = this.#receiving.get(sender) ?? { from: address, keys: new Map() };
        this.#receiving.set(sender, known);
        known.keys.set(keyHex, ReceivingKey.fromRecord(record));
      } else {
        const chain = skipped.get(`${keyHex}/${sender}`) ?? { sender, keyId: keyHex, keys: [] };
        skipped.set(`${keyHex}/${sender}`, chain);
        chain.keys.push([number, parseSkipped(record)]);
      }
    }
    for (const { sender, keyId, keys } of skipped.values()) {
      const key = this.#receiving.get(sender)?.keys.get(keyId);
      if (!key) throw new MalformedMessage("a stored skipped key does not belong to its group");
      key.restoreSkipped(keys);
    }
  }

  #requireMember() {
    if (!this.isMember) throw new NotAMember("this device's user is not in the group");
  }

  /**
   * The account key of whoever gives a sender key at an epoch, null while the epoch is ahead.
   *
   * @param {string} userId
   * @param {number} epoch
   */
  #accountOfKey(userId, epoch) {
    if (epoch > this.#state.epoch && this.#state.members.has(userId)) return null;
    if (!this.#state.hashAt(epoch)) throw new GroupStateMismatch("the sender key is of an epoch that is not known here");
    const account = this.#state.accountAt(userId, epoch);
    if (!account) throw new NotAMember("the owner of the sender key was no member at its epoch");
    return account;
  }

  /** After an operation: learns whose the keys were that came ahead of it, and forgets those of users long gone. */
  #settleKeys() {
    for (const sender of [...this.#receiving.values()]) {
      for (const key of [...sender.keys.values()]) {
        if (key.account) {
          if (!this.#state.knows(sender.from.userId, key.account)) this.#dropKey(sender, key);
        } else if (key.epoch <= this.#state.epoch) {
          key.account = this.#state.accountAt(sender.from.userId, key.epoch);
          if (key.account) this.#journal.put(keyName(sender.from, key.keyId), () => key.toRecord());
          else this.#dropKey(sender, key);
        }
      }
    }
  }

  /** @param {Sender} sender @param {ReceivingKey} key */
  #dropKey({ from, keys }, key) {
    keys.delete(hex(key.keyId));
    if (!keys.size) this.#receiving.delete(nameOf(from));
    this.#journal.delete(keyName(from, key.keyId));
    for (const number of key.skipped.keys()) this.#journal.delete(skippedName(from, key.keyId, number));
  }

  /** Forgets the sending key: the next `prepareSend` makes another. */
  #retire() {
    this.#sending = null;
    this.#journal.delete(SENDING_NAME);
    for (const address of this.#holders.values()) this.#journal.delete(holderName(address));
    this.#holders.clear();
  }

  /** @param {Delivery[]} deliveries @returns {Address[]} */
  #stillDue(deliveries) {
    const sending = this.#sending;
    if (!sending) return [];
    const present = deliveries.filter(({ content }) => equal(content.keyId, sending.keyId));
    const named = new Map(present.map(({ userId, deviceId }) => [nameOf({ userId, deviceId }), { userId, deviceId }]));
    return [...named].filter(([name]) => this.#holders.get(name)?.due).map(([, address]) => address);
  }

  /** @param {Address} address @param {boolean} due */
  #setHolder(address, due) {
    this.#holders.set(nameOf(address), { ...address, due });
    this.#journal.put(holderName(address), () => concat(u8(HOLDER_VERSION), u8(Number(due))));
  }

  #putState() {
    this.#journal.put(STATE_NAME, () => this.#state.toRecord());
  }
}
