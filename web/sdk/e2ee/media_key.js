/** One sender's media key of a call, and the bounds of media keys (the profile's section 11). */
import { MalformedMessage } from "./errors.js";
import { ratchet } from "./sframe.js";

/** @import { Bytes } from "./encoding.js" */
/** @typedef {Readonly<{generation: number, step: number, baseKey: Bytes}>} MediaKey  the base key from `step` of `generation` on: 32 bytes at step 0, else 64 */

export const STEPS = 16;
export const MAX_GENERATION = 2 ** 32 - 1;
export const BASE_KEY_BYTES = 32;
const RATCHETED_KEY_BYTES = 64;
/** Participants of a call whose keys are kept: as many as a group has devices. */
export const MAX_FRAME_SENDERS = 1_024;

/** `MalformedMessage` unless the numbers are in range and the key has the length of its step. @param {MediaKey} key @returns {MediaKey} */
export function checkMediaKey({ generation, step, baseKey }) {
  const whole = Number.isInteger(generation) && Number.isInteger(step);
  if (!whole || generation < 0 || generation > MAX_GENERATION || step < 0 || step >= STEPS) {
    throw new MalformedMessage("a media key's generation or step is out of range");
  }
  if (baseKey.length !== (step ? RATCHETED_KEY_BYTES : BASE_KEY_BYTES)) throw new MalformedMessage("a media key does not have the length of its step");
  return { generation, step, baseKey };
}

/** At most 2^36, so a plain number holds it. @param {MediaKey} key */
export function kidOf({ generation, step }) {
  return generation * STEPS + step;
}

/** The key one step on; only below step 15. @param {MediaKey} key @returns {Promise<MediaKey>} */
export async function nextStep({ generation, step, baseKey }) {
  return { generation, step: step + 1, baseKey: await ratchet(baseKey) };
}
