/**
 * What a device does in groups, as steps inside of a transaction (the profile's section 7).
 *
 * `DeviceGroups` runs one or several of these in one `Store.run`; they stand beside the `DeviceSteps` of the same device, in the same
 * transactions. Steps take turns. When one rejects it may have changed something, and then the transaction has to fail; but `receive`
 * has not.
 */
import { encodeContent, parseContent } from "./content.js";
import { equal } from "./encoding.js";
import {
  DuplicateMessage,
  E2EEError,
  GroupStateMismatch,
  MalformedMessage,
  NoSession,
  NotAMember,
  UntrustedIdentity,
} from "./errors.js";
import { applyOperation, createGroup, joinGroup, proposeChange, resolverOf } from "./group_membership.js";
import { Operation, chainContents } from "./group_operation.js";
import { holderName } from "./group_records.js";
import { GroupCache, GroupSpace } from "./group_store.js";
import { GroupMessage } from "./sender_keys.js";
import { settled } from "./settled.js";

/** @import { DeviceCertificate } from "./certificates.js" */
/** @import { SenderKeyDistribution } from "./content.js" */
/** @import { DeviceSteps, Outgoing, Received } from "./device_steps.js" */
/** @import { Bytes } from "./encoding.js" */
/** @import { GroupDevice, SenderKeyGroup } from "./group.js" */
/** @import { Member, OperationKind, Role } from "./group_operation.js" */
/** @import { Address } from "./group_records.js" */
/** @import { Transaction } from "./transaction.js" */
/**
 * @typedef {object} GroupView  a group as this device sees it after operation `epoch`
 * @property {Bytes} groupId
 * @property {number} epoch
 * @property {Bytes} hash  that of its state, the same for all who agree
 * @property {Map<string, Member>} members
 * @property {boolean} isMember  whether this device's user is in it, under this device's account key
 */
/**
 * @typedef {object} GroupSent  a message for a group, once the transaction that made it is committed
 * @property {Bytes} groupId
 * @property {number} epoch
 * @property {Bytes} message  for every device of every member
 * @property {Outgoing[]} keys  go first, each to the device that it names: they carry the sender key
 * @property {Address[]} leftOut  cannot read the message, for want of a session, and get the key with a later one
 * @property {string[]} unreachable  members without known devices, or with an account key in doubt
 * @property {string[]} withheld  members with another account key than the group knows (renew)
 */
/** @typedef {Address & {groupId: Bytes, epoch: number, data: Bytes}} GroupReceived  what one device said to a group, when that was at operation `epoch` */
/**
 * @typedef {{groupId: Bytes, operations: Bytes[], certificates: Bytes[]}} GroupChain  all operations of a group, and the certificates of the
 *   devices that signed them, also of those that were removed since
 */

/** @param {Address} one @param {Address} other */
const same = (one, other) => one.userId === other.userId && one.deviceId === other.deviceId;

/** @param {SenderKeyGroup} group @returns {GroupView} */
function viewOf(group) {
  const { groupId, epoch, isMember, state } = group;
  return { groupId, epoch, hash: state.hash, members: new Map(group.members), isMember };
}

/** @param {Operation[]} operations */
const inOrder = (operations) => operations.toSorted((one, other) => one.epoch - other.epoch);

/**
 * The error of a step, or null; what the store refuses rejects.
 *
 * @param {() => Promise<unknown>} step
 * @returns {Promise<E2EEError | null>}
 */
async function refusalOf(step) {
  const result = await settled(step());
  return result instanceof E2EEError ? result : null;
}

/** The steps of one device in its groups. It follows the device's own steps (`DeviceSteps.follow`). */
export class GroupSteps {
  #steps;
  #cache = new GroupCache();
  /** @type {GroupSpace | null} */ #space = null;

  /** @param {DeviceSteps} steps */
  constructor(steps) {
    this.#steps = steps;
    steps.follow(this);
  }

