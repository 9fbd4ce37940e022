/** A device over its store in the browser: the cases of tests/web/test_e2ee_device.py. */
import { Device } from "/web/sdk/e2ee/device.js";
import { fromHex, hex, utf8 } from "/web/sdk/e2ee/encoding.js";
import { E2EEError } from "/web/sdk/e2ee/errors.js";
import { Bundle } from "/web/sdk/e2ee/prekeys.js";
import { deleteStore, memoryStore, openStore } from "/web/sdk/e2ee/store.js";
import { refusal, same } from "./check.js";

const read = new TextDecoder();
let made = 0;

/** @param {{published: any, taken: number}} server  hands out one-time prekeys once */
function bundleOf(server) {
  const { certificate, prekeys } = server.published;
  const at = server.taken++;
  return new Bundle({ certificate, signed: prekeys.signed, oneTime: prekeys.oneTime[at] ?? null, kem: prekeys.kemOnce[at] ?? prekeys.kemLast, kemOnce: at < prekeys.kemOnce.length });
}

async function party(userId, store = memoryStore()) {
  const device = await Device.create(store, userId);
  return { device, server: { published: await device.publish(), taken: 0 } };
}

async function meet(one, other) {
  const { published } = other.server;
  await one.device.learn(other.device.userId, published.deviceList.encoded, [published.certificate.encoded]);
}

async function say(one, other, text) {
  if ((await one.device.needsBundles(other.device.userId)).length) await one.device.start(bundleOf(other.server));
  const [{ message }] = await one.device.encrypt(other.device.userId, utf8(text));
  return message;
}

async function hear(one, other, message) {
  const { content } = await one.device.decrypt({ userId: other.device.userId, deviceId: other.device.deviceId }, message);
  return content.kind === "application" ? read.decode(content.data) : content.kind;
}

async function couple(store) {
  const [ada, ben] = [await party("ada", store), await party("ben")];
  await meet(ada, ben);
  await meet(ben, ada);
  return [ada, ben];
}

export async function talk() {
  const [ada, ben] = await couple();
  for (let round = 0; round < 4; round += 1) {
    same(await hear(ben, ada, await say(ada, ben, `to ben ${round}`)), `to ben ${round}`, "what Ben heard");
    same(await hear(ada, ben, await say(ben, ada, `to ada ${round}`)), `to ada ${round}`, "what Ada heard");
  }
  const [first, second, third] = [await say(ada, ben, "1"), await say(ada, ben, "2"), await say(ada, ben, "3")];
  same(await hear(ben, ada, third), "3", "out of order");
  same(await hear(ben, ada, first), "1", "out of order");
  same(await hear(ben, ada, second), "2", "out of order");
  same(await refusal(() => hear(ben, ada, second)), "duplicate_message", "a repeated message");
}

/** Both begin at once; after one message each both send in the same session. */
export async function crossed() {
  const [ada, ben] = await couple();
  const [fromAda, fromBen] = [await say(ada, ben, "a"), await say(ben, ada, "b")];
  same(await hear(ben, ada, fromAda), "a", "Ada's");
  same(await hear(ada, ben, fromBen), "b", "Ben's");
  for (let round = 0; round < 3; round += 1) {
    same(await hear(ben, ada, await say(ada, ben, "x")), "x", "later");
    same(await hear(ada, ben, await say(ben, ada, "y")), "y", "later");
  }
}

/** The same store opened again goes on; a first message that comes twice makes one session. */
export async function reopened() {
  const name = `test-${Date.now()}-${made++}`;
  const [ada, ben] = await couple(await openStore(name));
  const first = await say(ben, ada, "before");
  same(await hear(ada, ben, first), "before", "before");
  const late = await say(ben, ada, "skipped");
  same(await hear(ada, ben, await say(ben, ada, "after it")), "after it", "before");
  ada.device.close();
  const again = await Device.load(await openStore(name));
  if (!again) throw new Error("the store lost its device");
  ada.device = again;
  same(await hear(ada, ben, await say(ben, ada, "while away")), "while away", "after reopening");
  same(await hear(ada, ben, late), "skipped", "a message skipped before reopening");
  same(await refusal(() => hear(ada, ben, first)), "duplicate_message", "the first message again");
  same(await hear(ben, ada, await say(ada, ben, "back")), "back", "the other way");
  same(ada.device.local.signing.secret.extractable, false, "whether the key can be read out");
  ada.device.close();
  await deleteStore(name);
}

