/** The store in the browser's database: the cases of tests/web/test_e2ee_store.py. */
import { Device } from "/web/sdk/e2ee/device.js";
import { concat, hex, utf8 } from "/web/sdk/e2ee/encoding.js";
import { NewDevice, PrimaryDevice } from "/web/sdk/e2ee/linking.js";
import { deleteStore, memoryStore, openStore } from "/web/sdk/e2ee/store.js";
import { lockedPair } from "/web/sdk/e2ee/suite.js";
import { refusal, same } from "./check.js";

let made = 0;
const [KEY, OTHER, SECRET] = [utf8("key"), utf8("other"), utf8("nobody may read this")];

/** @param {(name: string) => Promise<void>} work */
async function named(work) {
  const name = `store-test-${Date.now()}-${made++}`;
  try {
    await work(name);
  } finally {
    await deleteStore(name);
  }
}

/** The bare database, as somebody with the developer tools has it. @param {string} name @param {IDBTransactionMode} mode @param {(records: IDBObjectStore) => IDBRequest} ask */
async function bare(name, mode, ask) {
  const settled = (request) => new Promise((resolve, reject) => Object.assign(request, { onsuccess: () => resolve(request.result), onerror: () => reject(request.error) }));
  const database = await settled(indexedDB.open(name));
  const result = await settled(ask(database.transaction("records", mode).objectStore("records")));
  database.close();
  return result;
}

export async function versions() {
  for (const store of [memoryStore(), null]) {
    await named(async (name) => {
      const used = store ?? (await openStore(name));
      same(await used.run((tx) => tx.putVersioned("t", KEY, SECRET, 0)), 1, "the first version");
      same(await used.run(async (tx) => [await tx.putVersioned("t", KEY, OTHER, 1), (await tx.getVersioned("t", KEY))?.version]), [2, 2], "the second");
      same(await refusal(() => used.run((tx) => tx.putVersioned("t", KEY, SECRET, 1))), "stale_state", "an older version");
      same(await used.run((tx) => tx.get("t", KEY)), OTHER, "what is stored");
      await used.run(async (tx) => tx.delete("t", KEY));
      same(await used.run((tx) => tx.getVersioned("t", KEY)), null, "after the deletion");
      same(await used.run((tx) => tx.putVersioned("t", KEY, SECRET, 0)), 1, "the first version again");
      await used.close();
      same(await refusal(() => used.run((tx) => tx.get("t", KEY))), "closed", "after closing");
    });
  }
}

/** Nothing readable lies in the database, and a record counts only in its place and version. */
export async function sealed() {
  await named(async (name) => {
    const store = await openStore(name);
    await store.run(async (tx) => {
      tx.put("t", KEY, SECRET);
      tx.put("t", OTHER, SECRET);
    });
    const old = await bare(name, "readonly", (records) => records.get(["t", KEY]));
    same(hex(old.sealed).includes(hex(SECRET)), false, "whether the record can be read");
    const opens = () => refusal(() => store.run((tx) => tx.get("t", KEY)));
    await bare(name, "readwrite", (records) => records.put({ ...old, sealed: concat(old.sealed.slice(0, -1), Uint8Array.of(old.sealed.at(-1) ^ 1)) }, ["t", KEY]));
    same(await opens(), "store_corrupt", "a changed record");
    const moved = await bare(name, "readonly", (records) => records.get(["t", OTHER]));
    await bare(name, "readwrite", (records) => records.put(moved, ["t", KEY]));
    same(await opens(), "store_corrupt", "a record of another place");
    await bare(name, "readwrite", (records) => records.put({ ...old, version: 2 }, ["t", KEY]));
    same(await opens(), "store_corrupt", "an old record under a new version");
    await bare(name, "readwrite", (records) => records.put(old, ["t", KEY]));
    same(await opens(), "nothing was refused", "the record itself");
    await store.close();
  });
}

/** Somebody who does not take the lock changes a record meanwhile: nothing of the transaction is written. */
export async function overtaken() {
  await named(async (name) => {
    const store = await openStore(name);
    await store.run(async (tx) => tx.put("t", KEY, SECRET));
    const work = async (tx) => {
      await tx.get("t", KEY);
      tx.put("t", KEY, OTHER);
      tx.put("t", OTHER, OTHER);
      const row = await bare(name, "readonly", (records) => records.get(["t", KEY]));
      await bare(name, "readwrite", (records) => records.put({ ...row, version: row.version + 1 }, ["t", KEY]));
    };
    same(await refusal(() => store.run(work)), "stale_state", "the error");
    same(await bare(name, "readonly", (records) => records.count(["t", OTHER])), 0, "what else was to be written");
    await store.close();
  });
}

/** A device is linked, kept, opened again, and talks with its account's first device. */
export async function linked() {
  await named(async (name) => {
    const now = () => 1_700_000_000;
    const first = await Device.create(memoryStore(), "ada", { now });
    const [signing, agreement] = [await lockedPair("Ed25519"), await lockedPair("X25519")];
    const joining = await NewDevice.create({ signing, agreement, suites: [1, 2] });
    const deviceId = await first.reserveDeviceId();
    const primary = new PrimaryDevice(await first.accountKey(), { userId: "ada", deviceId });
    await primary.accept(await joining.propose(await primary.propose(joining.offer)));
    same(primary.code, joining.code, "the digits");
    primary.confirm();
    joining.confirm();
    const { suites, signing: signingPublic, agreement: agreementPublic, deviceSignature, encoded } = await primary.certificate({ created: now() });
    const admitted = await first.admitDevice({ deviceId, signingPublic, agreementPublic, deviceSignature, suites });
    same(admitted.certificate.encoded, encoded, "the certificate");
    const { certificate, devices } = await joining.complete(await primary.complete(admitted.deviceList));
    const store = await openStore(name);
    await Device.link(store, certificate, devices, { signing, agreement, now });
    same(await refusal(() => Device.create(store, "ada")), "device_exists", "a second device in the store");
    await store.close();
    const second = /** @type {Device} */ (await Device.load(await openStore(name), { now }));
    same([second.userId, second.deviceId, second.isPrimary], ["ada", deviceId, false], "who the device is");
    await second.learn("ada", devices.encoded, [first.certificate.encoded]);
    same(await second.needsBundles("ada"), [{ userId: "ada", deviceId: 1 }], "whom it writes to");
    same(await refusal(async () => second.accountKey()), "not_primary_device", "the account key");
    const { prekeys } = await first.publish();
    const { Bundle } = await import("/web/sdk/e2ee/prekeys.js");
    await second.start(new Bundle({ certificate: first.certificate, signed: prekeys.signed, kem: prekeys.kemLast }));
    const [{ message }] = await second.encrypt("ada", utf8("to myself"));
    const { content, started } = await first.decrypt({ userId: "ada", deviceId }, message);
    same([hex(content.data), started], [hex(utf8("to myself")), true], "what the first device read");
    await second.close();
  });
}
