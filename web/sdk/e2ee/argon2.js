/**
 * Argon2id (RFC 9106, version 0x13), which browsers do not have: a module in WebAssembly, in a worker of its own.
 *
 * The page neither waits for the seconds that a hash takes nor has to allow WebAssembly in its own content policy: the server gives that
 * to the worker's script alone. The worker ends with the hash, and its memory with it.
 */
import { ResourceUnavailable } from "./errors.js";

/** @import { Bytes } from "./encoding.js" */
/** @typedef {{password: Bytes, salt: Bytes, memoryKib: number, passes: number, lanes: number, length: number}} Argon2Job */
/** @typedef {{hash: Bytes} | {failure: string}} Argon2Answer */

/** A page that demands trusted types gets one for this one script. @param {string} url @returns {string} */
function trusted(url) {
  const types = /** @type {any} */ (globalThis).trustedTypes;
  if (!types) return url;
  const policy = types.createPolicy("salam-argon2", {
    createScriptURL(/** @type {string} */ asked) {
      if (asked !== url) throw new TypeError("this policy is for one script only");
      return asked;
    },
  });
  return policy.createScriptURL(url);
}

/**
 * The hash of a password.
 *
 * @param {Argon2Job} job
 * @returns {Promise<Bytes>} rejects with `ResourceUnavailable` where the browser cannot give the memory, or has no WebAssembly
 */
export function argon2id(job) {
  const worker = new Worker(trusted(new URL("./argon2_worker.js", import.meta.url).href), { type: "module", name: "argon2" });
  const answer = new Promise((/** @type {(hash: Bytes) => void} */ resolve, reject) => {
    worker.addEventListener("message", (/** @type {MessageEvent<Argon2Answer>} */ { data }) => {
      if ("hash" in data) resolve(data.hash);
      else reject(new ResourceUnavailable(`a password hash of ${job.memoryKib} KiB was not possible: ${data.failure}`));
    });
    worker.addEventListener("error", () => reject(new ResourceUnavailable("the module for password hashes could not be started")));
  });
  worker.postMessage(job);
  return answer.finally(() => worker.terminate());
}
