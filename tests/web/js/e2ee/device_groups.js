/** Groups of a device over its store in the browser: the cases of tests/web/test_e2ee_device_groups.py. */
import { signingPair } from "/web/sdk/e2ee/suite.js";
import { Device } from "/web/sdk/e2ee/device.js";
import { fromHex, hex, utf8 } from "/web/sdk/e2ee/encoding.js";
import { makeLimits } from "/web/sdk/e2ee/limits.js";
import { deviceKey } from "/web/sdk/e2ee/records.js";
import { GROUPS, WAITING, operationsTable, recordsTable } from "/web/sdk/e2ee/group_store.js";
import { Bundle } from "/web/sdk/e2ee/prekeys.js";
import { deleteStore, memoryStore, openStore } from "/web/sdk/e2ee/store.js";
import { refusal, same } from "./check.js";

const read = new TextDecoder();
const policy = { minSuite: 1, suites: [1], requireOneTime: false };
const LIMITS = { oneTimePrekeys: 4, oneTimePrekeysRefill: 1, oneTimeKemPrekeys: 1, oneTimeKemPrekeysRefill: 1 };
let made = 0;

/** People with one device each, who know each other, and the server between them. */
class World {
  constructor(limits = {}) {
    this.options = { policy, limits: makeLimits({ ...LIMITS, ...limits }) };
    this.devices = new Map();
    this.published = new Map();
  }

  static async of(names, { limits, stores = {} } = {}) {
    const world = new World(limits);
    for (const name of names) await world.add(name, stores[name] ?? memoryStore());
    for (const device of world.devices.values()) for (const name of names) await world.show(device, name);
    return world;
  }

  async add(name, store) {
    const device = await Device.create(store, name, this.options);
    this.devices.set(name, device);
    this.published.set(name, await device.publish());
    return device;
  }

  get(name) {
    return this.devices.get(name);
  }

  async show(device, name) {
    const { certificate, deviceList } = this.published.get(name);
    await device.learn(name, deviceList.encoded, [certificate.encoded]);
  }

  bundle(name) {
    const { certificate, prekeys } = this.published.get(name);
    return new Bundle({ certificate, signed: prekeys.signed, oneTime: prekeys.oneTime.pop() ?? null, kem: null, kemOnce: false });
  }

  async create(admin, others, options) {
    const operation = await this.get(admin).groups.create(others, options);
    for (const name of others) await this.get(name).groups.join([operation.encoded]);
    return operation;
  }

  async announce(operation, names) {
    for (const name of names) same((await this.get(name).groups.apply([operation.encoded])).length, 1, `what ${name} applied`);
  }

  async say(name, groupId, text) {
    const device = this.get(name);
    for (const address of await device.groups.needsBundles(groupId)) await device.start(this.bundle(address.userId));
    const sent = await device.groups.send(groupId, utf8(text));
    for (const key of sent.keys) {
      const { refused } = await this.get(key.userId).decrypt({ userId: name, deviceId: 1 }, key.message);
      if (refused) throw refused;
    }
    return sent;
  }

  async hear(reader, sender, { message }) {
    return read.decode((await this.get(reader).groups.receive({ userId: sender, deviceId: 1 }, message)).data);
  }

  /** What is told in a session, and why it did not count. */
  async tell(sender, to, content) {
    const device = this.get(sender);
    if ((await device.needsBundles(to)).length) await device.start(this.bundle(to));
    const [{ message }] = await device.encrypt(to, content);
    const { refused } = await this.get(to).decrypt({ userId: sender, deviceId: 1 }, message);
    return refused?.code ?? null;
  }
}

const keysTo = ({ keys }) => keys.map(({ userId }) => userId).sort();
const viewed = ({ epoch, hash, members, isMember }) => [epoch, hex(hash), [...members.keys()].sort(), isMember];

/** @param {(store: any, name: string) => Promise<void>} work */
async function stored(work) {
  const name = `groups-test-${Date.now()}-${made++}`;
  try {
    await work(await openStore(name), name);
  } finally {
    await deleteStore(name);
  }
}

