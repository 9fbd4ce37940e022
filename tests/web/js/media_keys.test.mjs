// Media keys of a call: what only concurrency shows, bounds, and who is sent what when people come and go.
import assert from "node:assert/strict";
import { test } from "node:test";
import { CallKeys } from "../../../web/sdk/e2ee/call_key_exchange.js";
import { SenderKeys } from "../../../web/sdk/e2ee/call_keys.js";
import { FrameSealer, KeyRing } from "../../../web/sdk/e2ee/frame_keys.js";
import { metadata } from "../../../web/sdk/e2ee/frames.js";
import { checkMediaKey, kidOf } from "../../../web/sdk/e2ee/media_key.js";
import { FrameKey, parseHeader, ratchet } from "../../../web/sdk/e2ee/sframe.js";

/** What `run` is refused with, or null. */
async function refusal(run) {
  try {
    await run();
  } catch (error) {
    assert.ok("code" in error, String(error));
    return error.code;
  }
  return null;
}

const KEY = { generation: 0, step: 0, baseKey: new Uint8Array(32) };

test("frames that come at once share no counter and are read once", async () => {
  const sealer = new FrameSealer();
  assert.equal(await refusal(() => sealer.seal("opus", "microphone", new Uint8Array(1))), "unknown_frame_key");
  await sealer.use(KEY);
  const sealed = await Promise.all(Array.from({ length: 100 }, () => sealer.seal("opus", "microphone", new Uint8Array(3))));
  assert.equal(new Set(sealed.map((frame) => parseHeader(frame).counter)).size, 100);
  const ring = new KeyRing();
  await ring.add("a", KEY);
  const doubled = await Promise.allSettled([...sealed, ...sealed].map((frame) => ring.open("a", "opus", "microphone", frame, 0)));
  assert.equal(doubled.filter(({ status }) => status === "fulfilled").length, 100);
});

test("later steps that come at once are read once each, and never behind one another", async () => {
  const ring = new KeyRing();
  await ring.add("a", KEY);
  const chain = [KEY];
  for (let step = 1; step < 4; step += 1) chain.push({ generation: 0, step, baseKey: await ratchet(chain[step - 1].baseKey) });
  const frames = [];
  for (const key of [chain[3], chain[2], chain[3], chain[3]]) {
    const extra = metadata("data", new Uint8Array(0), "");
    frames.push(await (await FrameKey.create(kidOf(key), key.baseKey)).seal(frames.length, new Uint8Array(2), extra));
  }
  const all = [...frames, ...frames].map((frame) => ring.open("a", "data", "", frame, 0).then(() => true, () => false));
  const done = await Promise.all(all);
  for (let index = 0; index < frames.length; index += 1) {
    const times = Number(done[index]) + Number(done[index + frames.length]);
    assert.ok(times === 1 || (index === 1 && times <= 1), `${index}: ${times}`);
  }
  for (const frame of frames) assert.notEqual(await refusal(() => ring.open("a", "data", "", frame, 0)), null);
});

test("a key is never used from its start again", async () => {
  const sealer = new FrameSealer();
  await sealer.use({ ...KEY, generation: 1 });
  const first = await sealer.seal("data", "", new Uint8Array(1));
  await sealer.use({ ...KEY, generation: 1 });
  await sealer.use(KEY);
  const second = await sealer.seal("data", "", new Uint8Array(1));
  assert.deepEqual([first, second].map((frame) => parseHeader(frame)), [
    { kid: 16n, counter: 0n, length: 2 },
    { kid: 16n, counter: 1n, length: 2 },
  ]);
  await Promise.all([sealer.use({ ...KEY, generation: 2 }), sealer.use({ ...KEY, generation: 3 })]);
  assert.equal(parseHeader(await sealer.seal("data", "", new Uint8Array(1))).kid, 48n);
});

