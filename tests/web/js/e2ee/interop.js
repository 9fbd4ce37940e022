/** One party in the browser, driven from outside: everything comes and goes as hexadecimal. */
import { AttachmentDescriptor, AttachmentOpener, AttachmentSealer, openStream, sealStream } from "/web/sdk/e2ee/attachment.js";
import { BackupWriter } from "/web/sdk/e2ee/backup_records.js";
import { DeviceCertificate, DeviceList, deviceKeySignature, issueCertificate, issueDeviceList } from "/web/sdk/e2ee/certificates.js";
import { encodeContent, parseContent } from "/web/sdk/e2ee/content.js";
import { concat, fromHex, hex } from "/web/sdk/e2ee/encoding.js";
import { E2EEError, GroupStateMismatch } from "/web/sdk/e2ee/errors.js";
import { SenderKeyGroup } from "/web/sdk/e2ee/group.js";
import { Operation } from "/web/sdk/e2ee/group_operation.js";
import { PreKeyMessage, initiate, respond } from "/web/sdk/e2ee/handshake.js";
import { makePolicy } from "/web/sdk/e2ee/limits.js";
import { NewDevice, PrimaryDevice } from "/web/sdk/e2ee/linking.js";
import { Bundle, makeKemPrekey, makeOneTimePrekey, makeSignedPrekey } from "/web/sdk/e2ee/prekeys.js";
import { safetyNumber } from "/web/sdk/e2ee/safety_number.js";
import { Session } from "/web/sdk/e2ee/session.js";
import { lockedPair, signingPair, systemRandom } from "/web/sdk/e2ee/suite.js";
import { all, recordJson, recordOf, secretOf } from "./kat_backup.js";

const NOW = 1_700_000_000;
const [parties, offers, sessions, groups, certificates] = [new Map(), new Map(), new Map(), new Map(), new Map()];
const linking = {};

/** A device with one prekey of each kind. Its keys cannot be read out by any script, as a real device's. */
export async function makeParty(name, userId, deviceId, suites) {
  const account = await signingPair(systemRandom(32));
  const [signing, agreement] = [await lockedPair("Ed25519"), await lockedPair("X25519")];
  const certificate = await issueCertificate(account, {
    userId,
    deviceId,
    signingPublic: signing.public,
    agreementPublic: agreement.public,
    deviceSignature: await deviceKeySignature(signing, userId, deviceId, agreement.public),
    created: NOW,
    suites,
  });
  parties.set(name, { account, certificate, signing, agreement });
  return { certificate: hex(certificate.encoded), bundle: await makeOffer(name, name) };
}

/** One bundle of a party; the session `id` answers with its secrets. */
export async function makeOffer(name, id) {
  const { certificate, signing } = parties.get(name);
  const signed = await makeSignedPrekey(signing, 1, NOW, systemRandom);
  const oneTime = await makeOneTimePrekey(2, systemRandom);
  const kem = await makeKemPrekey(signing, 3, NOW, systemRandom, true);
  offers.set(id, { signed: signed.pair, oneTime: oneTime.pair, kem: kem.pair });
  return hex(new Bundle({ certificate, signed: signed.prekey, oneTime: oneTime.prekey, kem: kem.prekey, kemOnce: true }).encode());
}

/** Begins the session `id`. */
export async function begin(name, id, bundle, minSuite) {
  const session = await initiate(parties.get(name), Bundle.parse(fromHex(bundle)), makePolicy({ minSuite }), { now: NOW });
  sessions.set(id, session);
  return { suite: session.suite, transcript: hex(session.transcript) };
}

/** Makes the session `id` of a first message. The one-time keys go, as they have to. */
export async function answer(name, id, certificate, message, minSuite) {
  const secrets = offers.get(id);
  offers.delete(id);
  const peer = DeviceCertificate.parse(fromHex(certificate));
  const options = { now: NOW };
  const session = await respond(parties.get(name), peer, PreKeyMessage.parse(fromHex(message)), secrets, makePolicy({ minSuite }), options);
  sessions.set(id, session);
  return { suite: session.suite, transcript: hex(session.transcript) };
}

/** All at once: the session itself has to keep them apart. */
export async function encrypt(id, contents) {
  return (await Promise.all(contents.map((content) => sessions.get(id).encrypt(fromHex(content))))).map(hex);
}

const outcome = (promise) =>
  promise.then(
    (content) => ({ content: hex(content) }),
    (error) => {
      if (!(error instanceof E2EEError)) throw error;
      return { error: error.code };
    },
  );

export function decrypt(id, messages) {
  return Promise.all(messages.map((message) => outcome(sessions.get(id).decrypt(fromHex(message), { now: NOW }))));
}

const stored = new Map();

/** Puts the session away and takes it back from its records, as after a reload. */
export function reload(id) {
  const session = sessions.get(id);
  const kept = stored.get(id) ?? new Map();
  stored.set(id, kept);
  const { added, removed } = session.drainChanges();
  for (const { key, record } of added) kept.set(hex(key), { key, record });
  for (const key of removed) kept.delete(hex(key));
  sessions.set(id, Session.fromRecord(session.toRecord(), [...kept.values()]));
  return { skipped: session.skippedCount, kept: kept.size };
}

const bytesOf = async (stream) => new Uint8Array(await new Response(stream).arrayBuffer());

export async function sealAttachment(content) {
  const sealer = new AttachmentSealer();
  const sealed = await bytesOf(new Blob([fromHex(content)]).stream().pipeThrough(sealStream(sealer)));
  return { sealed: hex(sealed), descriptor: hex(sealer.descriptor({ mimeType: "image/png", name: "صورة.png" }).encode()) };
}

