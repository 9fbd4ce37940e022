/**
 * Groups of a device, as an application uses them: `Device.groups`.
 *
 * Operations and messages are for everybody; the application carries them, and the server puts the operations in order: one counts when
 * it was the first of its epoch, and every device, also the one that signed it, then takes it with `apply`.
 */
import { DeviceCertificate } from "./certificates.js";
import { E2EEError } from "./errors.js";
import { Operation } from "./group_operation.js";
import { settled } from "./settled.js";

/** @import { Outgoing } from "./device_steps.js" */
/** @import { Bytes } from "./encoding.js" */
/** @import { OperationKind, Role } from "./group_operation.js" */
/** @import { Address } from "./group_records.js" */
/** @import { GroupChain, GroupReceived, GroupSent, GroupSteps, GroupView } from "./group_steps.js" */
/** @import { Store, Transaction } from "./transaction.js" */
/** @typedef {(tx: Transaction, received: GroupReceived) => Promise<void> | void} OnGroupPlaintext  as `OnPlaintext` of a device */

/** @param {Uint8Array[]} operations @param {Uint8Array[]} certificates */
const parsed = (operations, certificates) => ({
  operations: operations.map((data) => Operation.parse(data)),
  certificates: certificates.map((data) => DeviceCertificate.parse(data)),
});

/**
 * The groups of one device. Each call is one transaction of the device's store, with all that it changes of sessions too.
 *
 * All methods reject as `Store.run` does, and with `GroupStateMismatch` for a group that is not kept here.
 */
export class DeviceGroups {
  #store;
  #now;

  /** Made by `Device`. @param {Store} store @param {GroupSteps} steps @param {() => number} now */
  constructor(store, steps, now) {
    this.#store = store;
    this.#now = now;
    /** The same things as steps, to be called in a transaction (`Device.run`) together with other work. */
    this.steps = steps;
  }

  /** The ids of all groups that are kept, also of those whose member this device's user is no longer. */
  ids() {
    return this.#store.run((tx) => this.steps.ids(tx));
  }

  /** Who is in a group, as far as this device has followed it; null for a group that is not kept. @param {Bytes} groupId */
  view(groupId) {
    return this.#store.run((tx) => this.steps.view(tx, groupId));
  }

  /**
   * A new group of the own user, an admin, and others, of whom `admins` are ones too. Its operation is for everybody.
   *
   * Everybody is in it under the account key that is trusted now.
   *
   * @param {string[]} users
   * @param {{admins?: string[]}} [options]
   * @returns {Promise<Operation>} rejects with `NoSession` for a user whose devices are not known, `UntrustedIdentity` for one whose account
   *   key is in doubt, `MalformedMessage` for one that is named twice, `LimitReached`
   */
  create(users, { admins = [] } = {}) {
    return this.#store.run((tx) => this.steps.create(tx, { users, admins, now: this.#now() }));
  }

  /**
   * The operation that adds these users; send them the chain once it is applied (`sendChain`).
   *
   * @param {Bytes} groupId
   * @param {string[]} users
   * @param {Role} [role]
   * @returns {Promise<Operation>} rejects as `create` does, with `GroupStateMismatch` for a member or where this user is no admin, and
   *   `NotAMember` where it is not in the group
   */
  add(groupId, users, role = "member") {
    return this.#propose(groupId, "add", users, role);
  }

  /**
   * The operation that removes these users, or lets the own one leave. Once it is applied, they read nothing that is sent.
   *
   * @param {Bytes} groupId
   * @param {string[]} users
   * @returns {Promise<Operation>} rejects with `GroupStateMismatch` for somebody who is no member, where this user is no admin, or for the
   *   last admin
   */
  remove(groupId, users) {
    return this.#propose(groupId, "remove", users);
  }

  /**
   * The operation that makes a member an admin, or an admin a member; rejects with `GroupStateMismatch`, `NotAMember`.
   *
   * @param {Bytes} groupId
   * @param {string} userId
   * @param {Role} role
   */
  setRole(groupId, userId, role) {
    return this.#propose(groupId, "role", [userId], role);
  }

  /**
   * The operation that puts the account key of a member that is trusted now in the place of an older one; rejects with
   * `GroupStateMismatch` where it is the same, and as `add` does.
   *
   * @param {Bytes} groupId
   * @param {string} userId
   */
  renew(groupId, userId) {
    return this.#propose(groupId, "renew", [userId]);
  }

  /**
   * The operation after which everybody makes a new sender key: sign it when a device may have been read by somebody.
   *
   * @param {Bytes} groupId
   */
  rekey(groupId) {
    return this.#propose(groupId, "rekey");
  }

