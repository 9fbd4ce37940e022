/** A device and its account in the store: making them, and what only the primary device does, which has the account key. */
import { DeviceCertificate, deviceKeySignature, issueCertificate, issueDeviceList } from "./certificates.js";
import { Reader, equal, utf8 } from "./encoding.js";
import { BadRequest, LimitReached, UntrustedIdentity } from "./errors.js";
import { COUNTERS, LOCAL, LocalRecord, counterRecord, newPeer, readCounter } from "./records.js";
import { KEY_BYTES, lockedPair, signingPair } from "./suite.js";
import { SessionCache, Workspace } from "./workspace.js";

/** @import { DeviceList } from "./certificates.js" */
/** @import { Bytes } from "./encoding.js" */
/** @import { DeviceSteps } from "./device_steps.js" */
/** @import { LocalDevice } from "./handshake.js" */
/** @import { Limits, Policy } from "./limits.js" */
/** @import { SeedPair } from "./prekeys.js" */
/** @import { StoredPair, Transaction } from "./transaction.js" */
/** @import { KeyPair, Random } from "./suite.js" */
/** @typedef {{local: LocalDevice, record: LocalRecord}} Loaded */
/** @typedef {{deviceId: number, signingPublic: Bytes, agreementPublic: Bytes, deviceSignature: Bytes, suites: number[]}} Candidate  a device to be admitted */

const SELF = utf8("self");
const COUNTER = utf8("device");
const SIGNING = "signing";
const AGREEMENT = "agreement";
// A restored account does not know which ids removed devices had, and an id never comes back with another key. So it goes on from a
// random number of 31 bits, above those of accounts that were never restored.
const RESTORED_IDS_FROM = 2 ** 16;
const RESTORED_IDS = 2 ** 31 - RESTORED_IDS_FROM;

/** Who the device of this store is, or null where there is none yet. @param {Transaction} tx @returns {Promise<Loaded | null>} */
export async function loadLocal(tx) {
  const self = await tx.get(LOCAL, SELF);
  const [signing, agreement] = [await tx.pair(SIGNING), await tx.pair(AGREEMENT)];
  if (!self || !signing || !agreement) return null;
  const record = LocalRecord.parse(self);
  return { record, local: { certificate: DeviceCertificate.parse(record.certificate), signing, agreement } };
}

/** @param {Transaction} tx */
async function checkEmpty(tx) {
  if (await tx.get(LOCAL, SELF)) throw new BadRequest("the store holds a device already", "device_exists");
}

/** A pair that was made by `lockedPair`. @param {KeyPair} pair @returns {StoredPair} */
function stored({ secret, public: publicKey }) {
  if (!(secret instanceof CryptoKey)) throw new BadRequest("the keys of a device stay with the browser: make them with lockedPair");
  return { secret, public: publicKey };
}

/**
 * The first device of an account, or the new one of an account that a backup gives back.
 *
 * @param {Transaction} tx
 * @param {string} userId
 * @param {{account: SeedPair | null, previous: DeviceList | null, policy: Policy, limits: Limits, random: Random, now: number,
 *   stepsOf: (local: LocalDevice) => DeviceSteps}} options  `previous` is the newest device list of a restored account: the new one follows
 *   it, and names this device alone
 * @returns {Promise<Loaded>} rejects with `BadRequest` (`device_exists`), `UntrustedIdentity` for a list of another account, and `BadSignature`
 */
export async function createAccount(tx, userId, { account, previous, policy, limits, random, now, stepsOf }) {
  await checkEmpty(tx);
  const owner = account ?? (await signingPair(random(KEY_BYTES)));
  let deviceId = 1;
  if (previous) {
    await previous.verify();
    deviceId = RESTORED_IDS_FROM + (new Reader(random(4)).u32() % RESTORED_IDS);
  }
  const [signing, agreement] = [stored(await lockedPair("Ed25519")), stored(await lockedPair("X25519"))];
  const created = Math.floor(now);
  const certificate = await issueCertificate(owner, {
    userId,
    deviceId,
    signingPublic: signing.public,
    agreementPublic: agreement.public,
    deviceSignature: await deviceKeySignature(signing, userId, deviceId, agreement.public),
    created,
    suites: policy.suites,
  });
  const issued = await issueDeviceList(owner, { userId, created, certificates: [certificate], previous, limits });
  const record = new LocalRecord(certificate.encoded, owner.secret);
  await keepLocal(tx, record, signing, agreement);
  await tx.put(COUNTERS, COUNTER, counterRecord(deviceId + 1));
  const local = { certificate, signing, agreement };
  await stepsOf(local).learn(tx, userId, issued, [certificate]);
  return { local, record };
}

/** @param {Transaction} tx @param {LocalRecord} record @param {StoredPair} signing @param {StoredPair} agreement */
async function keepLocal(tx, record, signing, agreement) {
  await tx.put(LOCAL, SELF, record.encode());
  tx.putPair(SIGNING, signing);
  tx.putPair(AGREEMENT, agreement);
}

