/**
 * Which of several sessions with a device is used to send (Sesame's rules, and the profile's section 4).
 *
 * A line is the list of sessions with one device, the sending one first. Both sides come to the same choice without talking about it:
 *
 * - What the other side sends with becomes the session to send with (Sesame, section 3.5), so a side that began anew is followed.
 * - If both began at once, the session with the lower transcript stays.
 * - A reset goes before whatever was there, except a fresh reset of our own that is not answered: then again the lower one stays.
 * - What lost against another session is retired for a while (resetIntervalS): messages under way are read and change nothing. After
 *   that it is a session like any other, so that two sides that once chose differently agree with the next message.
 */
import { compare } from "./encoding.js";

/** @import { Limits } from "./limits.js" */
/** @import { SessionRef } from "./records.js" */
/** @import { Session } from "./session.js" */
/** @import { Workspace } from "./workspace.js" */

/** The session to send with, or null where there is none: also one that was never answered dies. @param {Workspace} space @param {string} userId @param {number} deviceId @param {Limits} limits @param {number} now */
export async function sendingSession(space, userId, deviceId, limits, now) {
  const [first] = (await space.line(userId, deviceId)).refs;
  if (!first) return null;
  const session = await space.session(userId, deviceId, first);
  return !session.acknowledged && now >= session.created + limits.unacknowledgedLifetimeS ? null : session;
}

/** @param {SessionRef[]} refs @param {number} now */
const retired = (refs, now) => refs.map((ref) => ({ ...ref, retired: Math.floor(now) }));

/** Sends with `session`, which this device has begun; a reset retires all others. @param {Workspace} space @param {Session} session @param {{reset: boolean, now: number}} options */
export async function begin(space, session, { reset, now }) {
  const line = await space.line(session.peerUser, session.peerDevice);
  const others = reset ? retired(line.refs, now) : line.refs;
  const ref = { baseKey: session.baseKey, initiated: true, reset, retired: 0 };
  space.used(session);
  await space.setLine(session.peerUser, session.peerDevice, { refs: [ref, ...others], lastReset: reset ? Math.floor(now) : line.lastReset });
}

/**
 * Puts the line in order after `session` has read something; `ref` is its place there, which may be a new one.
 *
 * @param {Workspace} space
 * @param {Session} session
 * @param {SessionRef} ref
 * @param {Limits} limits
 * @param {{reset: boolean, now: number}} options  `reset`: what it read was a reset
 */
export async function settle(space, session, ref, limits, { reset, now }) {
  const { peerUser, peerDevice } = session;
  const line = await space.line(peerUser, peerDevice);
  const others = line.refs.filter((other) => other !== ref);
  if (!others.length || line.refs[0] === ref) {
    if (line.refs[0] === ref && !reset) return;
    return space.setLine(peerUser, peerDevice, { ...line, refs: [ref, ...(reset ? retired(others, now) : others)] });
  }
  if (ref.retired && now < ref.retired + limits.resetIntervalS && !reset) return;
  const [place, ...rest] = others;
  const first = await space.session(peerUser, peerDevice, place);
  const crossed = hasCrossed(place, first, ref, limits, { reset, now });
  /** @type {SessionRef[]} */
  let refs;
  if (crossed && compare(first.transcript, session.transcript) < 0) refs = [place, ...retired([ref], now), ...rest];
  else if (reset) refs = [{ ...ref, retired: 0 }, ...retired(others, now)];
  else refs = [{ ...ref, retired: 0 }, ...(crossed ? retired([place], now) : [place]), ...rest];
  await space.setLine(peerUser, peerDevice, { ...line, refs });
}

/**
 * Whether `first`, at `place`, and the session at `ref` were begun at once, neither side knowing the other's.
 *
 * A reset of the other side crosses nothing but a reset of our own, and that only while it is fresh: one that stays without an
 * answer may be one that the other side cannot read.
 *
 * @param {SessionRef} place
 * @param {Session} first
 * @param {SessionRef} ref
 * @param {Limits} limits
 * @param {{reset: boolean, now: number}} options
 */
function hasCrossed(place, first, ref, limits, { reset, now }) {
  if (first.acknowledged || ref.initiated) return false;
  return !reset || (place.reset && now < first.created + limits.resetIntervalS);
}