/** A failing application undoes the reading; a failing transaction writes nothing. */
export async function rolledBack() {
  const name = `test-${Date.now()}-${made++}`;
  const store = await openStore(name);
  const [ada, ben] = await couple(store);
  const message = await say(ben, ada, "again");
  const from = { userId: "ben", deviceId: ben.device.deviceId };
  const stop = new Error("the application's disk is full");
  const failing = (tx) => {
    tx.put("app.lines", utf8("1"), utf8("x"));
    throw stop;
  };
  same(await ada.device.decrypt(from, message, failing).catch((error) => error === stop), true, "whether the error comes through");
  same(await store.run((tx) => tx.count("app.lines")), 0, "lines of the failed transaction");
  await ada.device.decrypt(from, message, (tx, { content }) => tx.put("app.lines", utf8("1"), content.data));
  same(await store.run(async (tx) => read.decode(await tx.get("app.lines", utf8("1")))), "again", "the line");
  await store.run(async (tx) => {
    tx.put("app.lines", utf8("0"), utf8("first"));
    tx.delete("app.lines", utf8("1"));
    same((await tx.scan("app.lines")).map(({ record }) => read.decode(record)), ["first"], "what the transaction sees");
    tx.clear("app.lines");
    same(await tx.count("app.lines"), 0, "after clearing");
    tx.put("app.lines", utf8("2"), utf8("second"));
  });
  same(await store.run(async (tx) => (await tx.scan("app.lines")).map(({ record }) => read.decode(record))), ["second"], "what is there");
  store.close();
  await deleteStore(name);
}

/** Two pages with one store never use the same key for two messages. */
export async function twoPages() {
  const name = `test-${Date.now()}-${made++}`;
  const [ada, ben] = await couple(await openStore(name));
  await hear(ben, ada, await say(ada, ben, "hello"));
  const twin = await Device.load(await openStore(name));
  const [one, other] = [ada.device, /** @type {Device} */ (twin)];
  const sent = await Promise.all(Array.from({ length: 20 }, (_, index) => (index % 2 ? one : other).encrypt("ben", utf8(`${index}`))));
  const heard = await Promise.all(sent.map(([{ message }]) => hear(ben, ada, message)));
  same(heard.sort((a, b) => Number(a) - Number(b)), Array.from({ length: 20 }, (_, index) => `${index}`), "what Ben heard");
  one.close();
  other.close();
  await deleteStore(name);
}

export async function changedKey() {
  const [ada, ben] = await couple();
  await say(ada, ben, "before");
  const imposter = await party("ben");
  const { published } = imposter.server;
  const learn = () => ada.device.learn("ben", published.deviceList.encoded, [published.certificate.encoded]);
  same(await refusal(learn), "untrusted_identity", "another account key");
  same(await refusal(() => ada.device.encrypt("ben", utf8("x"))), "untrusted_identity", "sending while in doubt");
  same(hex((await ada.device.peer("ben"))?.offered ?? new Uint8Array()), hex(published.certificate.account), "the offered key");
  same(await refusal(() => ada.device.acceptIdentity("ben", new Uint8Array(32).fill(7))), "untrusted_identity", "a key never met");
  await ada.device.acceptIdentity("ben", published.certificate.account);
  await learn();
  same((await ada.device.peer("ben"))?.verified, false, "verified");
  await meet(imposter, ada);
  same(await hear(imposter, ada, await say(ada, imposter, "after")), "after", "after accepting");
  await ada.device.setVerified("ben", published.certificate.account);
  same((await ada.device.peer("ben"))?.verified, true, "verified");
  same(await refusal(() => ada.device.setVerified("ben", ben.server.published.certificate.account)), "untrusted_identity", "the old key");
}

