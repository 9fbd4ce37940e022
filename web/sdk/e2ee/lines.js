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
import { sameRef } from "./records.js";

/** @import { Limits } from "./limits.js" */
/** @import { SessionRef } from "./records.js" */
/** @import { Session } from "./session.js" */
/** @import { Workspace } from "./workspace.js" */

/** @param {SessionRef[]} refs @param {number} now */
const retire = (refs, now) => refs.map((ref) => ({ ...ref, retired: Math.floor(now) }));

/**
 * The session to send with, or null where there is none: also one that was never answered dies.
 *
 * @param {Workspace} space
 * @param {string} userId
 * @param {number} deviceId
 * @param {Limits} limits
 * @param {number} now
 */
export async function sendingSession(space, userId, deviceId, limits, now) {
  const { refs } = await space.line(userId, deviceId);
  if (!refs.length) return null;
  const session = await space.session(userId, deviceId, refs[0]);
  return session.acknowledged || now < session.created + limits.unacknowledgedLifetimeS ? session : null;
}

/**
 * Sends with `session`, which this device has begun; a reset retires all others.
 *
 * @param {Workspace} space
 * @param {Session} session
 * @param {{reset: boolean, now: number}} options
 */
export async function beginLine(space, session, { reset, now }) {
  const { peerUser, peerDevice, baseKey } = session;
  const line = await space.line(peerUser, peerDevice);
  const others = reset ? retire(line.refs, now) : line.refs;
  space.add(session);
  const refs = [{ baseKey, initiated: true, reset, retired: 0 }, ...others];
  await space.setLine(peerUser, peerDevice, { refs, lastReset: reset ? Math.floor(now) : line.lastReset });
}

/**
 * Puts the line in order after `session` has read something.
 *
 * @param {Workspace} space
 * @param {Session} session
 * @param {SessionRef} ref  its place in the line, which may be a new one
 * @param {Limits} limits
 * @param {{reset: boolean, now: number}} options  `reset`: what it read was a reset
 */
export async function settleLine(space, session, ref, limits, { reset, now }) {
  const { peerUser, peerDevice } = session;
  const line = await space.line(peerUser, peerDevice);
  const others = line.refs.filter((other) => !sameRef(other, ref));
  let refs;
  if (!others.length || sameRef(line.refs[0], ref)) {
    refs = [ref, ...(reset ? retire(others, now) : others)];
  } else if (ref.retired && now < ref.retired + limits.resetIntervalS && !reset) {
    return;
  } else {
    const first = await space.session(peerUser, peerDevice, others[0]);
    const crossed = isCrossed(others[0], first, ref, limits, { reset, now });
    const active = { ...ref, retired: 0 };
    if (crossed && compare(first.transcript, session.transcript) < 0) refs = [others[0], ...retire([ref], now), ...others.slice(1)];
    else if (reset) refs = [active, ...retire(others, now)];
    else refs = [active, ...(crossed ? retire(others.slice(0, 1), now) : others.slice(0, 1)), ...others.slice(1)];
  }
  const same = refs.length === line.refs.length && refs.every((one, index) => sameRef(one, line.refs[index]) && one.retired === line.refs[index].retired);
  if (!same) await space.setLine(peerUser, peerDevice, { ...line, refs });
}

/**
 * Whether `first`, at `place`, and the session at `ref` were begun at once, neither side knowing the other's.
 *
 * A reset of the other side crosses nothing but a reset of our own, and that only while it is fresh: one that stays without an answer
 * may be one that the other side cannot read.
 *
 * @param {SessionRef} place
 * @param {Session} first
 * @param {SessionRef} ref
 * @param {Limits} limits
 * @param {{reset: boolean, now: number}} options
 */
function isCrossed(place, first, ref, limits, { reset, now }) {
  if (first.acknowledged || ref.initiated) return false;
  return !reset || (place.reset && now < first.created + limits.resetIntervalS);
}
