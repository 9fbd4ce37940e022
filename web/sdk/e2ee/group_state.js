/**
 * Who is in a group: a chain of signed operations, each device for itself replaying it (the profile's section 7).
 *
 * No server can add anybody: an operation counts only when a device of an admin signed it, over the hash of everything before it. That
 * hash is in every group message, so two devices that were shown different chains cannot read each other.
 */
import { NO_HASH } from "./certificates.js";
import { GROUP_ID_BYTES } from "./content.js";
import { Reader, concat, equal, lp, u16, u32, u8, userBytes } from "./encoding.js";
import { GroupStateMismatch, LimitReached, MalformedMessage, NotAMember, UnsupportedVersion, UntrustedIdentity } from "./errors.js";
import { Operation, encodeMember, readMember } from "./group_operation.js";
import { DEFAULT_LIMITS } from "./limits.js";
import { KEY_BYTES } from "./suite.js";

/** @import { DeviceCertificate } from "./certificates.js" */
/** @import { Bytes } from "./encoding.js" */
/** @import { Member } from "./group_operation.js" */
/** @import { Limits } from "./limits.js" */
/**
 * @typedef {(userId: string, deviceId: number) => DeviceCertificate | null | Promise<DeviceCertificate | null>} Resolver
 *   the verified certificate of a device, or null where there is none. For a new operation it answers from the user's present device
 *   list; for the replay of a chain, from every certificate that the account ever signed.
 */
/** @typedef {{account: Bytes, since: number, until: number}} Stay  a user was a member under `account` from `since` on and no longer at `until` */
/** @typedef {ReadonlyMap<string, Member>} Members  by user id */

const RECORD_VERSION = 1;
// An epoch that no chain reaches: the end of a stay that has not ended.
const OPEN = 2 ** 32 - 1;

/** @param {Members} members @param {Limits} limits */
function checkSize(members, { maxGroupMembers }) {
  if (members.size > maxGroupMembers) throw new LimitReached(`a group has at most ${maxGroupMembers} members (maxGroupMembers)`);
}

/** @param {Operation} operation @param {Member} signer @param {Resolver} resolve */
async function checkSignature(operation, signer, resolve) {
  const certificate = await resolve(operation.signerUser, operation.signerDevice);
  if (!certificate) throw new UntrustedIdentity("the signer's device is not one of its account", { trusted: signer.account });
  if (!equal(certificate.account, signer.account)) {
    const keys = { trusted: signer.account, met: certificate.account };
    throw new UntrustedIdentity("the signer's device is of another account key", keys);
  }
  await operation.verify(certificate.signing);
}

/**
 * Puts the one member of a role or renew operation in the place of the one that it names.
 *
 * @param {Map<string, Member>} members
 * @param {Operation} operation
 */
function replaceMember(members, operation) {
  const [after] = operation.members;
  const before = members.get(after.userId);
  if (!before) throw new GroupStateMismatch("the operation names somebody who is no member");
  if (equal(before.account, after.account) !== (operation.kind === "role")) {
    throw new GroupStateMismatch("a role keeps the account key, and a renewal changes it");
  }
  if (operation.kind === "renew" && before.role !== after.role) throw new GroupStateMismatch("a renewal keeps the role");
  members.set(after.userId, after);
}

/** A group after one of its operations; `apply` gives the next state and leaves this one as it is. */
export class GroupState {
  #stays;

  /**
   * @param {Bytes} groupId
   * @param {number} epoch
   * @param {Bytes[]} hashes  of the last epochs, the oldest first and that of `epoch` last
   * @param {Members} members
   * @param {ReadonlyMap<string, Stay[]>} stays
   */
  constructor(groupId, epoch, hashes, members, stays) {
    this.groupId = groupId;
    this.epoch = epoch;
    this.hashes = hashes;
    this.members = members;
    this.#stays = stays;
    Object.freeze(this);
  }

  /** The hash of the present state. */
  get hash() {
    return this.hashes[this.hashes.length - 1];
  }

