/** Runs ratchet.json, see tests/e2ee/kat/make_ratchet.py. */
import { fromHex } from "/web/sdk/e2ee/encoding.js";
import { DEFAULT_LIMITS } from "/web/sdk/e2ee/limits.js";
import { pad, unpad } from "/web/sdk/e2ee/padding.js";
import { Ratchet } from "/web/sdk/e2ee/ratchet.js";
import { agreementPair } from "/web/sdk/e2ee/suite.js";
import { edited, refusal, replay, runCases, same } from "./check.js";

async function read(ratchet, step, message) {
  const before = ratchet.toRecord();
  const decrypt = () => ratchet.decrypt({ message, outer: fromHex(step.outer), now: step.now, accept: unpad });
  if (step.error) {
    same(await refusal(decrypt), step.error, `the error of ${step.name}`);
    same(ratchet.toRecord(), before, `the state after ${step.name} was refused`);
  } else {
    same(await decrypt(), step.content, `the content of ${step.name}`);
  }
  same(ratchet.skippedCount, step.skipped, `the number of skipped keys after ${step.name}`);
}

async function script(kat) {
  const pair = await agreementPair(fromHex(kat.signed_prekey_seed));
  const [transcript, keys] = [fromHex(kat.transcript), fromHex(kat.keys)];
  const { random } = replay(kat.initiator_random);
  const sides = {
    a: await Ratchet.initiator(kat.suite, transcript, keys, pair.public, random, DEFAULT_LIMITS),
    b: Ratchet.responder(kat.suite, transcript, keys, pair, DEFAULT_LIMITS),
  };
  const messages = new Map();
  for (const step of kat.steps) {
    const ratchet = sides[step.side];
    if (step.do === "burn") {
      const options = { outer: new Uint8Array(0), random: (length) => new Uint8Array(length) };
      for (let left = step.count; left > 0; left -= 1) await ratchet.encrypt(pad(new Uint8Array(0)), options);
    } else if (step.do === "encrypt") {
      const { random: recorded, done } = replay(step.random);
      const message = await ratchet.encrypt(pad(fromHex(step.content)), { outer: fromHex(step.outer), random: recorded });
      same(message, step.message, `the message ${step.name}`);
      done();
      messages.set(step.name, step.message);
    } else {
      await read(ratchet, step, edited(messages.get(step.name), step.edit));
    }
  }
}

export const run = ({ cases }) => runCases(cases, script);
