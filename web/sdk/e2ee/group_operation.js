/** One operation of a group's chain: its bytes, and its signature (the profile's section 7). */
import { NO_HASH } from "./certificates.js";
import { GROUP_ID_BYTES, encodeContent } from "./content.js";
import { Reader, checkDeviceId, compare, concat, fixed, lp, u16, u32, u64, u8, userBytes } from "./encoding.js";
import { LimitReached, MalformedMessage, UnsupportedVersion } from "./errors.js";
import { DEFAULT_LIMITS } from "./limits.js";
import { KEY_BYTES, SIGNATURE_BYTES, label, sha256, sign, verify } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { GroupOperations } from "./content.js" */
/** @import { Limits } from "./limits.js" */
/** @import { KeyPair } from "./suite.js" */
/** @typedef {"create" | "add" | "remove" | "role" | "renew" | "rekey"} OperationKind */
/** @typedef {"member" | "admin"} Role  an admin signs operations, a member only its own leaving */
/** @typedef {{userId: string, account: Bytes, role: Role}} Member  under the account key that the group knows it by */

const VERSION = 1;
// What the length before an operation can say. 256 members with ids of 200 bytes fit.
const MAX_BYTES = 65_535;
const LENGTH_BYTES = 2;
/** In the order of their numbers, from 1 on. @type {OperationKind[]} */
const KINDS = ["create", "add", "remove", "role", "renew", "rekey"];
/** @type {Role[]} */
const ROLES = ["member", "admin"];

/** @param {Member} member */
export function encodeMember({ userId, account, role }) {
  return concat(lp(userBytes(userId)), fixed(account, KEY_BYTES), u8(ROLES.indexOf(role)));
}

/** @param {Reader} reader @returns {Member} */
export function readMember(reader) {
  const [userId, account, number] = [reader.user(), reader.take(KEY_BYTES), reader.u8()];
  const role = ROLES[number];
  if (role === undefined) throw new MalformedMessage(`no role has the number ${number}`);
  return { userId, account, role };
}

/** One set of users has one encoding, so that no two chains mean the same. @param {string[]} users */
function checkOrder(users) {
  const encoded = users.map(userBytes);
  if (!encoded.length) throw new MalformedMessage("a group operation names nobody");
  if (encoded.some((user, index) => index > 0 && compare(encoded[index - 1], user) >= 0)) {
    throw new MalformedMessage("the users of a group operation do not ascend");
  }
}

/** @param {Reader} reader @param {OperationKind} kind @returns {{members: Member[], users: string[]}} */
function readArguments(reader, kind) {
  if (kind === "rekey") return { members: [], users: [] };
  if (kind === "role" || kind === "renew") return { members: [readMember(reader)], users: [] };
  const count = reader.u16();
  if (kind === "remove") {
    const users = Array.from({ length: count }, () => reader.user());
    checkOrder(users);
    return { members: [], users };
  }
  const members = Array.from({ length: count }, () => readMember(reader));
  checkOrder(members.map(({ userId }) => userId));
  return { members, users: [] };
}

/** @param {OperationKind} kind @param {Member[]} members @param {string[]} users */
function writeArguments(kind, members, users) {
  if (kind === "create" || kind === "add") return concat(u16(members.length), ...members.map(encodeMember));
  if (kind === "remove") return concat(u16(users.length), ...users.map((user) => lp(userBytes(user))));
  return concat(...members.map(encodeMember));
}

/** A parsed operation. `members` is filled for create, add, role and renew, `users` for remove. */
export class Operation {
  /**
   * @param {{groupId: Bytes, epoch: number, prevHash: Bytes, signerUser: string, signerDevice: number, time: bigint, kind: OperationKind,
   *   members: Member[], users: string[], encoded: Bytes}} fields
   */
  constructor({ groupId, epoch, prevHash, signerUser, signerDevice, time, kind, members, users, encoded }) {
    this.groupId = groupId;
    this.epoch = epoch;
    this.prevHash = prevHash;
    this.signerUser = signerUser;
    this.signerDevice = signerDevice;
    this.time = time;
    this.kind = kind;
    this.members = members;
    this.users = users;
    this.encoded = encoded;
  }

