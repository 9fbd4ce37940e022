/** Every bound of the profile, as settings with the profile's defaults. */

export const SUITE_X25519 = 1;
/** X25519 and ML-KEM-768. */
export const SUITE_PQ = 2;
export const DAY_S = 86_400;
/** A message number stays below this. No setting, but part of the wire: 32 bits, and never the sign bit of another language. */
export const MAX_COUNTER = 2 ** 31;

const DEFAULTS = {
  // 1,000 steps cost about 60 ms of WebCrypto; the specification names the same number (Double Ratchet, section 6.4).
  maxSkip: 1_000,
  // Two full gaps; at 72 bytes a key this is 144 kB a session.
  maxSkippedStored: 2_000,
  // A message that is five replies late does not come any more, and each chain costs one trial of a header key.
  maxSkippedChains: 5,
  skippedLifetimeS: 7 * DAY_S,
  // One active session and these: enough for both sides losing state a few times, and few enough for a trial of each.
  maxArchivedSessions: 8,
  // A session whose peer never answered is not used to send after this, for its prekeys are dead then.
  unacknowledgedLifetimeS: 30 * DAY_S,
  // One unwedging of a session an hour and peer: two broken peers must not answer each other for ever.
  resetIntervalS: 3_600,
  maxContentBytes: 65_536,
  maxDevices: 32,
  oneTimePrekeys: 100,
  oneTimePrekeysRefill: 25,
  oneTimeKemPrekeys: 20,
  oneTimeKemPrekeysRefill: 5,
  signedPrekeyRotationS: 7 * DAY_S,
  signedPrekeyLifetimeS: 30 * DAY_S,
  maxGroupMembers: 256,
  maxGroupDevices: 1_024,
  // A key for every message that may be under way when an operation comes; 64 operations while one message travels is plenty.
  groupEpochsKept: 64,
  senderKeyMaxMessages: 1_000,
  senderKeyLifetimeS: 7 * DAY_S,
  // Keys of one sending device that can still be read: the present one and those that messages under way may use.
  senderKeysKept: 5,
  // A device that goes is looked for in each of them.
  maxGroups: 1_024,
  // What a backup can hold of one chain (the profile's section 10).
  maxGroupOperations: 65_535,
  // Sender keys of one device for groups that are not known yet, at 120 bytes each: whoever makes a group is ahead of the server by
  // one key in each of them.
  senderKeysWaiting: 32,
  maxAttachmentBytes: 5 * 1024 ** 3,
  argon2MinKib: 64 * 1024,
  argon2MaxKib: 1024 * 1024,
  argon2MinPasses: 3,
  argon2MaxPasses: 10,
};

/** @typedef {typeof DEFAULTS} Limits */

// What the wire can carry, or what a limit may be raised to without a new profile.
/** @type {Partial<Limits>} */
const MOST = {
  maxContentBytes: 1024 * 1024,
  maxDevices: 65_535,
  maxGroupMembers: 65_535,
  maxGroupOperations: 65_535,
  senderKeysWaiting: 65_535,
  maxAttachmentBytes: 2 ** 32 * 65_536,
  maxSkip: 25_000,
  maxSkippedStored: 50_000,
};

/**
 * The defaults with some of them changed.
 *
 * @param {Partial<Limits>} [changes]  each at least 1; throws RangeError that names a value outside of what its reason allows
 * @returns {Readonly<Limits>}
 */
export function makeLimits(changes = {}) {
  const limits = { ...DEFAULTS, ...changes };
  for (const [name, value] of Object.entries(limits)) {
    if (!(value >= 1)) throw new RangeError(`${name} is ${value}; it must be at least 1`);
    const most = MOST[/** @type {keyof Limits} */ (name)];
    if (most !== undefined && value > most) throw new RangeError(`${name} is ${value}; it may be at most ${most}`);
  }
  return Object.freeze(limits);
}

export const DEFAULT_LIMITS = makeLimits();

/**
 * @typedef {object} Policy  what this device insists on
 * @property {number} minSuite  a lower suite throws `DowngradeRefused`, for sending and for reading
 * @property {readonly number[]} suites  what this device offers, ascending
 * @property {boolean} requireOneTime  refuse a bundle without a one-time prekey (`PreKeysExhausted`) instead of using the others
 */

/**
 * A policy, checked.
 *
 * @param {Partial<Policy>} [changes]
 * @returns {Readonly<Policy>}
 */
export function makePolicy(changes = {}) {
  const policy = { minSuite: SUITE_PQ, suites: [SUITE_X25519, SUITE_PQ], requireOneTime: false, ...changes };
  const known = [SUITE_X25519, SUITE_PQ];
  const rising = policy.suites.every((suite, index) => known.includes(suite) && (index === 0 || suite > policy.suites[index - 1]));
  if (!policy.suites.length || !rising) {
    throw new RangeError(`suites is ${policy.suites}; it must be a rising choice of ${SUITE_X25519} and ${SUITE_PQ}`);
  }
  if (!known.includes(policy.minSuite) || policy.minSuite > policy.suites[policy.suites.length - 1]) {
    throw new RangeError(`minSuite is ${policy.minSuite}; it must be ${SUITE_X25519} or ${SUITE_PQ} and not above suites`);
  }
  return Object.freeze(policy);
}

export const DEFAULT_POLICY = makePolicy();