  /**
   * The state after the first operation of a chain; rejects as `apply` does.
   *
   * @param {Operation} operation
   * @param {Resolver} resolve
   * @param {Limits} [limits]
   */
  static async create(operation, resolve, limits = DEFAULT_LIMITS) {
    if (operation.kind !== "create" || operation.epoch !== 0 || !equal(operation.prevHash, NO_HASH)) {
      throw new GroupStateMismatch("a chain starts with the creation of the group");
    }
    const members = new Map(operation.members.map((member) => [member.userId, member]));
    const signer = members.get(operation.signerUser);
    if (!signer) throw new NotAMember("who creates a group is a member of it");
    await checkSignature(operation, signer, resolve);
    if (signer.role !== "admin") throw new GroupStateMismatch("who creates a group is an admin of it");
    checkSize(members, limits);
    const stays = new Map(operation.members.map(({ userId, account }) => [userId, [{ account, since: 0, until: OPEN }]]));
    return new GroupState(operation.groupId, 0, [await operation.stateHash()], members, stays);
  }

  /**
   * The state after a whole chain; rejects as `apply` does, and with `GroupStateMismatch` for an empty one.
   *
   * @param {Uint8Array[]} operations
   * @param {Resolver} resolve
   * @param {Limits} [limits]
   */
  static async replay(operations, resolve, limits = DEFAULT_LIMITS) {
    /** @type {GroupState | null} */
    let state = null;
    for (const encoded of operations) {
      const operation = Operation.parse(encoded);
      state = state ? await state.apply(operation, resolve, limits) : await GroupState.create(operation, resolve, limits);
    }
    if (!state) throw new GroupStateMismatch("a chain has at least the creation of the group");
    return state;
  }

  /**
   * The state after `operation`.
   *
   * @param {Operation} operation
   * @param {Resolver} resolve
   * @param {Limits} [limits]
   * @returns {Promise<GroupState>} rejects with `GroupStateMismatch` for an operation that does not follow this state or is not within
   *   the signer's rights, `NotAMember`, `UntrustedIdentity` for a device that is not one of the signer's account, `BadSignature`, `LimitReached`
   */
  async apply(operation, resolve, limits = DEFAULT_LIMITS) {
    const follows = operation.epoch === this.epoch + 1 && equal(operation.prevHash, this.hash);
    if (!follows || !equal(operation.groupId, this.groupId)) throw new GroupStateMismatch("the operation does not follow the group's state");
    const signer = this.members.get(operation.signerUser);
    if (!signer) throw new NotAMember("the signer of the operation is no member");
    await checkSignature(operation, signer, resolve);
    const members = this.changed(operation, limits);
    const hashes = [...this.hashes, await operation.stateHash()].slice(-limits.groupEpochsKept);
    const stays = this.#nextStays(members, operation.epoch, operation.epoch - hashes.length + 1);
    return new GroupState(this.groupId, operation.epoch, hashes, members, stays);
  }

  /**
   * The members after `operation`, by its content alone: neither its place in the chain nor its signature is looked at.
   *
   * @param {Operation} operation
   * @param {Limits} [limits]
   * @returns {Members} throws `GroupStateMismatch`, `NotAMember` and `LimitReached` as `apply` does
   */
  changed(operation, limits = DEFAULT_LIMITS) {
    const signer = this.members.get(operation.signerUser);
    if (!signer) throw new NotAMember("the signer of the operation is no member");
    const leaving = operation.kind === "remove" && operation.users.length === 1 && operation.users[0] === operation.signerUser;
    if (signer.role !== "admin" && !leaving) throw new GroupStateMismatch("only an admin changes the group");
    const members = new Map(this.members);
    switch (operation.kind) {
      case "create":
        throw new GroupStateMismatch("a group is created once");
      case "add":
        for (const member of operation.members) {
          if (members.has(member.userId)) throw new GroupStateMismatch("somebody who is to be added is a member");
          members.set(member.userId, member);
        }
        break;
      case "remove":
        for (const userId of operation.users) {
          if (!members.delete(userId)) throw new GroupStateMismatch("somebody who is to be removed is no member");
        }
        break;
      case "role":
      case "renew":
        replaceMember(members, operation);
        break;
      case "rekey":
        break;
    }
    checkSize(members, limits);
    if (members.size && ![...members.values()].some(({ role }) => role === "admin")) {
      throw new GroupStateMismatch("the last admin stays one while others are in the group");
    }
    return members;
  }