/**
 * This device as another one of an account, with what linking gave it.
 *
 * Only the account key is taken from the list; `Device.learn` takes the list itself, once the other certificates are there too.
 *
 * @param {Transaction} tx
 * @param {DeviceCertificate} certificate
 * @param {DeviceList} deviceList
 * @param {{signing: KeyPair, agreement: KeyPair, limits: Limits}} options
 * @returns {Promise<Loaded>} rejects with `BadRequest` (`device_exists`), `UntrustedIdentity` for a certificate of other keys or one that
 *   the list does not name, `BadSignature` and `InvalidKey`
 */
export async function keepLinked(tx, certificate, deviceList, { signing, agreement, limits }) {
  await checkEmpty(tx);
  await certificate.verify();
  await deviceList.verify();
  if (!equal(certificate.signing, signing.public) || !equal(certificate.agreement, agreement.public)) {
    const keys = { trusted: signing.public, met: certificate.signing };
    throw new UntrustedIdentity("the certificate is not that of this device", keys);
  }
  if (!(await deviceList.includes(certificate))) {
    const keys = { trusted: deviceList.account, met: certificate.account };
    throw new UntrustedIdentity("the device list does not name this device", keys);
  }
  const record = new LocalRecord(certificate.encoded, null);
  const [ownSigning, ownAgreement] = [stored(signing), stored(agreement)];
  await keepLocal(tx, record, ownSigning, ownAgreement);
  const space = new Workspace(tx, new SessionCache(), limits);
  await space.setPeer(certificate.userId, { ...newPeer(certificate.account), devices: [certificate.deviceId] });
  await space.setCertificate(certificate);
  return { record, local: { certificate, signing: ownSigning, agreement: ownAgreement } };
}

/** @param {LocalRecord} record */
async function accountOf({ accountSeed }) {
  if (!accountSeed) throw new BadRequest("this device does not hold the account key; only the primary one does", "not_primary_device");
  return signingPair(accountSeed);
}

/**
 * An id for a device that is being linked; it is never given again.
 *
 * @param {Transaction} tx
 * @param {LocalRecord} record
 * @param {DeviceSteps} steps
 */
export async function reserveDeviceId(tx, record, steps) {
  await accountOf(record);
  let deviceId = readCounter(await tx.get(COUNTERS, COUNTER), 1);
  // After an old copy of the store came back, the counter may be behind what the account's list says.
  while (await steps.certificate(tx, steps.own.userId, deviceId)) deviceId += 1;
  if (deviceId >= 2 ** 32 - 1) throw new LimitReached("all device ids are used up");
  await tx.put(COUNTERS, COUNTER, counterRecord(deviceId + 1));
  return deviceId;
}

/**
 * @param {Transaction} tx
 * @param {SeedPair} account
 * @param {DeviceSteps} steps
 * @param {DeviceCertificate[]} certificates
 * @param {number} now
 */
async function issue(tx, account, steps, certificates, now) {
  const { userId } = steps.own;
  const previous = await steps.deviceList(tx, userId);
  const issued = await issueDeviceList(account, { userId, created: Math.floor(now), certificates, previous, limits: steps.limits });
  await steps.learn(tx, userId, issued, certificates);
  return issued;
}

/**
 * Signs a device into the account: its certificate, and the list that names it.
 *
 * @param {Transaction} tx
 * @param {LocalRecord} record
 * @param {DeviceSteps} steps
 * @param {Candidate} candidate
 * @param {number} now
 * @returns {Promise<{certificate: DeviceCertificate, deviceList: DeviceList}>} rejects with `BadRequest` without the account key,
 *   `BadSignature`, `InvalidKey`, `LimitReached` for too many devices, and `UntrustedIdentity` for an id that another device has or had
 */
export async function admitDevice(tx, record, steps, candidate, now) {
  const account = await accountOf(record);
  const { userId } = steps.own;
  const certificate = await issueCertificate(account, { ...candidate, userId, created: Math.floor(now) });
  const others = (await steps.certificates(tx, userId)).filter(({ deviceId }) => deviceId !== certificate.deviceId);
  return { certificate, deviceList: await issue(tx, account, steps, [...others, certificate], now) };
}

/**
 * Takes a device off the list; it is sent nothing from now on.
 *
 * @param {Transaction} tx
 * @param {LocalRecord} record
 * @param {DeviceSteps} steps
 * @param {number} deviceId
 * @param {number} now
 */
export async function removeDevice(tx, record, steps, deviceId, now) {
  const account = await accountOf(record);
  if (deviceId === steps.own.deviceId) throw new BadRequest("a device does not remove itself", "conflict");
  const siblings = await steps.certificates(tx, steps.own.userId);
  const kept = siblings.filter((known) => known.deviceId !== deviceId);
  if (kept.length === siblings.length) throw new BadRequest("the account has no such device", "not_found");
  return issue(tx, account, steps, kept, now);
}

/** The account key, for the backup and for linking; `BadRequest` (`not_primary_device`) on another device. @param {LocalRecord} record */
export const accountKey = (record) => accountOf(record);