test("tables are bounded and keys have one shape", async () => {
  const ring = new KeyRing();
  for (let index = 0; index < 1024; index += 1) await ring.add(`${index}`, KEY);
  assert.equal(await refusal(() => ring.add("one more", KEY)), "limit_reached");
  ring.remove("0");
  await ring.add("one more", KEY);
  assert.equal(ring.senders.length, 1024);
  for (const wrong of [{ generation: -1 }, { generation: 2 ** 32 }, { step: 16 }, { step: 1 }, { generation: 0.5 }, { baseKey: new Uint8Array(31) }]) {
    assert.equal(await refusal(async () => checkMediaKey({ ...KEY, ...wrong })), "malformed_message");
  }
  const keys = new SenderKeys({ peers: Array.from({ length: 1024 }, (_, index) => `${index}`), generation: 2 ** 32 - 1 });
  assert.equal(await refusal(() => keys.add("one more", 0)), "limit_reached");
  assert.equal(await refusal(() => keys.renew(0)), "counter_exhausted");
  assert.equal(await refusal(() => keys.remove("0", 0)), "counter_exhausted");
  assert.equal(keys.peers.length, 1024);
});

test("a device that lost its keys gets the one to come", async () => {
  const keys = new SenderKeys({ peers: ["b", "c"] });
  assert.deepEqual((await keys.again("b")).map(({ key }) => kidOf(key)), [0]);
  await keys.remove("c", 0);
  assert.deepEqual((await keys.again("b")).map(({ key }) => kidOf(key)), [16]);
  assert.deepEqual(await keys.again("c"), []);
});

// ------------------------------------------------------------------------------------------------- CallKeys

const CALL_ID = new Uint8Array(16).fill(7);

/** Waits for `condition`; the limit bounds a hang, it is no expectation of speed. */
async function until(condition, what) {
  const end = Date.now() + 20_000;
  while (!(await condition())) {
    assert.ok(Date.now() < end, `never came true: ${what}`);
    await new Promise((done) => setTimeout(done, 1));
  }
}

/** Participants by name, whose messages reach each other at once; `sent` remembers them. */
function call(...names) {
  const parties = {};
  const sent = [];
  const enter = (name) => {
    const keys = new CallKeys({
      callId: CALL_ID,
      send: async (to, content) => {
        sent.push({ from: name, to, content });
        await parties[to].keys.receive(name, content);
      },
    });
    const [sealer, ring] = [new FrameSealer(), new KeyRing()];
    void sealer.use(keys.current);
    keys.on("use", ({ key }) => void sealer.use(key));
    keys.on("add", ({ sender, key }) => void ring.add(sender, key));
    keys.on("remove", ({ sender }) => ring.remove(sender));
    parties[name] = { keys, sealer, ring };
    return parties[name];
  };
  names.forEach(enter);
  const carry = async (to, from) => {
    const sealed = await parties[from].sealer.seal("opus", "microphone", new Uint8Array(3));
    await parties[to].ring.open(from, "opus", "microphone", sealed, performance.now() / 1000);
  };
  const outcome = async (to, from) => (await refusal(() => carry(to, from))) ?? "heard";
  const becomes = (to, from, wanted) => until(async () => (await outcome(to, from)) === wanted, `${to} to ${from}: ${wanted}`);
  return { parties, sent, enter, becomes, close: () => Object.values(parties).forEach(({ keys }) => keys.close()) };
}

test("those who join hear each other, and whoever leaves does not", async () => {
  const { parties, becomes, close } = call("a", "b", "c");
  parties.a.keys.entered("a", []);
  parties.b.keys.entered("b", ["a"]);
  parties.a.keys.joined("b");
  await becomes("a", "b", "heard");
  await becomes("b", "a", "heard");
  await becomes("c", "a", "unknown_frame_key");
  parties.c.keys.entered("c", ["a", "b"]);
  for (const name of ["a", "b"]) parties[name].keys.joined("c");
  for (const to of "abc") for (const from of "abc") if (to !== from) await becomes(to, from, "heard");
  for (const name of ["a", "b"]) parties[name].keys.left("c");
  await becomes("c", "a", "unknown_frame_key");
  await becomes("a", "c", "unknown_frame_key");
  await becomes("a", "b", "heard");
  await becomes("b", "a", "heard");
  close();
});