  /** One for each transaction. @param {Transaction} tx */
  #groups(tx) {
    if (this.#space?.tx !== tx) this.#space = new GroupSpace(tx, this.#steps.local.certificate, this.#cache, this.#steps.limits);
    return this.#space;
  }

  // What there is

  /** The ids of all groups that are kept. @param {Transaction} tx */
  ids(tx) {
    return this.#groups(tx).ids();
  }

  /** The group as this device sees it, or null. @param {Transaction} tx @param {Bytes} groupId */
  async view(tx, groupId) {
    const group = await this.#groups(tx).find(groupId);
    return group && viewOf(group);
  }

  /** See `DeviceGroups.chain`. @param {Transaction} tx @param {Bytes} groupId @returns {Promise<GroupChain>} */
  async chain(tx, groupId) {
    const space = this.#groups(tx);
    await space.get(groupId);
    const log = await space.log(groupId);
    /** @type {Bytes[]} */
    const certificates = [];
    for (const { certificate } of log) if (!certificates.some((other) => equal(other, certificate))) certificates.push(certificate);
    return { groupId, operations: log.map(({ operation }) => operation), certificates };
  }

  /** See `DeviceGroups.forget`. @param {Transaction} tx @param {Bytes} groupId */
  forget(tx, groupId) {
    return this.#groups(tx).drop(groupId);
  }

  // Who is in it

