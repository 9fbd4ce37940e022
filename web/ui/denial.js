/** @import { IconName } from "./icons.js" */
/** @import { Key } from "./strings.js" */
/** @typedef {{icon: IconName, title: Key, hint: Key}} Denial */

/** @typedef {{title: Key, hint: Key}} Words */

/** @type {Words} */
const BROKEN = { title: "end.broken.title", hint: "end.broken.hint" };
/** @type {Record<string, Words>} */
const BY_CODE = {
  token_missing: { title: "end.denied.title", hint: "end.denied.hint" },
  token_expired: { title: "end.expired.title", hint: "end.expired.hint" },
  grant_missing: { title: "end.elsewhere.title", hint: "end.elsewhere.hint" },
};

/**
 * What to tell somebody whom the server does not let in.
 *
 * @param {unknown} error
 * @returns {Denial | null} null when it is about something else than the invitation
 */
export function denial(error) {
  const code = String(/** @type {{code?: unknown} | null} */ (error)?.code ?? "");
  const words = BY_CODE[code] ?? (code.startsWith("token_") ? BROKEN : null);
  return words && { icon: "shield", ...words };
}