export async function life() {
  await stored(async (store) => {
    const world = await World.of(["ann", "bob", "cleo", "dan"], { stores: { ann: store } });
    const { groupId } = await world.create("ann", ["bob", "cleo"], { admins: ["bob"] });
    same((await world.get("ann").groups.ids()).map(hex), [hex(groupId)], "the groups");
    for (const sender of ["ann", "bob", "cleo"]) {
      const others = ["ann", "bob", "cleo"].filter((name) => name !== sender);
      const sent = await world.say(sender, groupId, `from ${sender}`);
      same(keysTo(sent), others, "who gets the key");
      for (const reader of others) same(await world.hear(reader, sender, sent), `from ${sender}`, `what ${reader} heard`);
      same(await refusal(() => world.hear(others[0], sender, sent)), "duplicate_message", "a repeated message");
    }
    same((await world.say("ann", groupId, "again")).keys.length, 0, "keys for those who have it");
    await world.announce(await world.get("bob").groups.remove(groupId, ["cleo"]), ["ann", "bob", "cleo"]);
    const sent = await world.say("ann", groupId, "without cleo");
    same(keysTo(sent), ["bob"], "who gets the new key");
    same(await world.hear("bob", "ann", sent), "without cleo", "what Bob heard");
    same(await refusal(() => world.hear("cleo", "ann", sent)), "not_a_member", "what Cleo heard");
    same(await refusal(() => world.get("cleo").groups.send(groupId, utf8("x"))), "not_a_member", "what Cleo says");
    await world.announce(await world.get("ann").groups.add(groupId, ["dan"], "admin"), ["ann", "bob"]);
    same(await refusal(() => world.get("ann").groups.sendChain(groupId, "cleo")), "not_a_member", "a chain for Cleo");
    await world.get("ann").start(world.bundle("dan"));
    const [{ message }] = await world.get("ann").groups.sendChain(groupId, "dan");
    const { content, refused } = await world.get("dan").decrypt({ userId: "ann", deviceId: 1 }, message);
    same([content.kind, content.operations.length, refused], ["groupOperations", 3, null], "what Dan was sent");
    same(await world.get("dan").groups.view(groupId), null, "the group before Dan decided");
    const view = await world.get("dan").groups.join(content.operations.toReversed());
    same(viewed(view), viewed(await world.get("ann").groups.view(groupId)), "the group of Dan and Ann");
    same(await world.hear("dan", "ann", await world.say("ann", groupId, "welcome")), "welcome", "what Dan heard");
    const groups = world.get("dan").groups;
    await world.announce(await groups.setRole(groupId, "dan", "member"), ["ann", "bob", "dan"]);
    same(await refusal(() => groups.rekey(groupId)), "group_state_mismatch", "a rekey of a member");
    same(await refusal(() => world.get("ann").groups.renew(groupId, "dan")), "group_state_mismatch", "a renewal with the same key");
    same(await refusal(() => world.get("ann").groups.setRole(groupId, "cleo", "admin")), "not_a_member", "a role of nobody");
    const chain = await groups.chain(groupId);
    same([chain.operations.length, chain.certificates.length], [4, 3], "the chain");
    await groups.forget(groupId);
    same([await groups.view(groupId), await groups.ids()], [null, []], "a forgotten group");
    same(await refusal(() => groups.chain(groupId)), "group_state_mismatch", "its chain");
    await store.close();
  });
}

/** Keys before the chain, and before the operation that adds their sender. */
export async function early() {
  await stored(async (store, name) => {
    const world = await World.of(["ann", "bob", "cleo"], { stores: { bob: store } });
    const created = await world.get("ann").groups.create(["bob"]);
    const { groupId } = created;
    const sent = await world.say("ann", groupId, "early");
    same(await refusal(() => world.hear("bob", "ann", sent)), "group_state_mismatch", "before the chain");
    await store.close();
    world.devices.set("bob", await Device.load(await openStore(name), world.options));
    same(await refusal(() => world.get("cleo").groups.join([created.encoded])), "not_a_member", "a group of others");
    same(await refusal(() => world.get("cleo").groups.join([])), "group_state_mismatch", "a chain of nothing");
    await world.get("bob").groups.join([created.encoded]);
    same(await world.hear("bob", "ann", sent), "early", "after it");
    const added = await world.get("ann").groups.add(groupId, ["cleo"]);
    await world.announce(added, ["ann"]);
    await world.get("cleo").groups.join([created.encoded, added.encoded]);
    const ahead = await world.say("cleo", groupId, "ahead");
    same(await refusal(() => world.hear("bob", "cleo", ahead)), "group_state_mismatch", "before the operation");
    same((await world.get("bob").groups.join([created.encoded, added.encoded])).epoch, 1, "the epoch");
    same(await world.hear("bob", "cleo", ahead), "ahead", "after it");
    same(await world.get("bob").run((tx) => tx.count(WAITING)), 0, "what still waits");
    same((await world.get("bob").groups.apply([added.encoded])).length, 0, "an operation that comes twice");
    same(await refusal(() => world.get("ann").groups.add(groupId, [])), "malformed_message", "an operation about nobody");
    const [first, second] = [await world.get("ann").groups.rekey(groupId), await world.get("ann").groups.setRole(groupId, "bob", "admin")];
    await world.announce(first, ["ann", "bob"]);
    same(await refusal(() => world.get("bob").groups.apply([second.encoded])), "group_state_mismatch", "another one of that epoch");
    await world.get("bob").close();
  });
}

