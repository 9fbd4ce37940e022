/** Runs sframe.json, see tests/e2ee/kat/make_sframe.py. */
import { SenderKeys } from "/web/sdk/e2ee/call_keys.js";
import { fromHex, hex } from "/web/sdk/e2ee/encoding.js";
import { FrameSealer, KeyRing } from "/web/sdk/e2ee/frame_keys.js";
import { codecNamed, join, metadata, split, splitSealed } from "/web/sdk/e2ee/frames.js";
import { kidOf } from "/web/sdk/e2ee/media_key.js";
import { FrameKey, encodeHeader, parseHeader, ratchet } from "/web/sdk/e2ee/sframe.js";
import { refusal, replay, runCases, same } from "./check.js";

const keyOf = (kat) => FrameKey.create(BigInt(kat.kid), fromHex(kat.base_key));

/** The events as the file tells them. */
const told = (events) =>
  events.map((event) =>
    event.kind === "sendKey"
      ? { send_key: event.peer, generation: event.key.generation, step: event.key.step, base_key: hex(event.key.baseKey) }
      : { key_frame_needed: true },
  );

/** @param {SenderKeys} keys */
function take(keys, step) {
  if (step.do === "add") return keys.add(step.peer, step.now);
  if (step.do === "remove") return keys.remove(step.peer, step.now);
  return step.do === "acknowledged" ? keys.acknowledged(step.peer, step.generation) : keys.onTime(step.now);
}

const checks = {
  async header({ kid, counter, encoded }) {
    same(encodeHeader(BigInt(kid), BigInt(counter)), encoded, "the header");
    const parsed = parseHeader(fromHex(`${encoded}00`));
    same([`${parsed.kid}`, `${parsed.counter}`, parsed.length], [kid, counter, encoded.length / 2], "the parsed header");
  },
  async header_refused({ encoded, error }) {
    same(await refusal(() => parseHeader(fromHex(encoded))), error, "the refusal");
  },
  async key(kat) {
    const [key, extra] = [await keyOf(kat), fromHex(kat.metadata)];
    same(await key.seal(BigInt(kat.counter), fromHex(kat.plain), extra), kat.sealed, "the sealed bytes");
    same(await key.open(fromHex(kat.sealed), extra), kat.plain, "the plaintext");
  },
  async key_refused(kat) {
    const key = await keyOf(kat);
    same(await refusal(() => key.open(fromHex(kat.sealed), fromHex(kat.metadata))), kat.error, "the refusal");
  },
  async ratchet({ steps }) {
    for (let index = 1; index < steps.length; index += 1) same(await ratchet(fromHex(steps[index - 1])), steps[index], `step ${index}`);
  },
  async frame(kat) {
    const [key, codec] = [await keyOf(kat), codecNamed(kat.codec)];
    const { clear, rest } = split(codec, fromHex(kat.frame));
    same(clear, kat.clear, "the clear bytes");
    const sealed = await key.seal(BigInt(kat.counter), rest, metadata(codec, clear, kat.stream));
    same(join(codec, clear, sealed), kat.sealed, "the sealed frame");
    const received = splitSealed(codec, fromHex(kat.sealed));
    const plain = await key.open(received.rest, metadata(codec, received.clear, kat.stream));
    same(hex(received.clear) + hex(plain), kat.opened, "the opened frame");
  },
  async frame_refused({ codec, frame, error }) {
    same(await refusal(() => split(codecNamed(codec), fromHex(frame))), error, "the refusal");
    same(await refusal(() => splitSealed(codecNamed(codec), fromHex(frame))), error, "the receiver's refusal");
  },
  async codec_refused({ codec, error }) {
    same(await refusal(() => codecNamed(codec)), error, "the refusal");
  },
  async sender({ random: recorded, steps: [start, ...steps] }) {
    const { random } = replay(recorded);
    const keys = new SenderKeys({ peers: start.peers, random });
    same(told(keys.eventsAtStart()), start.events, "the first keys");
    const sealer = new FrameSealer();
    await sealer.use(keys.present);
    for (const [number, step] of steps.entries()) {
      if (step.do === "seal") {
        same(await sealer.seal(codecNamed(step.codec), step.stream, fromHex(step.frame)), step.sealed, `frame ${number}`);
        continue;
      }
      same(told(await take(keys, step)), step.events, `the events of step ${number}`);
      same(`${kidOf(keys.present)}`, step.kid, `the key after step ${number}`);
      await sealer.use(keys.present);
    }
  },
  async receiver({ steps }) {
    const ring = new KeyRing();
    for (const [number, step] of steps.entries()) {
      const open = () => ring.open(step.sender, codecNamed(step.codec), step.stream, fromHex(step.frame), step.now);
      if (step.do === "add") await ring.add(step.sender, { generation: step.generation, step: step.step, baseKey: fromHex(step.base_key) });
      else if (step.do === "remove") ring.remove(step.sender);
      else if (step.error) same(await refusal(open), step.error, `step ${number}`);
      else same(await open(), step.opened, `step ${number}`);
    }
  },
};

export const run = ({ cases }) => runCases(cases, (kat) => checks[kat.type](kat));
