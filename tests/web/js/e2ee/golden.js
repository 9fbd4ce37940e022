/** The kept databases of released versions, and how they are brought up to date: the cases of tests/web/test_e2ee_migrations.py. */
import { Device } from "/web/sdk/e2ee/device.js";
import { fromHex, hex, utf8 } from "/web/sdk/e2ee/encoding.js";
import { CURRENT, Schema } from "/web/sdk/e2ee/migrations.js";
import { Bundle } from "/web/sdk/e2ee/prekeys.js";
import { deleteStore, memoryStore, openStore } from "/web/sdk/e2ee/store.js";
import { refusal, same } from "./check.js";

const read = new TextDecoder();
const NOW = 1_800_000_000;
const options = { policy: { minSuite: 1, suites: [1], requireOneTime: false }, now: () => NOW };
let made = 0;

/** @param {IDBRequest} request */
const settled = (request) => new Promise((resolve, reject) => Object.assign(request, { onsuccess: () => resolve(request.result), onerror: () => reject(request.error) }));
const completed = (transaction) => new Promise((resolve, reject) => Object.assign(transaction, { oncomplete: resolve, onabort: () => reject(transaction.error) }));

export const currentVersion = () => CURRENT.version;

/** All that lies in a database, with its keys, which a test has made readable. @param {string} name */
async function dump(name) {
  const database = await settled(indexedDB.open(name));
  const records = database.transaction("records").objectStore("records");
  const [places, rows] = await Promise.all([settled(records.getAllKeys()), settled(records.getAll())]);
  const kept = database.transaction("keys").objectStore("keys");
  const [names, values] = await Promise.all([settled(kept.getAllKeys()), settled(kept.getAll())]);
  const keys = {};
  for (const [index, key] of names.entries()) {
    const value = values[index];
    if (value instanceof CryptoKey) keys[key] = { raw: hex(new Uint8Array(await crypto.subtle.exportKey("raw", value))) };
    else keys[key] = { pkcs8: hex(new Uint8Array(await crypto.subtle.exportKey("pkcs8", value.secret))), public: hex(value.public), name: value.secret.algorithm.name };
  }
  const { version } = database;
  database.close();
  return { version, keys, rows: places.map(([table, key], index) => [table, hex(new Uint8Array(key)), rows[index].version, hex(rows[index].sealed)]) };
}

/** Puts a dump where a store of this name would be. */
async function restore(name, { version, keys, rows }) {
  const values = {};
  for (const [key, { raw, pkcs8, public: shown, name: algorithm }] of Object.entries(keys)) {
    if (raw) values[key] = await crypto.subtle.importKey("raw", fromHex(raw), "AES-GCM", false, ["encrypt", "decrypt"]);
    else values[key] = { secret: await crypto.subtle.importKey("pkcs8", fromHex(pkcs8), algorithm, false, algorithm === "X25519" ? ["deriveBits"] : ["sign"]), public: fromHex(shown) };
  }
  const request = indexedDB.open(name, version);
  request.onupgradeneeded = () => {
    const records = request.result.createObjectStore("records");
    const kept = request.result.createObjectStore("keys");
    for (const [table, key, row, sealed] of rows) records.put({ version: row, sealed: fromHex(sealed) }, [table, fromHex(key)]);
    for (const [key, value] of Object.entries(values)) kept.put(value, key);
  };
  (await settled(request)).close();
}

async function golden(version) {
  return (await fetch(`/golden/browser_store_v${version}.json`)).json();
}

/** @param {(name: string) => Promise<void>} work */
async function named(work) {
  const name = `golden-test-${Date.now()}-${made++}`;
  try {
    await work(name);
  } finally {
    await deleteStore(name);
  }
}