const distribution = async (groupId, changes = {}) => {
  const { public: signingPublic } = await signingPair(new Uint8Array(32));
  const fields = { kind: "senderKey", groupId, epoch: 0, keyId: new Uint8Array(8), iteration: 0, chainKey: new Uint8Array(32), signingPublic };
  return { ...fields, ...changes };
};

/** What comes through the sessions and does not count is refused, and the message that carried it is read. */
export async function refused() {
  const world = await World.of(["ann", "bob", "cleo"], { limits: { senderKeysWaiting: 2 } });
  const { groupId, encoded } = await world.create("ann", ["bob"]);
  same(await world.tell("cleo", "ann", await distribution(groupId)), "not_a_member", "a key of a stranger");
  same(await world.tell("bob", "ann", await distribution(groupId, { signingPublic: new Uint8Array(32) })), "invalid_key", "no key");
  same(await world.tell("bob", "ann", await distribution(groupId)), null, "a key");
  const foreign = await world.get("cleo").groups.create(["ann"]);
  const chain = (operations) => ({ kind: "groupOperations", groupId, operations });
  same(await world.tell("bob", "ann", chain([foreign.encoded])), "malformed_message", "operations of another group");
  same(await world.tell("bob", "ann", chain([new Uint8Array(0)])), "malformed_message", "no operation");
  const added = await world.get("ann").groups.add(groupId, ["cleo"]);
  same(await world.tell("ann", "bob", chain([encoded, added.encoded])), null, "an operation");
  same((await world.get("bob").groups.view(groupId)).epoch, 1, "the epoch");
  const unknown = [1, 2, 3].map((number) => new Uint8Array(16).fill(number));
  for (const group of unknown) same(await world.tell("ann", "bob", await distribution(group)), null, "a key of an unknown group");
  const record = await world.get("bob").run((tx) => tx.get(WAITING, deviceKey("ann", 1)));
  same(hex(record.slice(0, 3)), "010002", "what waits");
}

/** Records that are damaged or of a later release are the store's fault. */
export async function damaged() {
  for (const later of [true, false]) {
    for (const which of ["log", "head", "state", "waiting"]) {
      const world = await World.of(["ann", "bob"]);
      const { groupId, encoded } = await world.create("ann", ["bob"]);
      const unknown = await distribution(new Uint8Array(16));
      await world.tell("ann", "bob", unknown);
      const { message } = await world.say("ann", groupId, "hello");
      const [more] = await world.get("ann").encrypt("bob", unknown);
      const places = { log: [operationsTable(groupId), new Uint8Array(4)], head: [GROUPS, groupId], state: [recordsTable(groupId), utf8("s")] };
      const [table, key] = places[which] ?? [WAITING, deviceKey("ann", 1)];
      const bob = world.get("bob");
      await bob.run(async (tx) => {
        const record = (await tx.get(table, key)).slice(0, later ? undefined : 2);
        if (later) record[0] = 255;
        tx.put(table, key, record);
        // Another version of the group than the one in memory.
        const head = await tx.get(GROUPS, groupId);
        tx.put(GROUPS, groupId, head);
      });
      const from = { userId: "ann", deviceId: 1 };
      const calls = which === "waiting" ? [() => bob.decrypt(from, more.message)] : [() => bob.groups.join([encoded]), () => bob.groups.chain(groupId)];
      if (which === "head" || which === "state") calls.push(() => bob.groups.receive(from, message), () => bob.groups.receiveMany([{ ...from, message }]));
      for (const call of calls) same(await refusal(call), later ? "store_newer" : "store_corrupt", `a damaged ${which}`);
    }
  }
}

