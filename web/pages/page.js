const STORED = "salam.token";
// What the server takes for the name of a room or stream.
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

/** @param {string} name */
export function isName(name) {
  return NAME.test(name);
}

/** The room or stream that an address is of; empty when the server would take no such name. @param {string} [path] */
export function nameInPath(path = location.pathname) {
  try {
    const name = decodeURIComponent(path.split("/")[2] ?? "");
    return isName(name) ? name : "";
  } catch {
    // A percent sign with nothing sensible behind it.
    return "";
  }
}

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

/**
 * At the end of the page: calls `leave` when the Navigation API says that it goes elsewhere, else `reload`, since it may come back.
 *
 * @param {{reload: () => void, leave: () => void}} handlers
 */
export function onPageEnd({ reload, leave }) {
  let elsewhere = false;
  /** @type {any} */
  const navigation = /** @type {any} */ (globalThis).navigation;
  navigation?.addEventListener("navigate", (/** @type {any} */ event) => {
    if (!event.hashChange && event.downloadRequest === null) elsewhere = event.navigationType !== "reload";
  });
  globalThis.addEventListener("pagehide", () => (elsewhere ? leave() : reload()));
  // A page that the browser kept has lost its connections: loaded anew, it takes the session up like any other.
  globalThis.addEventListener("pageshow", (event) => event.persisted && location.reload());
}
