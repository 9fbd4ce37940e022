const STORED = "salam.token";

/** The token of this visit: from the link when it carries one, else the one that was used last. */
export function pageToken() {
  const given = new URLSearchParams(location.search).get("token");
  if (given !== null) return given;
  try {
    return localStorage.getItem(STORED) ?? "";
  } catch {
    return "";
  }
}

/** Makes `window.salam.debug()` answer with what the page knows. @param {() => object} debug */
export function publishDebug(debug) {
  Object.assign(globalThis, { salam: { debug } });
}

/**
 * Reads one of the server's JSON answers.
 *
 * @param {string} path
 * @returns {Promise<any>} null when the server has no such thing or cannot be reached
 */
export async function api(path) {
  try {
    const token = pageToken();
    const response = await fetch(path, { headers: token ? { Authorization: `Bearer ${token}` } : {} });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}