export async function missing() {
  const world = await World.of(["ann", "bob", "cleo"]);
  const { groupId } = await world.create("ann", ["bob", "cleo"]);
  const ann = world.get("ann");
  same(await refusal(() => ann.groups.send(groupId, utf8(""))), "no_session", "no sessions");
  await ann.start(world.bundle("bob"));
  const sent = await ann.groups.send(groupId, utf8("for bob"), { skipMissing: true });
  same([keysTo(sent), sent.leftOut], [["bob"], [{ userId: "cleo", deviceId: 1 }]], "who is left out");
  const later = await world.say("ann", groupId, "for both");
  same(keysTo(later), ["cleo"], "who gets the key later");
  same(await world.hear("cleo", "ann", later), "for both", "what Cleo heard");
  same(await refusal(() => world.hear("cleo", "ann", sent)), "duplicate_message", "what was said before");
  // The server shows another account key for Cleo.
  const other = new World();
  await other.add("cleo", memoryStore());
  world.published.set("cleo", other.published.get("cleo"));
  same(await refusal(() => world.show(ann, "cleo")), "untrusted_identity", "another account key");
  same(await refusal(() => ann.groups.send(groupId, utf8(""))), "untrusted_identity", "while in doubt");
  const doubtful = await ann.groups.send(groupId, utf8(""), { skipMissing: true });
  same([doubtful.unreachable, keysTo(doubtful)], [["cleo"], ["bob"]], "who is unreachable");
  await ann.acceptIdentity("cleo", other.published.get("cleo").certificate.account);
  await world.show(ann, "cleo");
  same((await ann.groups.send(groupId, utf8(""))).withheld, ["cleo"], "who is withheld");
  await world.announce(await ann.groups.renew(groupId, "cleo"), ["ann", "bob"]);
  same(await ann.groups.needsBundles(groupId), [{ userId: "cleo", deviceId: 1 }], "who needs a session after the renewal");
}

/** A failing application or transaction leaves all as it was; another page over the same store goes on. */
export async function crashed() {
  await stored(async (store, name) => {
    const world = await World.of(["ann", "bob"], { stores: { ann: store } });
    const { groupId } = await world.create("ann", ["bob"]);
    const ann = world.get("ann");
    await ann.start(world.bundle("bob"));
    const attempts = [
      (tx) => ann.groups.steps.send(tx, groupId, utf8("never"), { now: Date.now() / 1000 }),
      (tx) => ann.groups.steps.create(tx, { users: ["bob"], admins: [], now: 0 }),
      (tx) => ann.groups.steps.forget(tx, groupId),
    ];
    for (const attempt of attempts) {
      const work = async (tx) => {
        await attempt(tx);
        throw new RangeError("the process ends here");
      };
      same(await ann.run(work).catch((error) => error.name), "RangeError", "the crash");
    }
    same((await ann.groups.ids()).map(hex), [hex(groupId)], "the groups");
    const sent = await world.say("ann", groupId, "sent");
    const from = { userId: "ann", deviceId: 1 };
    const refuse = () => {
      throw new RangeError("no");
    };
    const bob = world.get("bob");
    same(await bob.groups.receive(from, sent.message, refuse).catch((error) => error.name), "RangeError", "a refusal");
    same(await bob.groups.receiveMany([{ ...from, message: sent.message }], refuse).catch((error) => error.name), "RangeError", "a refusal");
    same(await world.hear("bob", "ann", sent), "sent", "what Bob heard");
    const page = await Device.load(await openStore(name), world.options);
    for (const device of [page, ann, page]) {
      const [one, two] = await device.groups.sendMany([{ groupId, data: utf8("1") }, { groupId, data: utf8("2") }]);
      same([one.keys.length, two.keys.length], [0, 0], "keys that another page gave");
      const messages = [two, one, one].map(({ message }) => ({ ...from, message }));
      const results = await bob.groups.receiveMany(messages);
      same(results.map((result) => (result.data ? read.decode(result.data) : result.code)), ["2", "1", "duplicate_message"], "a batch");
    }
    // An old copy of a store makes new keys as soon as it is published again.
    await page.publish();
    same(keysTo(await world.say("ann", groupId, "new key")), ["bob"], "who gets the new key");
    const reset = await bob.reset(world.bundle("ann"));
    await ann.decrypt({ userId: "bob", deviceId: 1 }, reset.message);
    same(keysTo(await world.say("ann", groupId, "and again")), ["bob"], "who gets the key again");
    await page.close();
    await store.close();
  });
}

