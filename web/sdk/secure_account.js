/** Who this browser is in end-to-end encryption: one device for each user, kept in IndexedDB. */
import { Device } from "./e2ee/device.js";
import { SUITE_PQ, SUITE_X25519, makePolicy } from "./e2ee/limits.js";
import { deleteStore, memoryStore, openStore } from "./e2ee/store.js";
import { kemAvailable } from "./e2ee/suite.js";

/** @import { Policy } from "./e2ee/limits.js" */
/** @import { Store } from "./e2ee/store.js" */

const MEMBER = "salam-e2ee:";
const GUEST = "salam-e2ee-guest:";
// A guest's keys outlive a reload, and nothing else needs them: whoever closed the tab without leaving is forgotten after this.
const GUEST_LIFETIME_MS = 24 * 3_600_000;

/** Whether this browser, on this page, can encrypt end to end: the page has to be secure, and the browser to know the curves. */
export async function canEncrypt() {
  if (!globalThis.isSecureContext || !globalThis.crypto?.subtle) return false;
  try {
    await Promise.all([crypto.subtle.generateKey("X25519", false, ["deriveBits"]), crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"])]);
    return true;
  } catch {
    return false;
  }
}

/** Deletes what guests who never said goodbye left behind. */
async function forgetGuests() {
  for (const { name = "" } of (await indexedDB.databases?.()) ?? []) {
    if (!name.startsWith(GUEST)) continue;
    const madeAt = Number(name.slice(GUEST.length).split(":")[0]);
    if (!(Date.now() - madeAt < GUEST_LIFETIME_MS)) void deleteStore(name).catch(() => {});
  }
}

/** The device of a store, made where there is none. @param {Store} store @param {string} userId @param {Policy} policy @returns {Promise<Device>} */
async function deviceOf(store, userId, policy) {
  const known = await Device.load(store, { policy });
  if (known) return known;
  return Device.create(store, userId, { policy }).catch(async (error) => {
    // Two tabs may come here at once: the slower one takes what the other made.
    const made = await Device.load(store, { policy });
    if (!made) throw error;
    return made;
  });
}

/** @param {string} userId @returns {Promise<string>} */
async function guestStore(userId) {
  for (const { name = "" } of (await indexedDB.databases?.()) ?? []) {
    if (name.startsWith(GUEST) && name.slice(name.indexOf(":", GUEST.length) + 1) === userId) return name;
  }
  return `${GUEST}${Date.now()}:${userId}`;
}

/**
 * The device of a user in this browser, made at the first time.
 *
 * A guest, whose user id is made up for one visit, gets a store that goes with the visit. `lasting` is false where the browser keeps
 * nothing: then the keys go with the page, and others are warned of changed keys the next time.
 *
 * @param {string} userId
 * @param {boolean} guest
 * @returns {Promise<{device: Device, lasting: boolean, close: (forget: boolean) => Promise<void>}>} `forget` ends the account of a guest
 */
export async function openAccount(userId, guest) {
  const hybrid = await kemAvailable();
  const policy = makePolicy({ minSuite: SUITE_X25519, suites: hybrid ? [SUITE_X25519, SUITE_PQ] : [SUITE_X25519] });
  let name = "";
  let store;
  try {
    await forgetGuests();
    name = guest ? await guestStore(userId) : `${MEMBER}${userId}`;
    store = await openStore(name);
  } catch {
    store = memoryStore();
    name = "";
  }
  const device = await deviceOf(store, userId, policy);
  const close = async (/** @type {boolean} */ forget) => {
    await store.close();
    if (forget && guest && name) await deleteStore(name).catch(() => {});
  };
  return { device, lasting: name !== "", close };
}