export async function openAttachment(sealed, encoded) {
  const descriptor = AttachmentDescriptor.parse(fromHex(encoded));
  const content = await bytesOf(new Blob([fromHex(sealed)]).stream().pipeThrough(openStream(new AttachmentOpener(descriptor))));
  return { content: hex(content), mimeType: descriptor.mimeType, name: descriptor.name };
}

/** What the resolver of groups knows. */
export function know(encoded) {
  for (const certificate of encoded.map((one) => DeviceCertificate.parse(fromHex(one)))) {
    certificates.set(`${certificate.deviceId}/${certificate.userId}`, certificate);
  }
}

const resolve = (userId, deviceId) => certificates.get(`${deviceId}/${userId}`) ?? null;

export async function createGroup(name, id, others) {
  const { certificate, signing } = parties.get(name);
  const members = others.map((one) => DeviceCertificate.parse(fromHex(one)));
  const named = members.map(({ userId, account }) => ({ userId, account, role: "member" }));
  const { group, operation } = await SenderKeyGroup.create(certificate, signing, named, { time: NOW });
  groups.set(`${name}/${id}`, group);
  return hex(operation.encoded);
}

export async function propose(name, id, kind, change) {
  const members = (change.members ?? []).map(({ user, account, role }) => ({ userId: user, account: fromHex(account), role }));
  const options = { time: NOW, members, users: change.users ?? [] };
  return hex((await groups.get(`${name}/${id}`).propose(parties.get(name).signing, kind, options)).encoded);
}

export async function apply(name, id, operation) {
  await groups.get(`${name}/${id}`).apply(fromHex(operation), resolve);
}

export function stateHash(name, id) {
  return hex(groups.get(`${name}/${id}`).state.hash);
}

/** What each device is to be sent, for the test to carry through the sessions. */
export async function prepareSend(name, id, devices) {
  const group = groups.get(`${name}/${id}`);
  const prepared = await group.prepareSend(devices.map((one) => DeviceCertificate.parse(fromHex(one))), { now: NOW });
  group.markDistributed(prepared);
  return prepared.map(({ userId, deviceId, content }) => ({ user: userId, device: deviceId, content: hex(encodeContent(content)) }));
}

export async function encryptGroup(name, id, content) {
  return hex(await groups.get(`${name}/${id}`).encrypt(fromHex(content), { now: NOW }));
}

/** What the session with the device of `userId` carried; an error for what cannot be used yet. */
export async function takeContent(name, id, userId, content) {
  return outcome(take(name, id, userId, parseContent(fromHex(content))).then(() => new Uint8Array(0)));
}

async function take(name, id, userId, content) {
  const group = groups.get(`${name}/${id}`);
  if (content.kind === "senderKey") {
    if (!group) throw new GroupStateMismatch("the key is there before the group");
    await group.receiveKey({ userId, deviceId: 1 }, content);
  } else if (content.kind === "groupOperations" && !group) {
    groups.set(`${name}/${id}`, await SenderKeyGroup.join(parties.get(name).certificate, content.operations, resolve));
  } else if (content.kind === "groupOperations") {
    for (const operation of content.operations) if (Operation.parse(operation).epoch > group.epoch) await group.apply(operation, resolve);
  }
}

export function decryptGroup(name, id, userId, deviceId, message) {
  return outcome(groups.get(`${name}/${id}`).decrypt({ userId, deviceId }, fromHex(message), { now: NOW }));
}

export async function writeBackup(records, secret) {
  const writer = await BackupWriter.begin(secretOf(secret));
  const parts = [writer.header];
  for (const record of records) parts.push(await writer.add(recordOf(record)));
  return hex(concat(...parts, await writer.finish()));
}

export async function restoreBackup(data, secret) {
  return (await all(fromHex(data), secretOf(secret))).map(recordJson);
}

export function numberOf(userId, account, peerId, peerAccount) {
  return safetyNumber(userId, fromHex(account), peerId, fromHex(peerAccount));
}

/** The browser is the new device. */
export async function offerDevice(suites) {
  const [signing, agreement] = [await lockedPair("Ed25519"), await lockedPair("X25519")];
  linking.fresh = await NewDevice.create({ signing, agreement, suites });
  return hex(linking.fresh.offer);
}

export async function readProposal(proposal) {
  const accept = await linking.fresh.propose(fromHex(proposal));
  return { accept: hex(accept), code: linking.fresh.code };
}

export async function completeDevice(message) {
  linking.fresh.confirm();
  const { certificate, devices } = await linking.fresh.complete(fromHex(message));
  return { certificate: hex(certificate.encoded), devices: hex(devices.encoded) };
}

/** The browser is the primary device. */
export async function proposeDevice(name, deviceId, offer) {
  const { account, certificate } = parties.get(name);
  linking.primary = new PrimaryDevice(account, { userId: certificate.userId, deviceId });
  return hex(await linking.primary.propose(fromHex(offer)));
}

export async function readAccept(accept) {
  await linking.primary.accept(fromHex(accept));
  return linking.primary.code;
}

export async function admitDevice(name) {
  const { account, certificate } = parties.get(name);
  linking.primary.confirm();
  const added = await linking.primary.certificate({ created: NOW });
  const devices = await issueDeviceList(account, { userId: certificate.userId, created: NOW, certificates: [certificate, added] });
  const complete = await linking.primary.complete(devices);
  return { complete: hex(complete), devices: hex(DeviceList.parse(devices.encoded).encoded) };
}