  /** Reads an operation, without judging it; `MalformedMessage` for whatever is none. @param {Uint8Array} data */
  static parse(data) {
    if (data.length > MAX_BYTES) throw new MalformedMessage(`a group operation has ${data.length} bytes; it may have ${MAX_BYTES}`);
    const reader = new Reader(data);
    const version = reader.u8();
    if (version !== VERSION) throw new UnsupportedVersion(`a group operation of version ${version}`);
    const [groupId, epoch, prevHash] = [reader.take(GROUP_ID_BYTES), reader.u32(), reader.take(NO_HASH.length)];
    const [signerUser, signerDevice, time, number] = [reader.user(), reader.deviceId(), reader.u64(), reader.u8()];
    const kind = KINDS[number - 1];
    if (kind === undefined) throw new MalformedMessage(`no group operation has the number ${number}`);
    const named = readArguments(reader, kind);
    reader.take(SIGNATURE_BYTES);
    reader.done();
    const place = { groupId, epoch, prevHash, signerUser, signerDevice, time };
    return new Operation({ ...place, kind, ...named, encoded: new Uint8Array(data) });
  }

  /** `BadSignature` unless the device with this public key signed the operation. @param {Bytes} signing */
  async verify(signing) {
    await verify(signing, "group-op", this.encoded.subarray(0, -SIGNATURE_BYTES), this.encoded.slice(-SIGNATURE_BYTES));
  }

  /** The hash of the group's state once this operation counts; it covers the whole chain through `prevHash`. */
  stateHash() {
    return sha256(label("group-state"), this.prevHash, this.encoded);
  }
}

/**
 * Writes and signs an operation; members and users are put in order.
 *
 * Whether the group takes it is not judged here (`GroupState.changed`), only that it can be read again: `MalformedMessage` for no member
 * or user at all, one that is there twice, or more than 65,535 bytes.
 *
 * @param {KeyPair} signing
 * @param {{groupId: Bytes, epoch: number, prevHash: Bytes, signerUser: string, signerDevice: number, time: number | bigint,
 *   kind: OperationKind, members?: Member[], users?: string[]}} operation  `time` in Unix seconds
 */
export async function signOperation(signing, operation) {
  const { groupId, epoch, prevHash, signerUser, signerDevice, time, kind, members = [], users = [] } = operation;
  const orderedMembers = members.toSorted((one, other) => compare(userBytes(one.userId), userBytes(other.userId)));
  const orderedUsers = users.toSorted((one, other) => compare(userBytes(one), userBytes(other)));
  const place = concat(u8(VERSION), fixed(groupId, GROUP_ID_BYTES), u32(epoch), fixed(prevHash, NO_HASH.length));
  const signer = concat(lp(userBytes(signerUser)), u32(checkDeviceId(signerDevice)), u64(time));
  const body = concat(place, signer, u8(KINDS.indexOf(kind) + 1), writeArguments(kind, orderedMembers, orderedUsers));
  return Operation.parse(concat(body, await sign(signing, "group-op", body)));
}

/**
 * A chain for somebody who joins, in as many pieces as it takes for each to fit into one message.
 *
 * @param {Bytes} groupId
 * @param {Bytes[]} operations
 * @param {Limits} [limits]
 * @returns {GroupOperations[]} throws `LimitReached` for an operation that fits into none
 */
export function chainContents(groupId, operations, { maxContentBytes } = DEFAULT_LIMITS) {
  const room = maxContentBytes - encodeContent({ kind: "groupOperations", groupId, operations: [] }).length;
  /** @type {Bytes[][]} */
  const pieces = [];
  let left = 0;
  for (const operation of operations) {
    const size = operation.length + LENGTH_BYTES;
    if (size > room) throw new LimitReached(`an operation of ${operation.length} bytes does not fit into ${maxContentBytes} (maxContentBytes)`);
    if (size > left) {
      pieces.push([]);
      left = room;
    }
    pieces[pieces.length - 1].push(operation);
    left -= size;
  }
  return pieces.map((piece) => ({ kind: "groupOperations", groupId, operations: piece }));
}