/** Ann's device after a little life: a session with a gap, a verified peer, a group with gaps, and a key that waits for another group. */
export async function make() {
  const generate = SubtleCrypto.prototype.generateKey;
  SubtleCrypto.prototype.generateKey = function (algorithm, _extractable, usages) {
    return generate.call(this, algorithm, true, usages);
  };
  const name = `golden-make-${Date.now()}`;
  try {
    const store = await openStore(name);
    const ann = await Device.create(store, "ann", options);
    const bob = await Device.create(memoryStore(), "bob", options);
    const shown = { ann: await ann.publish(), bob: await bob.publish() };
    for (const device of [ann, bob]) {
      for (const [user, { certificate, deviceList }] of Object.entries(shown)) await device.learn(user, deviceList.encoded, [certificate.encoded]);
    }
    await ann.setVerified("bob", bob.certificate.account);
    const { certificate, prekeys } = shown.bob;
    await ann.start(new Bundle({ certificate, signed: prekeys.signed, oneTime: prekeys.oneTime[0] }));
    const say = async (sender, to, text) => (await sender.encrypt(to.userId, utf8(text)))[0].message;
    await bob.decrypt({ userId: "ann", deviceId: 1 }, await say(ann, bob, "hello"));
    const from = { userId: "bob", deviceId: 1 };
    await ann.decrypt(from, await say(bob, ann, "hello"));
    const skipped = await say(bob, ann, "skipped");
    await ann.decrypt(from, await say(bob, ann, "after it"));
    const { groupId, encoded } = await bob.groups.create(["ann"]);
    await ann.groups.join([encoded]);
    const hear = async (sent) => {
      for (const key of sent.keys) await ann.decrypt(from, key.message);
      return ann.groups.receive(from, sent.message);
    };
    await hear(await bob.groups.send(groupId, utf8("first")));
    const groupSkipped = await bob.groups.send(groupId, utf8("group skipped"));
    await hear(await bob.groups.send(groupId, utf8("later")));
    await ann.groups.send(groupId, utf8("from ann"));
    const early = await bob.groups.create(["ann"]);
    const waiting = await bob.groups.send(early.groupId, utf8("waited"));
    for (const key of waiting.keys) await ann.decrypt(from, key.message);
    const rekey = await bob.groups.rekey(groupId);
    await store.close();
    return {
      note: "A database as this version wrote it, with its keys, and messages that its device can read.",
      ...(await dump(name)),
      now: NOW,
      account_of_bob: hex(bob.certificate.account),
      group: hex(groupId),
      waiting_chain: hex(early.encoded),
      rekey: hex(rekey.encoded),
      messages: [
        { text: "skipped", message: hex(skipped) },
        { text: "following", message: hex(await say(bob, ann, "following")) },
      ],
      group_messages: [
        { text: "group skipped", message: hex(groupSkipped.message) },
        { text: "following", message: hex((await bob.groups.send(groupId, utf8("following"))).message) },
        { text: "waited", message: hex(waiting.message) },
      ],
    };
  } finally {
    SubtleCrypto.prototype.generateKey = generate;
    await deleteStore(name);
  }
}

/** A device goes on from a kept database. */
export async function goesOn(version) {
  const kept = await golden(version);
  await named(async (name) => {
    await restore(name, kept);
    const device = await Device.load(await openStore(name), options);
    same([device.userId, device.deviceId, device.isPrimary], ["ann", 1, true], "who the device is");
    const peer = await device.peer("bob");
    same([hex(peer.account), peer.verified, peer.devices], [kept.account_of_bob, true, [1]], "what it knows of Bob");
    const from = { userId: "bob", deviceId: 1 };
    for (const { text, message } of kept.messages) {
      same(read.decode((await device.decrypt(from, fromHex(message))).content.data), text, "a message");
    }
    const view = await device.groups.view(fromHex(kept.group));
    same([view.epoch, view.isMember, [...view.members.keys()].sort()], [0, true, ["ann", "bob"]], "the group");
    await device.groups.join([fromHex(kept.waiting_chain)]);
    for (const { text, message } of kept.group_messages) {
      same(read.decode((await device.groups.receive(from, fromHex(message))).data), text, "a message of a group");
    }
    same((await device.groups.send(fromHex(kept.group), utf8("on"))).keys.length, 0, "keys for those who have it");
    same((await device.groups.apply([fromHex(kept.rekey)])).length, 1, "the next operation");
    same((await device.groups.chain(fromHex(kept.group))).operations.length, 2, "the chain");
    same((await device.encrypt("bob", utf8("on"))).length, 1, "a message that it sends");
    same(await device.reserveDeviceId(), 2, "the next device id");
    await device.close();
  });
}

