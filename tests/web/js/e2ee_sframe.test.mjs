// The known answers for media frames and media keys, and what only concurrency shows.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { SenderKeys } from "../../../web/sdk/e2ee/call_keys.js";
import { fromHex, hex } from "../../../web/sdk/e2ee/encoding.js";
import { FrameSealer, KeyRing } from "../../../web/sdk/e2ee/frame_keys.js";
import { codecNamed, join, metadata, split, splitSealed } from "../../../web/sdk/e2ee/frames.js";
import { checkMediaKey, kidOf } from "../../../web/sdk/e2ee/media_key.js";
import { FrameKey, encodeHeader, parseHeader, ratchet } from "../../../web/sdk/e2ee/sframe.js";

const document = JSON.parse(await readFile(new URL("../../e2ee/kat/sframe.json", import.meta.url), "utf8"));

function cases(type) {
  const found = document.cases.filter((one) => one.type === type);
  assert.ok(found.length > 0, type);
  return found;
}

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

test("headers", async () => {
  for (const { kid, counter, encoded } of cases("header")) {
    assert.equal(hex(encodeHeader(BigInt(kid), BigInt(counter))), encoded);
    assert.deepEqual(parseHeader(fromHex(`${encoded}00`)), { kid: BigInt(kid), counter: BigInt(counter), length: encoded.length / 2 });
  }
  for (const { encoded, error } of cases("header_refused")) assert.equal(await refusal(() => parseHeader(fromHex(encoded))), error);
});

test("keys", async () => {
  for (const one of cases("key")) {
    const key = await FrameKey.create(BigInt(one.kid), fromHex(one.base_key));
    const extra = fromHex(one.metadata);
    assert.equal(hex(await key.seal(BigInt(one.counter), fromHex(one.plain), extra)), one.sealed);
    assert.equal(hex(await key.open(fromHex(one.sealed), extra)), one.plain);
  }
  for (const one of cases("key_refused")) {
    const key = await FrameKey.create(BigInt(one.kid), fromHex(one.base_key));
    assert.equal(await refusal(() => key.open(fromHex(one.sealed), fromHex(one.metadata))), one.error);
  }
  const [{ steps }] = cases("ratchet");
  for (let index = 1; index < steps.length; index += 1) assert.equal(hex(await ratchet(fromHex(steps[index - 1]))), steps[index]);
});

test("frames", async () => {
  for (const one of cases("frame")) {
    const codec = codecNamed(one.codec);
    const key = await FrameKey.create(BigInt(one.kid), fromHex(one.base_key));
    const { clear, rest } = split(codec, fromHex(one.frame));
    assert.equal(hex(clear), one.clear);
    const sealed = await key.seal(BigInt(one.counter), rest, metadata(codec, clear, one.stream));
    assert.equal(hex(join(codec, clear, sealed)), one.sealed);
    const received = splitSealed(codec, fromHex(one.sealed));
    const plain = await key.open(received.rest, metadata(codec, received.clear, one.stream));
    assert.equal(hex(received.clear) + hex(plain), one.opened);
  }
  for (const one of cases("frame_refused")) assert.equal(await refusal(() => split(codecNamed(one.codec), fromHex(one.frame))), one.error);
  for (const one of cases("codec_refused")) assert.equal(await refusal(() => codecNamed(one.codec)), one.error);
  for (const name of ["x".repeat(256), "\ud800"]) assert.equal(await refusal(() => metadata("opus", new Uint8Array(0), name)), "malformed_message");
});

/** The events as the file tells them. */
const told = (events) =>
  events.map((event) =>
    event.kind === "sendKey"
      ? { send_key: event.peer, generation: event.key.generation, step: event.key.step, base_key: hex(event.key.baseKey) }
      : { key_frame_needed: true },
  );

test("a sender", async () => {
  const [{ random, steps }] = cases("sender");
  const draws = fromHex(random);
  let position = 0;
  const draw = (size) => draws.slice(position, (position += size));
  const [start, ...rest] = steps;
  const keys = new SenderKeys({ peers: start.peers, random: draw });
  assert.deepEqual(told(keys.eventsAtStart()), start.events);
  const sealer = new FrameSealer();
  await sealer.use(keys.present);
  for (const step of rest) {
    if (step.do === "seal") {
      assert.equal(hex(await sealer.seal(codecNamed(step.codec), step.stream, fromHex(step.frame))), step.sealed);
      continue;
    }
    const events =
      step.do === "add" || step.do === "remove"
        ? await keys[step.do](step.peer, step.now)
        : step.do === "acknowledged"
          ? await keys.acknowledged(step.peer, step.generation)
          : await keys.onTime(step.now);
    assert.deepEqual(told(events), step.events);
    await sealer.use(keys.present);
    assert.equal(String(kidOf(keys.present)), step.kid);
  }
});

test("a receiver", async () => {
  const [{ steps }] = cases("receiver");
  const ring = new KeyRing();
  const outcomes = new Set();
  for (const step of steps) {
    if (step.do === "add") await ring.add(step.sender, { generation: step.generation, step: step.step, baseKey: fromHex(step.base_key) });
    else if (step.do === "remove") ring.remove(step.sender);
    else {
      let opened;
      const code = await refusal(async () => {
        opened = hex(await ring.open(step.sender, codecNamed(step.codec), step.stream, fromHex(step.frame), step.now));
      });
      assert.deepEqual([opened, code ?? undefined], [step.opened, step.error], JSON.stringify(step));
      outcomes.add(code ?? "opened");
    }
  }
  assert.deepEqual([...outcomes].sort(), ["decryption_failed", "frame_replay", "opened", "unknown_frame_key"]);
});

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