export async function bounds() {
  const world = await World.of(["ann", "bob", "cleo"], { limits: { maxGroups: 2, maxGroupOperations: 2, maxGroupMembers: 2, maxGroupDevices: 2 } });
  const { groupId } = await world.create("ann", ["bob"]);
  const ann = world.get("ann").groups;
  same(await refusal(() => ann.create(["bob", "cleo"])), "limit_reached", "a third member");
  same(await refusal(() => ann.add(groupId, ["cleo"])), "limit_reached", "a third member");
  await ann.create(["bob"]);
  same(await refusal(() => ann.create(["bob"])), "limit_reached", "a third group");
  await world.announce(await ann.rekey(groupId), ["ann", "bob"]);
  const third = await ann.rekey(groupId);
  same(await refusal(() => ann.apply([third.encoded])), "limit_reached", "a third operation");
  same(await refusal(() => ann.send(groupId, new Uint8Array(65_536))), "no_session", "no session yet");
  await world.say("ann", groupId, "x");
  same(await refusal(() => ann.send(groupId, new Uint8Array(65_536))), "limit_reached", "too much content");
}

export async function strangers() {
  const world = await World.of(["ann", "bob", "cleo"]);
  const { groupId } = await world.create("ann", ["bob"]);
  const sent = await world.say("ann", groupId, "hello");
  same(await refusal(() => world.hear("cleo", "ann", sent)), "group_state_mismatch", "an unknown group");
  same(await refusal(() => world.hear("ann", "ann", sent)), "duplicate_message", "the own message");
  const bob = world.get("bob").groups;
  same(await refusal(() => bob.receive({ userId: "ann", deviceId: 2 }, sent.message)), "untrusted_identity", "an unknown device");
  same(await refusal(() => bob.receive({ userId: "ann", deviceId: 1 }, new Uint8Array(3))), "malformed_message", "no message");
}

// A browser device in a group with Python ones: tests/e2ee/test_interop_device_groups.py.

const mine = {};

export async function begin(userId) {
  mine.name = `interop-groups-${Date.now()}-${made++}`;
  mine.device = await Device.create(await openStore(mine.name), userId);
  const { certificate, deviceList, prekeys } = await mine.device.publish();
  const bundles = prekeys.oneTime.slice(0, 4).map((oneTime, index) => {
    return hex(new Bundle({ certificate, signed: prekeys.signed, oneTime, kem: prekeys.kemOnce[index], kemOnce: true }).encode());
  });
  return { certificate: hex(certificate.encoded), list: hex(deviceList.encoded), bundles };
}

/** The page is closed and opened again. */
export async function reopen() {
  await mine.device.close();
  mine.device = await Device.load(await openStore(mine.name));
}

export async function end() {
  await mine.device.close();
  await deleteStore(mine.name);
}

export async function learn(userId, list, certificates) {
  await mine.device.learn(userId, fromHex(list), certificates.map(fromHex));
}

/** The code of the error, or what `work` gives. */
async function outcome(work) {
  let result;
  const code = await refusal(async () => {
    result = await work();
  });
  return code === "nothing was refused" ? { result } : { error: code };
}

const shown = ({ epoch, hash, members, isMember }) => ({ epoch, hash: hex(hash), members: [...members.keys()].sort(), isMember });

export const createGroup = async (users) => hex((await mine.device.groups.create(users)).encoded);
export const joinGroup = (operations) => outcome(async () => shown(await mine.device.groups.join(operations.map(fromHex))));
export const applyAll = (operations) => outcome(async () => (await mine.device.groups.apply(operations.map(fromHex))).length);
export const change = (groupId, kind, users) => outcome(async () => hex((await mine.device.groups[kind](fromHex(groupId), users)).encoded));
export const viewGroup = async (groupId) => shown(await mine.device.groups.view(fromHex(groupId)));
export const needed = (groupId) => mine.device.groups.needsBundles(fromHex(groupId));
export const start = (bundle) => mine.device.start(fromHex(bundle));

export function say(groupId, data) {
  return outcome(async () => {
    const { message, keys } = await mine.device.groups.send(fromHex(groupId), fromHex(data));
    return { message: hex(message), keys: keys.map((key) => ({ user: key.userId, device: key.deviceId, message: hex(key.message) })) };
  });
}

export function take(userId, deviceId, message) {
  return outcome(async () => {
    const { content, refused: why } = await mine.device.decrypt({ userId, deviceId }, fromHex(message));
    if (why) throw why;
    return content.kind;
  });
}

export const hear = (userId, deviceId, message) => outcome(async () => hex((await mine.device.groups.receive({ userId, deviceId }, fromHex(message))).data));