/** Lost state: a new session by a reset, and not a second one within the hour. */
export async function reset() {
  const [ada, ben] = await couple();
  await hear(ben, ada, await say(ada, ben, "a"));
  const { message } = await ada.device.reset(bundleOf(ben.server));
  same(await hear(ben, ada, message), "reset", "the content");
  same(await hear(ada, ben, await say(ben, ada, "b")), "b", "after the reset");
  same(await refusal(() => ada.device.reset(bundleOf(ben.server))), "limit_reached", "a second reset");
}

export async function refills() {
  const { device } = await party("ada");
  same((await device.replenish({ oneTimeLeft: 30, kemOnceLeft: 10 })).oneTime.length, 0, "nothing due");
  const more = await device.replenish({ oneTimeLeft: 24, kemOnceLeft: 4 });
  same([more.signed, more.kemLast, more.oneTime.length, more.kemOnce.length], [null, null, 76, 16], "what is due");
  const [one, other] = [await device.publish(), await device.publish()];
  same(hex(one.prekeys.signed?.encode() ?? new Uint8Array()), hex(other.prekeys.signed?.encode() ?? new Uint8Array()), "the signed prekey");
  const ids = new Set([...one.prekeys.oneTime, ...other.prekeys.oneTime, ...more.oneTime].map(({ id }) => id));
  same(ids.size, 276, "different ids");
}

/** A device of the same account is admitted and removed again. */
export async function family() {
  const [ada, ben] = await couple();
  const deviceId = await ada.device.reserveDeviceId();
  const { lockedPair, ...suite } = await import("/web/sdk/e2ee/suite.js");
  const { deviceKeySignature } = await import("/web/sdk/e2ee/certificates.js");
  same(typeof suite.sign, "function", "the suite");
  const [signing, agreement] = [await lockedPair("Ed25519"), await lockedPair("X25519")];
  const deviceSignature = await deviceKeySignature(signing, "ada", deviceId, agreement.public);
  const keys = { signingPublic: signing.public, agreementPublic: agreement.public, deviceSignature };
  const { certificate, deviceList } = await ada.device.admitDevice({ deviceId, ...keys, suites: [1, 2] });
  const learned = await ben.device.learn("ada", deviceList.encoded, [certificate.encoded]);
  same(learned.added, [deviceId], "what Ben learned");
  same((await ben.device.needsBundles("ada")).map((each) => each.deviceId), [1, deviceId], "who gets a message");
  const shorter = await ada.device.removeDevice(deviceId);
  same((await ben.device.learn("ada", shorter.encoded)).removed, [deviceId], "what Ben learned");
  same(await refusal(() => ben.device.learn("ada", deviceList.encoded)), "device_list_rollback", "the older list");
}

/** @type {Awaited<ReturnType<typeof party>> | undefined} */
let interop;

/** Bytes travel as hexadecimal text. @param {string} userId */
export async function interopBegin(userId) {
  interop = await party(userId);
  const { certificate, deviceList, prekeys } = interop.server.published;
  if (!deviceList) throw new Error("a new account has a list");
  return { certificate: hex(certificate.encoded), list: hex(deviceList.encoded), bundle: hex(bundleOf(interop.server).encode()), suites: certificate.suites, kem: Boolean(prekeys.kemLast) };
}

/** @param {{user: string, certificate: string, list: string, bundle: string}} other */
export async function interopMeet({ user, certificate, list, bundle }) {
  await interop?.device.learn(user, fromHex(list), [fromHex(certificate)]);
  if (bundle) await interop?.device.start(fromHex(bundle));
}

/** @param {string} user @param {string} text */
export async function interopSay(user, text) {
  return hex((await interop?.device.encrypt(user, utf8(text)))?.[0].message ?? new Uint8Array());
}

/** @param {string} userId @param {number} deviceId @param {string} message */
export async function interopHear(userId, deviceId, message) {
  const received = await interop?.device.decrypt({ userId, deviceId }, fromHex(message));
  if (!received || received instanceof E2EEError || received.content.kind !== "application") throw new Error("nothing was said");
  return read.decode(received.content.data);
}
