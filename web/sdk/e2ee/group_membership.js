/** Who is in a device's groups: operations made, taken and logged, in a transaction (the profile's section 7). */
import { equal } from "./encoding.js";
import { GroupStateMismatch, LimitReached, NotAMember } from "./errors.js";
import { SenderKeyGroup } from "./group.js";

/** @import { DeviceCertificate } from "./certificates.js" */
/** @import { DeviceSteps } from "./device_steps.js" */
/** @import { Bytes } from "./encoding.js" */
/** @import { Member, Operation, OperationKind, Role } from "./group_operation.js" */
/** @import { Resolver } from "./group_state.js" */
/** @import { GroupSpace } from "./group_store.js" */

/** @param {GroupSpace} space @param {DeviceSteps} steps @param {string} userId @param {Role} role @returns {Promise<Member>} */
async function memberOf(space, steps, userId, role) {
  return { userId, account: (await steps.trusted(space.tx, userId)).account, role };
}

/** @param {GroupSpace} space @param {Operation} operation @param {DeviceCertificate} certificate */
const log = (space, operation, certificate) =>
  space.append(operation.groupId, operation.epoch, { certificate: certificate.encoded, operation: operation.encoded });

/**
 * The certificate of an operation that was verified, for which the resolver had an answer.
 *
 * @param {Operation} operation
 * @param {Resolver} resolve
 */
const signerOf = async (operation, resolve) =>
  /** @type {DeviceCertificate} */ (await resolve(operation.signerUser, operation.signerDevice));

/** @param {Operation} operation @param {DeviceSteps} steps */
function checkRoom({ epoch }, { limits: { maxGroupOperations } }) {
  if (epoch >= maxGroupOperations) throw new LimitReached(`a group has at most ${maxGroupOperations} operations (maxGroupOperations)`);
}

/**
 * See `DeviceGroups.create`. Draws: group id 16, and 8 bytes for the store.
 *
 * @param {GroupSpace} space
 * @param {DeviceSteps} steps
 * @param {{users: string[], admins: string[], now: number}} options
 */
export async function createGroup(space, steps, { users, admins, now }) {
  const members = [];
  for (const userId of users) members.push(await memberOf(space, steps, userId, admins.includes(userId) ? "admin" : "member"));
  const { certificate, signing } = steps.local;
  const options = { time: Math.floor(now), random: steps.random, limits: steps.limits };
  const { group, operation } = await SenderKeyGroup.create(certificate, signing, members, options);
  await space.add(group, steps.random);
  await log(space, operation, certificate);
  return operation;
}

/**
 * See `GroupSteps.propose`.
 *
 * @param {GroupSpace} space
 * @param {DeviceSteps} steps
 * @param {Bytes} groupId
 * @param {OperationKind} kind
 * @param {{users: string[], role: Role, now: number}} options
 */
export async function proposeChange(space, steps, groupId, kind, { users, role, now }) {
  const group = await space.get(groupId);
  const time = Math.floor(now);
  if (kind === "remove") return group.propose(steps.local.signing, kind, { time, users });
  /** @type {Member[]} */
  const members = [];
  for (const userId of users) {
    const known = group.members.get(userId);
    if (kind === "add") members.push(await memberOf(space, steps, userId, role));
    else if (!known) throw new NotAMember("somebody whom the operation is about is no member");
    else if (kind === "role") members.push({ userId, account: known.account, role });
    else members.push(await memberOf(space, steps, userId, known.role));
  }
  return group.propose(steps.local.signing, kind, { time, members });
}

/**
 * Who may sign: devices on the present lists; where a chain is replayed, all that the accounts ever had, and `certificates`.
 *
 * A certificate vouches for itself under the account key in it, and the chain says which account key each member has.
 *
 * @param {GroupSpace} space
 * @param {DeviceSteps} steps
 * @param {{certificates: DeviceCertificate[], replay: boolean}} options
 * @returns {Promise<Resolver>} rejects with `BadSignature` and `InvalidKey` for a certificate that does not
 */
export async function resolverOf(space, steps, { certificates, replay }) {
  const given = new Map(certificates.map((certificate) => [`${certificate.deviceId}/${certificate.userId}`, certificate]));
  for (const certificate of given.values()) await certificate.verify();
  return async (userId, deviceId) => {
    if (!replay) return steps.presentCertificate(space.tx, userId, deviceId);
    return given.get(`${deviceId}/${userId}`) ?? steps.certificate(space.tx, userId, deviceId);
  };
}

/**
 * The group of a whole chain, in order, that is not kept yet; rejects as `SenderKeyGroup.join` does, and with `LimitReached`.
 *
 * @param {GroupSpace} space
 * @param {DeviceSteps} steps
 * @param {Operation[]} operations
 * @param {Resolver} resolve
 */
export async function joinGroup(space, steps, operations, resolve) {
  checkRoom(operations[operations.length - 1], steps);
  const encoded = operations.map((operation) => operation.encoded);
  const group = await SenderKeyGroup.join(steps.local.certificate, encoded, resolve, steps.limits);
  await space.add(group, steps.random);
  for (const operation of operations) await log(space, operation, await signerOf(operation, resolve));
  return group;
}

/**
 * Takes an operation.
 *
 * @param {GroupSpace} space
 * @param {DeviceSteps} steps
 * @param {Operation} operation
 * @param {Resolver} resolve
 * @returns {Promise<boolean>} false for one that was taken before; rejects with `GroupStateMismatch` where another one was taken in its
 *   place, or the group is not kept, `LimitReached`, and as `GroupState.apply` does; then nothing has changed
 */
export async function applyOperation(space, steps, operation, resolve) {
  const group = await space.get(operation.groupId);
  if (operation.epoch <= group.epoch) {
    const taken = await space.logged(group.groupId, operation.epoch);
    if (!taken || !equal(taken, operation.encoded)) throw new GroupStateMismatch("another operation of that epoch was taken");
    return false;
  }
  checkRoom(operation, steps);
  await group.apply(operation.encoded, resolve);
  await log(space, operation, await signerOf(operation, resolve));
  return true;
}