/** Two steps: the first renames a table and drops a record, the second doubles another. */
const LATER = new Schema(3, {
  1: ({ table, key, record }) => (table === "app.gone" ? [] : [{ table: table === "app.old" ? "app.new" : table, key, record }]),
  2: (entry) => (entry.table === "app.new" ? [entry, { ...entry, table: "app.copy" }] : [entry]),
});

export async function upgraded() {
  const kept = await golden(1);
  await named(async (name) => {
    await restore(name, kept);
    const before = await openStore(name);
    await before.run(async (tx) => {
      for (const table of ["app.old", "app.gone"]) tx.put(table, utf8("key"), utf8("record"));
    });
    const store = await openStore(name, { schema: LATER });
    same(await refusal(() => before.run((tx) => tx.get("app.old", utf8("key")))), "store_unavailable", "the tab of the earlier release");
    const found = await store.run(async (tx) => Promise.all(["app.old", "app.gone", "app.new", "app.copy"].map((table) => tx.get(table, utf8("key")))));
    same(found.map((record) => record && read.decode(record)), [null, null, "record", "record"], "what the steps have made");
    same((await store.run((tx) => tx.getVersioned("app.new", utf8("key")))).version, 1, "the version of a record");
    const device = await Device.load(store, options);
    same(read.decode((await device.decrypt({ userId: "bob", deviceId: 1 }, fromHex(kept.messages[0].message))).content.data), "skipped", "a message");
    same(await refusal(() => openStore(name)), "store_newer", "the earlier release");
    await store.close();
    same(await refusal(() => openStore(name)), "store_newer", "the earlier release, alone");
    await (await openStore(name, { schema: LATER })).close();
  });
}

/** A step that fails changes nothing, and the earlier release goes on. */
export async function failing() {
  const kept = await golden(1);
  await named(async (name) => {
    await restore(name, kept);
    const schemas = [
      new Schema(2, { 1: () => { throw new RangeError("no"); } }),
      new Schema(2, { 1: (entry) => [{ ...entry, record: /** @type {any} */ (7) }] }),
    ];
    for (const schema of schemas) same(await refusal(() => openStore(name, { schema })), "store_unavailable", "a failing step");
    const spoiled = structuredClone(kept.rows);
    await (await openStore(name)).close();
    const database = await settled(indexedDB.open(name));
    same(database.version, 1, "the version");
    const records = database.transaction("records").objectStore("records");
    const rows = (await settled(records.getAll())).map(({ version, sealed }) => [version, hex(sealed)]);
    same(rows, spoiled.map(([, , version, sealed]) => [version, sealed]), "the records");
    // Somebody changed a record: it is not carried over.
    const change = database.transaction("records", "readwrite");
    const [table, key, version, sealed] = kept.rows[0];
    change.objectStore("records").put({ version, sealed: fromHex(`00${sealed.slice(2)}`) }, [table, fromHex(key)]);
    await completed(change);
    database.close();
    same(await refusal(() => openStore(name, { schema: new Schema(2, { 1: (entry) => [entry] }) })), "store_corrupt", "a changed record");
  });
}

/** A tab that does not let go keeps an upgrade from beginning, and no longer than that. */
export async function blocked() {
  const kept = await golden(1);
  await named(async (name) => {
    await restore(name, kept);
    const stuck = await settled(indexedDB.open(name));
    same(await refusal(() => openStore(name, { schema: LATER })), "store_busy", "while another tab holds it");
    stuck.close();
    const store = await openStore(name, { schema: LATER });
    same((await store.run((tx) => tx.scan("local"))).length, 1, "the records");
    await store.close();
  });
}

export async function schemas() {
  for (const wrong of [() => new Schema(2), () => new Schema(1, { 1: (entry) => [entry] }), () => new Schema(3, { 2: (entry) => [entry] })]) {
    let name = "nothing";
    try {
      wrong();
    } catch (error) {
      name = error.name;
    }
    same(name, "RangeError", "a schema with a step that is missing, or one too many");
  }
}
