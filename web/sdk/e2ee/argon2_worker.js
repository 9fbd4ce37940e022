/** Hashes one password and answers; see argon2.js. The server's policy for this script allows WebAssembly. */
/** @import { Argon2Answer, Argon2Job } from "./argon2.js" */

// It comes from npm at set-up.
const MODULE = new URL("../../vendor/argon2.mjs", import.meta.url).href;

/** @param {Argon2Job} job @returns {Promise<Argon2Answer>} */
async function answer({ password, salt, memoryKib, passes, lanes, length }) {
  const costs = { memorySize: memoryKib, iterations: passes, parallelism: lanes, hashLength: length };
  try {
    const { argon2id } = await import(MODULE);
    return { hash: await argon2id({ password, salt, ...costs, outputType: "binary" }) };
  } catch (error) {
    return { failure: error instanceof Error ? error.message : "unknown" };
  }
}

addEventListener("message", async ({ data }) => postMessage(await answer(data)));