test("a page that was loaded anew under the same name is given the keys again", async () => {
  const { parties, enter, becomes, close } = call("a", "b");
  parties.a.keys.entered("a", ["b"]);
  parties.b.keys.entered("b", ["a"]);
  await becomes("a", "b", "heard");
  await becomes("b", "a", "heard");
  parties.a.keys.close();
  enter("a").keys.entered("a", ["b"]);
  await becomes("b", "a", "heard");
  await becomes("a", "b", "heard");
  close();
});

test("under a new name everybody is given a new key", async () => {
  const { parties, sent, becomes, close } = call("a", "b");
  parties.a.keys.entered("a", ["b"]);
  await becomes("b", "a", "heard");
  const { generation } = parties.a.keys.current;
  parties.a.keys.entered("a2", ["b"]);
  await until(() => parties.a.keys.current.generation === generation + 1, "another generation");
  const keys = sent.filter(({ from, content }) => from === "a" && content.kind === "callKey");
  assert.deepEqual(keys.map(({ to, content }) => [to, content.generation]), [["b", generation], ["b", generation + 1]]);
  close();
});

test("nobody who is not admitted gets a key, and nobody's leaving waits for the question", async () => {
  const sent = [];
  let answer = () => {};
  const asked = new Promise((done) => (answer = done));
  const admit = (peer) => (peer === "slow" ? asked : peer !== "stranger");
  const keys = new CallKeys({ callId: CALL_ID, send: async (to, content) => void sent.push([to, content.kind]), admit });
  const added = [];
  keys.on("add", ({ sender }) => added.push(sender));
  keys.entered("me", ["friend", "stranger", "slow"]);
  await until(() => sent.length > 0, "the friend's key");
  keys.left("friend");
  keys.left("slow");
  await until(() => keys.current.generation === 1, "another generation");
  answer(true);
  keys.joined("last");
  await until(() => sent.length > 1, "the last one's key");
  assert.deepEqual(sent.splice(0), [["friend", "callKey"], ["last", "callKey"]]);
  const content = { kind: "callKey", callId: CALL_ID, generation: 0, step: 0, baseKey: new Uint8Array(32) };
  await keys.receive("stranger", content);
  await keys.receive("other call", { ...content, callId: new Uint8Array(16) });
  assert.deepEqual(added, []);
  await keys.receive("friend", content);
  await keys.receive("friend", content);
  assert.deepEqual(added, ["friend"]);
  assert.deepEqual(sent, [["friend", "callKeyAck"], ["friend", "callKeyAck"]]);
  assert.equal(await refusal(() => keys.receive("friend", { ...content, step: 1 })), "malformed_message");
  for (let index = 1; index < 1024; index += 1) await keys.receive(`${index}`, content);
  assert.equal(await refusal(() => keys.receive("one more", content)), "limit_reached");
  added.length = 1;
  keys.close();
  keys.joined("friend");
  await keys.receive("friend", { ...content, generation: 5 });
  assert.deepEqual(added, ["friend"]);
});

test("what cannot be sent is told", async () => {
  const failures = [];
  const keys = new CallKeys({
    callId: CALL_ID,
    send: async () => {
      throw new Error("no session");
    },
    admit: async (peer) => {
      if (peer === "odd") throw new Error("who?");
      return true;
    },
  });
  keys.on("failed", ({ peer, error }) => failures.push([peer, error.message]));
  keys.entered("me", ["b", "odd"]);
  await until(() => failures.length === 2, "two failures");
  assert.deepEqual(failures.sort(), [["b", "no session"], ["odd", "who?"]]);
  keys.close();
});
