/** The small tools of the known-answer runs in the browser. */
import { E2EEError } from "/web/sdk/e2ee/errors.js";
import { fromHex, hex } from "/web/sdk/e2ee/encoding.js";

/** @typedef {{name: string, failure: string}} Outcome  an empty `failure` is a success */

/** A source of randomness that gives recorded bytes, front to back, and no more. @param {string} recorded */
export function replay(recorded) {
  const data = fromHex(recorded);
  let position = 0;
  /** @param {number} length */
  const random = (length) => {
    if (position + length > data.length) throw new Error("more randomness is drawn than was recorded");
    position += length;
    return data.slice(position - length, position);
  };
  const done = () => same(position, data.length, "what was drawn");
  return { random, done };
}

/** `data` with `delete` bytes at `at` replaced by the bytes `insert`, one edit after the other. @param {string} text @param {{at: number, delete: number, insert: string}[]} edits */
export function edited(text, edits) {
  let result = text;
  for (const edit of edits) result = result.slice(0, 2 * edit.at) + edit.insert + result.slice(2 * (edit.at + edit.delete));
  return fromHex(result);
}

/** @param {unknown} value */
const shown = (value) => (value instanceof Uint8Array ? hex(value) : JSON.stringify(value));

/** Throws unless both are the same; bytes may be compared with hexadecimal text. @param {unknown} found @param {unknown} wanted @param {string} what */
export function same(found, wanted, what) {
  const [one, other] = [found, wanted].map((value) => (typeof value === "string" ? value : shown(value)));
  if (one !== other) throw new Error(`${what} is ${one.slice(0, 400)} and should be ${other.slice(0, 400)}`);
}

/** The code of the error with which `work` must reject, and the chunk that it blames if it does. @param {() => unknown} work */
export async function failure(work) {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof E2EEError)) throw error;
    return "chunk" in error ? { error: error.code, chunk: error.chunk } : { error: error.code };
  }
  return { error: "nothing was refused" };
}

/** The code alone. @param {() => unknown} work */
export const refusal = async (work) => (await failure(work)).error;

/**
 * Runs one check for each case and tells how each went.
 *
 * @template {{name: string}} Case
 * @param {Case[]} cases
 * @param {(checked: Case) => Promise<void>} check
 * @returns {Promise<Outcome[]>}
 */
export async function runCases(cases, check) {
  const outcomes = [];
  for (const checked of cases) {
    try {
      await check(checked);
      outcomes.push({ name: checked.name, failure: "" });
    } catch (error) {
      outcomes.push({ name: checked.name, failure: error instanceof Error ? `${error.message}\n${error.stack}` : String(error) });
    }
  }
  return outcomes;
}