  /** See `DeviceGroups.create`. @param {Transaction} tx @param {{users: string[], admins: string[], now: number}} options */
  create(tx, options) {
    return createGroup(this.#groups(tx), this.#steps, options);
  }

  /**
   * The next operation of a group, signed and not applied; `users` are whom it is about.
   *
   * @param {Transaction} tx
   * @param {Bytes} groupId
   * @param {OperationKind} kind
   * @param {{users?: string[], role?: Role, now: number}} options
   * @returns {Promise<Operation>} rejects with `GroupStateMismatch`, `NotAMember`, `LimitReached`, and as `DeviceSteps.trusted` does for
   *   somebody to be added
   */
  propose(tx, groupId, kind, { users = [], role = "member", now }) {
    return proposeChange(this.#groups(tx), this.#steps, groupId, kind, { users, role, now });
  }

  /**
   * See `DeviceGroups.join`.
   *
   * @param {Transaction} tx
   * @param {Operation[]} operations
   * @param {DeviceCertificate[]} certificates
   */
  async join(tx, operations, certificates) {
    const [space, ordered] = [this.#groups(tx), inOrder(operations)];
    if (!ordered.length) throw new GroupStateMismatch("a chain has at least the creation of the group");
    let group = await space.find(ordered[0].groupId);
    if (group) {
      await this.apply(tx, ordered, { certificates, replay: true });
    } else {
      group = await joinGroup(space, this.#steps, ordered, await resolverOf(space, this.#steps, { certificates, replay: true }));
      await this.#settle(tx, group, [...group.members.keys()]);
    }
    return viewOf(group);
  }

  /**
   * See `DeviceGroups.apply`; what comes before the one that it rejects for has been applied.
   *
   * @param {Transaction} tx
   * @param {Operation[]} operations
   * @param {{certificates?: DeviceCertificate[], replay?: boolean}} [options]
   */
  async apply(tx, operations, { certificates = [], replay = false } = {}) {
    const space = this.#groups(tx);
    const resolve = await resolverOf(space, this.#steps, { certificates, replay });
    const applied = [];
    for (const operation of inOrder(operations)) {
      if (!(await applyOperation(space, this.#steps, operation, resolve))) continue;
      const named = operation.members.map(({ userId }) => userId);
      await this.#settle(tx, await space.get(operation.groupId), named);
      applied.push(operation);
    }
    return applied;
  }

  /** See `DeviceGroups.sendChain`. @param {Transaction} tx @param {Bytes} groupId @param {string} userId @param {number} now */
  async sendChain(tx, groupId, userId, now) {
    if (!(await this.#groups(tx).get(groupId)).members.has(userId)) throw new NotAMember("the chain is for members");
    const { operations } = await this.chain(tx, groupId);
    const { devices } = await this.#steps.trusted(tx, userId);
    const to = devices.map((deviceId) => ({ userId, deviceId })).filter((address) => !same(address, this.#steps.own));
    const sent = [];
    for (const address of to) {
      for (const piece of chainContents(groupId, operations, this.#steps.limits)) {
        sent.push(await this.#steps.encryptTo(tx, address, piece, now));
      }
    }
    return sent;
  }

  // What is said

  /**
   * See `DeviceGroups.needsBundles`.
   *
   * @param {Transaction} tx
   * @param {Bytes} groupId
   * @param {{now: number, skipMissing?: boolean}} options
   */
  async needsBundles(tx, groupId, { now, skipMissing = false }) {
    const group = await this.#groups(tx).get(groupId);
    const { devices } = await this.#devices(tx, group, skipMissing);
    return this.#steps.withoutSession(tx, group.lacking(devices, { now }), now);
  }

  /**
   * See `DeviceGroups.send`.
   *
   * @param {Transaction} tx
   * @param {Bytes} groupId
   * @param {Uint8Array} data
   * @param {{now: number, skipMissing?: boolean}} options
   * @returns {Promise<GroupSent>}
   */
  async send(tx, groupId, data, { now, skipMissing = false }) {
    const group = await this.#groups(tx).get(groupId);
    const { devices, unreachable } = await this.#devices(tx, group, skipMissing);
    const random = this.#steps.random;
    const deliveries = await group.prepareSend(devices, { now, random });
    const leftOut = await this.#steps.withoutSession(tx, deliveries.map(({ userId, deviceId }) => ({ userId, deviceId })), now);
    if (leftOut.length && !skipMissing) {
      throw new NoSession(`${leftOut.length} devices of the group have no session; start them (needsBundles)`);
    }
    const unsent = deliveries.filter((delivery) => leftOut.some((address) => same(address, delivery)));
    const sent = deliveries.filter((delivery) => !unsent.includes(delivery));
    const keys = [];
    for (const { content, ...address } of sent) keys.push(await this.#steps.encryptTo(tx, address, content, now));
    group.markDistributed(sent);
    group.markUnsent(unsent);
    const content = encodeContent({ kind: "application", data: new Uint8Array(data) });
    const message = await group.encrypt(content, { now, random });
    return { groupId, epoch: group.epoch, message, keys, leftOut, unreachable, withheld: group.withheld };
  }

  /**
   * See `DeviceGroups.receive`. When it rejects nothing has changed, but that malformed content counts as read.
   *
   * @param {Transaction} tx
   * @param {Address} from
   * @param {Uint8Array} message
   * @param {number} now
   * @returns {Promise<GroupReceived>}
   */
  async receive(tx, { userId, deviceId }, message, now) {
    const { groupId, epoch } = GroupMessage.parse(message);
    const group = await this.#groups(tx).get(groupId);
    const from = { userId, deviceId };
    if (same(from, this.#steps.own)) throw new DuplicateMessage("this device said that itself");
    await this.#checkDevice(tx, group, from, epoch);
    const content = parseContent(await group.decrypt(from, message, { now }));
    if (content.kind !== "application") throw new MalformedMessage("a message to a group holds something that is for one device alone");
    return { groupId, epoch, ...from, data: content.data };
  }

  /**
   * Makes a new sender key in each group before the next message to it, for a copy of the store may have used this one.
   *
   * @param {Transaction} tx
   */
  async renewKeys(tx) {
    const space = this.#groups(tx);
    for (const groupId of await space.ids()) (await space.get(groupId)).renewKey();
  }

  // What comes through the sessions

  /**
   * See `Follower`: takes sender keys and operations, and gives keys again to who begins anew.
   *
   * @param {Transaction} tx
   * @param {Received} received
   */
  received(tx, { userId, deviceId, content }) {
    const [space, address] = [this.#groups(tx), { userId, deviceId }];
    return refusalOf(async () => {
      if (content.kind === "senderKey") {
        await this.#takeKey(tx, address, content);
      } else if (content.kind === "groupOperations" && (await space.find(content.groupId))) {
        const operations = content.operations.map((operation) => Operation.parse(operation));
        if (operations.some(({ groupId }) => !equal(groupId, content.groupId))) {
          throw new MalformedMessage("a chain with operations of another group");
        }
        await this.apply(tx, operations);
      } else if (content.kind === "reset") {
        for (const group of await space.withRecord(holderName(address))) group.giveAgain(address);
      }
    });
  }

  /**
   * See `Follower`: nothing that they said counts, and no key that they have is used again.
   *
   * @param {Transaction} tx
   * @param {string} userId
   * @param {number[]} gone
   */
  async devicesLeft(tx, userId, gone) {
    const space = this.#groups(tx);
    const devices = (await this.#steps.peer(tx, userId))?.devices ?? [];
    for (const deviceId of gone) await space.forgetWaiting({ userId, deviceId });
    for (const groupId of await space.ids()) await (await space.get(groupId)).updateDevices(userId, devices);
  }

  /** @param {Transaction} tx @param {Address} address @param {SenderKeyDistribution} key */
  async #takeKey(tx, address, key) {
    const space = this.#groups(tx);
    const group = await space.find(key.groupId);
    if (!group || (key.epoch > group.epoch && !group.members.has(address.userId))) return space.wait(address, key);
    await this.#checkDevice(tx, group, address, key.epoch);
    await group.receiveKey(address, key);
  }

  /**
   * Takes the sender keys of these users that came before the group knew them; those that do not count are dropped.
   *
   * @param {Transaction} tx
   * @param {SenderKeyGroup} group
   * @param {string[]} users
   */
  async #settle(tx, group, users) {
    for (const userId of users) {
      for (const deviceId of (await this.#steps.peer(tx, userId))?.devices ?? []) {
        const address = { userId, deviceId };
        for (const key of await this.#groups(tx).waited(address, group.groupId)) await refusalOf(() => this.#takeKey(tx, address, key));
      }
    }
  }

  /**
   * `UntrustedIdentity` for a device that is not on its user's list, `NotAMember` for one of another account key.
   *
   * @param {Transaction} tx
   * @param {SenderKeyGroup} group
   * @param {Address} from
   * @param {number} epoch
   */
  async #checkDevice(tx, group, { userId, deviceId }, epoch) {
    const certificate = await this.#steps.presentCertificate(tx, userId, deviceId);
    if (!certificate) throw new UntrustedIdentity("a group's message or key is not from a device that is known");
    const account = group.state.accountAt(userId, epoch);
    if (account && !equal(account, certificate.account)) throw new NotAMember("the group knows the sender under another account key");
  }

  /**
   * All devices of all members, and the members whose devices are not known for sure.
   *
   * @param {Transaction} tx
   * @param {SenderKeyGroup} group
   * @param {boolean} skipMissing
   */
  async #devices(tx, group, skipMissing) {
    /** @type {GroupDevice[]} */
    const devices = [];
    /** @type {string[]} */
    const unreachable = [];
    for (const userId of group.members.keys()) {
      try {
        const { account, devices: known } = await this.#steps.trusted(tx, userId);
        devices.push(...known.map((deviceId) => ({ userId, deviceId, account })));
      } catch (error) {
        const doubtful = error instanceof NoSession || error instanceof UntrustedIdentity;
        if (!doubtful || !skipMissing || userId === this.#steps.own.userId) throw error;
        unreachable.push(userId);
      }
    }
    return { devices, unreachable };
  }
}
