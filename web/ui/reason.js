import { isKey } from "./i18n.js";

/** @import { Value } from "./i18n.js" */

/**
 * Why something failed: in the reader's own language when the code of the error is known, in its own words otherwise.
 *
 * @param {unknown} error
 * @returns {Value}
 */
export function reasonOf(error) {
  const { code } = /** @type {{code?: unknown}} */ (error ?? {});
  const key = `error.${code}`;
  if (isKey(key)) return { t: key };
  return error instanceof Error ? error.message : String(error);
}
