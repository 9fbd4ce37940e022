const STORED = "salam.session";

/** @typedef {{on: boolean, device: string}} KeptDevice */
/**
 * @typedef {object} KeptSession  what a page needs to be the same participant or viewer again after a reload
 * @property {string} resume  the secret that takes the session over
 * @property {number} graceS  how long the server waits for that, in seconds
 * @property {string} room  empty beside a stream
 * @property {string} stream  empty in a room
 * @property {string} [name]
 * @property {boolean} [handRaised]
 * @property {boolean} [encrypted]  the call is encrypted end to end
 * @property {KeptDevice | null} [camera]  null: there was none
 * @property {KeptDevice | null} [microphone]
 */

/**
 * Leaves the session to the page that this tab loads next.
 *
 * To be called at `pagehide` only: a duplicated tab copies what is stored, and would take the session away from the original.
 *
 * @param {KeptSession} session
 * @param {Storage} [storage]
 * @param {number} [nowMs]  wall clock, since the next page has another monotonic one
 */
export function keepSession(session, storage = globalThis.sessionStorage, nowMs = Date.now()) {
  try {
    storage.setItem(STORED, JSON.stringify({ ...session, savedAtMs: nowMs }));
  } catch {
    // Without storage the reload is a new participant.
  }
}

/**
 * Takes what the page before left; it is gone from the storage then.
 *
 * @param {{room?: string, stream?: string}} wanted  where this page is
 * @param {Storage} [storage]
 * @param {number} [nowMs]
 * @returns {KeptSession | null} null for another place, or when the server has given it up by now
 */
export function takeKeptSession({ room = "", stream = "" }, storage = globalThis.sessionStorage, nowMs = Date.now()) {
  try {
    const text = storage.getItem(STORED);
    storage.removeItem(STORED);
    const { savedAtMs, ...session } = JSON.parse(text ?? "null") ?? {};
    const ageMs = nowMs - savedAtMs;
    // A clock that was set back tells nothing about the age.
    if (!(ageMs >= 0 && ageMs <= session.graceS * 1000)) return null;
    if (typeof session.resume !== "string" || !session.resume || session.room !== room || session.stream !== stream) return null;
    return session;
  } catch {
    return null;
  }
}