  /** @param {Bytes} groupId @param {OperationKind} kind @param {string[]} [users] @param {Role} [role] */
  #propose(groupId, kind, users, role) {
    return this.#store.run((tx) => this.steps.propose(tx, groupId, kind, { users, role, now: this.#now() }));
  }

  /**
   * Takes part in the group of a whole chain: what somebody sent as group operations, in any order, or what the server keeps.
   *
   * A group that is kept already is brought up to the end of the chain.
   *
   * @param {Uint8Array[]} operations
   * @param {Uint8Array[]} [certificates]  those of signers whom this device does not know, or no longer (`GroupChain`)
   * @returns {Promise<GroupView>} rejects with `MalformedMessage`, `NotAMember` where the chain ends without this device's user,
   *   `UntrustedIdentity` for a signer whose certificate is missing, `BadSignature`, `GroupStateMismatch`, and `LimitReached`
   */
  async join(operations, certificates = []) {
    const given = parsed(operations, certificates);
    return this.#store.run((tx) => this.steps.join(tx, given.operations, given.certificates));
  }

  /**
   * Takes operations, of one group or several; what was taken before changes nothing and is not in the result. All or none.
   *
   * A new operation counts from a device that is on its user's list now. With `replay` operations that were missed are caught up with:
   * their signers may be off the lists since, and `certificates` may have to say who they were.
   *
   * @param {Uint8Array[]} operations
   * @param {{certificates?: Uint8Array[], replay?: boolean}} [options]
   * @returns {Promise<Operation[]>} rejects with `MalformedMessage`, `GroupStateMismatch` for one that does not follow, or where another one
   *   was taken in its place, `NotAMember` and `UntrustedIdentity` for its signer, `BadSignature`, and `LimitReached`
   */
  async apply(operations, { certificates = [], replay = false } = {}) {
    const given = parsed(operations, certificates);
    return this.#store.run((tx) => this.steps.apply(tx, given.operations, { certificates: given.certificates, replay }));
  }

  /**
   * All operations of a group, and who signed them: for somebody who joins, and for the backup.
   *
   * @param {Bytes} groupId
   * @returns {Promise<GroupChain>}
   */
  chain(groupId) {
    return this.#store.run((tx) => this.steps.chain(tx, groupId));
  }

  /**
   * The operations of a group for a member, to each of its devices, the own one excepted, through their sessions.
   *
   * @param {Bytes} groupId
   * @param {string} userId
   * @returns {Promise<Outgoing[]>} rejects with `NotAMember`, `NoSession` (`Device.needsBundles`), `UntrustedIdentity`
   */
  sendChain(groupId, userId) {
    return this.#store.run((tx) => this.steps.sendChain(tx, groupId, userId, this.#now()));
  }

  /**
   * The devices whose bundles have to be fetched and started (`Device.start`) before `send`; rejects as that does.
   *
   * @param {Bytes} groupId
   * @param {{skipMissing?: boolean}} [options]
   * @returns {Promise<Address[]>}
   */
  needsBundles(groupId, { skipMissing = false } = {}) {
    return this.#store.run((tx) => this.steps.needsBundles(tx, groupId, { skipMissing, now: this.#now() }));
  }

  /**
   * Says something to a group: one message for all, and the sender key for each device that does not have it yet.
   *
   * A new sender key is made where somebody who had the last one is gone, and when it is worn.
   *
   * @param {Bytes} groupId
   * @param {Uint8Array} data
   * @param {{skipMissing?: boolean}} [options]  leaves out members whose devices are not known or whose account key is in doubt, and devices
   *   without a session
   * @returns {Promise<GroupSent>} rejects with `NotAMember` where this device's user is none (any more), `NoSession` and `UntrustedIdentity`
   *   for what would be left out, and `LimitReached` for too many devices or too much content
   */
  async send(groupId, data, options = {}) {
    const [sent] = await this.sendMany([{ groupId, data }], options);
    return sent;
  }

  /**
   * Many contents, each for the group named with it, in one transaction; if one fails as `send` may, none is sent.
   *
   * @param {{groupId: Bytes, data: Uint8Array}[]} contents
   * @param {{skipMissing?: boolean}} [options]
   */
  sendMany(contents, { skipMissing = false } = {}) {
    return this.#store.run(async (tx) => {
      const now = this.#now();
      const sent = [];
      for (const { groupId, data } of contents) sent.push(await this.steps.send(tx, groupId, data, { skipMissing, now }));
      return sent;
    });
  }

  /**
   * Reads one message of a device to a group, with `onPlaintext` as in `Device.decrypt`.
   *
   * `GroupStateMismatch` (an operation, or the whole chain, has not come) and `UnknownSenderKey` (the key has not come through the session)
   * mean: keep the message, and try again after the next operation or message of that device. A key that stays away is asked for with
   * `Device.reset`.
   *
   * @param {Address} from
   * @param {Uint8Array} message
   * @param {OnGroupPlaintext} [onPlaintext]
   * @returns {Promise<GroupReceived>} rejects further with `MalformedMessage`, `UntrustedIdentity` for a device that is not on its user's
   *   list, `NotAMember` where the sender or this user was none then, `BadSignature`, `DuplicateMessage`, `TooManySkipped`,
   *   `CounterExhausted`
   */
  receive(from, message, onPlaintext) {
    return this.#store.run(async (tx) => {
      const received = await this.steps.receive(tx, from, message, this.#now());
      await onPlaintext?.(tx, received);
      return received;
    });
  }

  /**
   * Reads many messages in one transaction; in the place of one that cannot be read stands what `receive` would reject with.
   *
   * What `onPlaintext` throws rejects this call, and then no message counts as read.
   *
   * @param {(Address & {message: Uint8Array})[]} messages
   * @param {OnGroupPlaintext} [onPlaintext]
   * @returns {Promise<(GroupReceived | E2EEError)[]>}
   */
  receiveMany(messages, onPlaintext) {
    return this.#store.run(async (tx) => {
      const now = this.#now();
      const results = [];
      for (const { message, ...from } of messages) {
        const received = await settled(this.steps.receive(tx, from, message, now));
        if (!(received instanceof E2EEError)) await onPlaintext?.(tx, received);
        results.push(received);
      }
      return results;
    });
  }

  /**
   * Deletes all that is kept of a group. Leave it first (`remove`), or others go on giving this device their keys.
   *
   * @param {Bytes} groupId
   */
  forget(groupId) {
    return this.#store.run((tx) => this.steps.forget(tx, groupId));
  }
}
