/**
 * What is known of other users: the trusted account key, the signed device list, the certificates.
 *
 * The first account key of a user is trusted as it comes (trust on first use); another one later blocks sending until a person has
 * accepted it. A device list never goes back, and a device id keeps its signing key for as long as its account key lives.
 */
import { DeviceList } from "./certificates.js";
import { equal, hex, userBytes } from "./encoding.js";
import { LimitReached, MalformedMessage, NoSession, UntrustedIdentity } from "./errors.js";
import { DEVICE_LISTS, certificatesTable, newPeer } from "./records.js";
import { checkSigningKey } from "./suite.js";

/** @import { DeviceCertificate } from "./certificates.js" */
/** @import { Bytes } from "./encoding.js" */
/** @import { Limits } from "./limits.js" */
/** @import { Peer } from "./records.js" */
/** @import { Workspace } from "./workspace.js" */
/**
 * @typedef {{added: number[], removed: number[], refused: UntrustedIdentity | null}} Learned
 *   device ids that came and that are gone; `refused` when the list is under another account key than the trusted one: then nothing was
 *   learned but that key, and nothing is sent to the user until a person has decided
 */

// Devices that one account may ever have had, at 300 bytes each: the certificates of removed ones are kept, for the chain of a group may
// name them, and so that no id comes back with another key.
const MAX_CERTIFICATES = 1_024;

/** @param {Peer} peer @param {Bytes} account */
function changed(peer, account) {
  const message = "the account key of the user is another one than the trusted one; compare the safety number, then accept a key";
  return new UntrustedIdentity(message, { trusted: peer.account, met: account });
}

/**
 * What is known of a user to whom something is to be sent: `NoSession` without a list, `UntrustedIdentity` while blocked.
 *
 * @param {Workspace} space
 * @param {string} userId
 */
export async function trustedPeer(space, userId) {
  const peer = await space.peer(userId);
  if (!peer?.devices.length) throw new NoSession("no device of that user is known; learn its device list first");
  if (peer.offered) throw changed(peer, peer.offered);
  return peer;
}

/** The newest device list of a user, or null. @param {Workspace} space @param {string} userId @param {Limits} limits */
export async function knownList(space, userId, limits) {
  const record = await space.tx.get(DEVICE_LISTS, userBytes(userId));
  return record && DeviceList.parse(record, limits);
}

/**
 * Takes a user's device list and the certificates that it names; those that are known already need not be given again.
 *
 * @param {Workspace} space
 * @param {string} userId
 * @param {DeviceList} deviceList
 * @param {DeviceCertificate[]} certificates
 * @param {Limits} limits
 * @returns {Promise<Learned>} rejects with `MalformedMessage` for the list of somebody else or a certificate that is missing,
 *   `BadSignature`, `InvalidKey`, `DeviceListRollback`, and `UntrustedIdentity` for a known device with another signing key
 */
export async function learnList(space, userId, deviceList, certificates, limits) {
  if (deviceList.userId !== userId) throw new MalformedMessage("the device list is that of another user");
  await deviceList.verify();
  const peer = (await space.peer(userId)) ?? newPeer(deviceList.account);
  if (!equal(deviceList.account, peer.account)) {
    await space.setPeer(userId, { ...peer, offered: deviceList.account });
    return { added: [], removed: [], refused: changed(peer, deviceList.account) };
  }
  const known = await knownList(space, userId, limits);
  if (known) {
    await deviceList.checkFollows(known);
    if (deviceList.seq === known.seq) return { added: [], removed: [], refused: null };
  }
  await takeCertificates(space, deviceList, certificates);
  if ((await space.tx.count(certificatesTable(userId))) > MAX_CERTIFICATES) {
    throw new LimitReached(`an account has had more than ${MAX_CERTIFICATES} devices`);
  }
  const devices = deviceList.devices.map(({ deviceId }) => deviceId);
  const removed = peer.devices.filter((deviceId) => !devices.includes(deviceId));
  for (const deviceId of removed) await space.clearLine(userId, deviceId);
  await space.tx.put(DEVICE_LISTS, userBytes(userId), deviceList.encoded);
  await space.setPeer(userId, { ...peer, seq: deviceList.seq, devices });
  return { added: devices.filter((deviceId) => !peer.devices.includes(deviceId)), removed, refused: null };
}

/**
 * Stores the certificates of a list that are new; each is checked as if it were the only one.
 *
 * @param {Workspace} space
 * @param {DeviceList} deviceList
 * @param {DeviceCertificate[]} certificates
 */
async function takeCertificates(space, deviceList, certificates) {
  const given = new Map(await Promise.all(certificates.map(async (one) => /** @type {const} */ ([hex(await one.hash()), one]))));
  for (const { deviceId, hash } of deviceList.devices) {
    const known = await space.certificate(deviceList.userId, deviceId);
    if (known && equal(await known.hash(), hash)) continue;
    const certificate = given.get(hex(hash));
    if (!certificate) throw new MalformedMessage("the device list names a certificate that is neither known nor given");
    await certificate.verify();
    if (!(await deviceList.includes(certificate))) {
      const keys = { trusted: deviceList.account, met: certificate.account };
      throw new UntrustedIdentity("a certificate is not of the account of its list", keys);
    }
    if (known) certificate.checkFollows(known);
    await space.setCertificate(certificate);
  }
}

/**
 * A person has decided for this account key: the trusted one, the one that was met instead, or, of a stranger, any.
 *
 * With another key than the trusted one all that was known under that is dropped, sessions too; learn the device list next.
 *
 * @param {Workspace} space
 * @param {string} userId
 * @param {Bytes} account
 * @returns {Promise<number[]>} the devices that are gone with it; rejects with `UntrustedIdentity` for a key that was never met, and `InvalidKey`
 */
export async function acceptAccount(space, userId, account) {
  const peer = await space.peer(userId);
  if (!peer) {
    await space.setPeer(userId, newPeer(checkSigningKey(account)));
  } else if (equal(account, peer.account)) {
    await space.setPeer(userId, { ...peer, offered: null });
  } else if (peer.offered && equal(account, peer.offered)) {
    for (const deviceId of peer.devices) await space.clearLine(userId, deviceId);
    await space.tx.clear(certificatesTable(userId));
    await space.tx.delete(DEVICE_LISTS, userBytes(userId));
    await space.setPeer(userId, newPeer(account));
    return peer.devices;
  } else {
    throw changed(peer, account);
  }
  return [];
}

/**
 * Notes whether a person has compared the user's account key; `UntrustedIdentity` unless it is the trusted one.
 *
 * @param {Workspace} space
 * @param {string} userId
 * @param {Bytes} account
 * @param {boolean} verified
 */
export async function noteVerified(space, userId, account, verified) {
  const peer = await space.peer(userId);
  if (!peer || !equal(peer.account, account)) {
    const keys = { trusted: peer?.account ?? null, met: account };
    throw new UntrustedIdentity("that is not the trusted account key of the user", keys);
  }
  await space.setPeer(userId, { ...peer, verified });
}