  /** The hash of the state at `epoch`, or null for an epoch that is ahead or no longer kept. @param {number} epoch */
  hashAt(epoch) {
    const back = this.epoch - epoch;
    return back >= 0 && back < this.hashes.length ? this.hashes[this.hashes.length - 1 - back] : null;
  }

  /**
   * The account key under which the user was a member at a kept epoch, or null if it was none.
   *
   * @param {string} userId
   * @param {number} epoch
   */
  accountAt(userId, epoch) {
    return this.#stays.get(userId)?.find(({ since, until }) => since <= epoch && epoch < until)?.account ?? null;
  }

  /** Whether the user was a member under `account` at any kept epoch. @param {string} userId @param {Bytes} account */
  knows(userId, account) {
    return (this.#stays.get(userId) ?? []).some((stay) => equal(stay.account, account));
  }

  /**
   * The stays once `members` are those of `epoch`; what ended before `oldest` is forgotten, for its hashes are too.
   *
   * @param {Members} members
   * @param {number} epoch
   * @param {number} oldest
   */
  #nextStays(members, epoch, oldest) {
    const stays = new Map(this.#stays);
    for (const userId of new Set([...this.members.keys(), ...members.keys()])) {
      const [before, after] = [this.members.get(userId), members.get(userId)];
      if (before && after && equal(before.account, after.account)) continue;
      let ofUser = stays.get(userId) ?? [];
      if (before) ofUser = [...ofUser.slice(0, -1), { ...ofUser[ofUser.length - 1], until: epoch }];
      if (after) ofUser = [...ofUser, { account: after.account, since: epoch, until: OPEN }];
      stays.set(userId, ofUser);
    }
    for (const [userId, ofUser] of stays) {
      const kept = ofUser.filter(({ until }) => until > oldest);
      if (kept.length) stays.set(userId, kept);
      else stays.delete(userId);
    }
    return stays;
  }

  /** The state as it is stored. @returns {Bytes} */
  toRecord() {
    const members = [...this.members.values()].map(encodeMember);
    const stays = [...this.#stays].flatMap(([userId, ofUser]) =>
      ofUser.map(({ account, since, until }) => concat(lp(userBytes(userId)), account, u32(since), u32(until))),
    );
    const head = concat(u8(RECORD_VERSION), this.groupId, u32(this.epoch), u16(this.hashes.length), ...this.hashes);
    return concat(head, u16(members.length), ...members, u32(stays.length), ...stays);
  }

  /** What `toRecord` wrote; `MalformedMessage` for anything else. @param {Uint8Array} record */
  static fromRecord(record) {
    const reader = new Reader(record);
    const version = reader.u8();
    if (version !== RECORD_VERSION) throw new UnsupportedVersion(`a group record of version ${version}`);
    const [groupId, epoch] = [reader.take(GROUP_ID_BYTES), reader.u32()];
    const hashes = Array.from({ length: reader.u16() }, () => reader.take(NO_HASH.length));
    if (!hashes.length) throw new MalformedMessage("a group record without a hash");
    const members = new Map(Array.from({ length: reader.u16() }, () => readMember(reader)).map((member) => [member.userId, member]));
    /** @type {Map<string, Stay[]>} */
    const stays = new Map();
    for (let left = reader.u32(); left > 0; left -= 1) {
      const userId = reader.user();
      const stay = { account: reader.take(KEY_BYTES), since: reader.u32(), until: reader.u32() };
      stays.set(userId, [...(stays.get(userId) ?? []), stay]);
    }
    reader.done();
    return new GroupState(groupId, epoch, hashes, members, stays);
  }
}
