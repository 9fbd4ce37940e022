/** The handshake: X3DH, with ML-KEM-768 in suite 2 (the profile's section 4). Neither side keeps anything of one that fails. */
import { concat, equal, lp, u32, u8, userBytes } from "./encoding.js";
import { DowngradeRefused, PreKeysExhausted, UnknownPreKey, UntrustedIdentity } from "./errors.js";
import { DEFAULT_LIMITS, SUITE_PQ, SUITE_X25519 } from "./limits.js";
import { encodeOuter } from "./prekey_message.js";
import { Ratchet } from "./ratchet.js";
import { Session } from "./session.js";
import { KEY_BYTES, ZERO_KEY, agree, agreementPair, decapsulate, encapsulate as encapsulateFresh, hkdf, label, sha256, systemRandom } from "./suite.js";

export { PreKeyMessage } from "./prekey_message.js";

/** @import { DeviceCertificate } from "./certificates.js" */
/** @import { Bytes } from "./encoding.js" */
/** @import { Limits, Policy } from "./limits.js" */
/** @import { PreKeyMessage } from "./prekey_message.js" */
/** @import { Bundle, SeedPair } from "./prekeys.js" */
/** @import { KeyPair, Random } from "./suite.js" */
/** @typedef {{certificate: DeviceCertificate, signing: KeyPair, agreement: KeyPair}} LocalDevice  this device, and the two pairs its certificate names */
/** @typedef {{signed: SeedPair, oneTime?: SeedPair | null, kem?: SeedPair | null}} PreKeySecrets  the pairs of the prekeys that a first message names */
/** @typedef {(publicKey: Bytes) => Promise<{secret: Bytes, ciphertext: Bytes}>} Encapsulate */
/** @typedef {{public: Bytes, once: boolean, ciphertext: Bytes, secret: Bytes}} Kem */

const VERSION = u8(1);
const KNOWN_SUITES = [SUITE_X25519, SUITE_PQ];
// X3DH section 2.2: sets the input apart from that of XEdDSA, and shows a reviewer the same construction.
const X3DH_START = new Uint8Array(32).fill(0xff);
const [ABSENT, PRESENT, LAST_RESORT, ONE_TIME] = [u8(0), u8(1), u8(1), u8(2)];

/**
 * The highest suite that both certificates list; `DowngradeRefused` without one, or below the policy.
 *
 * @param {readonly number[]} own
 * @param {readonly number[]} theirs
 * @param {Policy} policy
 */
export function chooseSuite(own, theirs, policy) {
  const suite = Math.max(0, ...KNOWN_SUITES.filter((known) => own.includes(known) && theirs.includes(known)));
  if (suite < policy.minSuite) {
    throw new DowngradeRefused(`the best common suite is ${suite || "none"}; the policy wants ${policy.minSuite} (minSuite)`);
  }
  return suite;
}

/**
 * @param {number} suite
 * @param {[DeviceCertificate, DeviceCertificate]} sides  initiator and responder
 * @param {Bytes} baseKey
 * @param {Bytes} signed
 * @param {Bytes | null} oneTime
 * @param {Kem | null} kem
 */
function transcriptOf(suite, sides, baseKey, signed, oneTime, kem) {
  const names = sides.map((side) => concat(lp(userBytes(side.userId)), u32(side.deviceId)));
  const keys = sides.map((side) => concat(side.signing, side.agreement));
  const oneTimePart = oneTime ? concat(PRESENT, oneTime) : ABSENT;
  const kemPart = kem ? concat(kem.once ? ONE_TIME : LAST_RESORT, kem.public, kem.ciphertext) : ABSENT;
  return sha256(label("transcript", VERSION, u8(suite)), ...names, ...keys, baseKey, signed, oneTimePart, kemPart);
}

/**
 * RK, HK and NHK, one after the other.
 *
 * @param {number} suite
 * @param {Bytes} transcript
 * @param {Bytes[]} agreements
 * @param {Kem | null} kem
 */
function rootKeys(suite, transcript, agreements, kem) {
  const ikm = concat(X3DH_START, ...agreements, ...(kem ? [kem.secret] : []));
  return hkdf(ZERO_KEY, ikm, label("x3dh", u8(suite), transcript), 3 * KEY_BYTES);
}

/** @param {Bundle} bundle @param {number} suite @param {Encapsulate} encapsulate @returns {Promise<Kem | null>} */
async function encapsulated({ kem, kemOnce }, suite, encapsulate) {
  if (suite !== SUITE_PQ || !kem) return null;
  return { public: kem.public, once: kemOnce, ...(await encapsulate(kem.public)) };
}

/**
 * Begins a session with the device whose bundle this is; the bundle is verified here.
 *
 * That `bundle.certificate` is the one on the user's device list, under a trusted account key, is for the caller to have checked.
 *
 * @param {LocalDevice} local
 * @param {Bundle} bundle
 * @param {Policy} policy
 * @param {{now: number, random?: Random, encapsulate?: Encapsulate, limits?: Limits}} options  `now` in Unix seconds
 * @returns {Promise<Session>} rejects with `BadSignature`, `InvalidKey`, `DowngradeRefused`, or `PreKeysExhausted` where the policy wants
 *   a one-time prekey
 */
export async function initiate(local, bundle, policy, options) {
  const { now, random = systemRandom, encapsulate = encapsulateFresh, limits = DEFAULT_LIMITS } = options;
  await bundle.verify();
  const [own, theirs] = [local.certificate, bundle.certificate];
  const suite = chooseSuite(own.suites, theirs.suites, policy);
  if (suite === SUITE_PQ && !bundle.kem) throw new DowngradeRefused("the bundle has no KEM prekey, which suite 2 needs");
  if (policy.requireOneTime && !bundle.oneTime) throw new PreKeysExhausted("the bundle has no one-time prekey, which the policy wants");
  const base = await agreementPair(random(KEY_BYTES));
  const [signed, oneTime] = [bundle.signed.public, bundle.oneTime];
  const agreements = await Promise.all([
    agree(local.agreement.secret, signed),
    agree(base.secret, theirs.agreement),
    agree(base.secret, signed),
    ...(oneTime ? [agree(base.secret, oneTime.public)] : []),
  ]);
  const kem = await encapsulated(bundle, suite, encapsulate);
  const transcript = await transcriptOf(suite, [own, theirs], base.public, signed, oneTime?.public ?? null, kem);
  const keys = await rootKeys(suite, transcript, agreements, kem);
  const outer = encodeOuter(local, {
    suite,
    baseKey: base.public,
    signedId: bundle.signed.id,
    oneTimeId: oneTime?.id ?? null,
    kemId: kem ? bundle.kem?.id ?? null : null,
    kemOnce: kem?.once ?? false,
    kemCiphertext: kem?.ciphertext ?? new Uint8Array(0),
  });
  const ratchet = await Ratchet.initiator(suite, transcript, keys, signed, random, limits);
  const peer = { peerUser: theirs.userId, peerDevice: theirs.deviceId, peerSigning: theirs.signing };
  const made = { suite, transcript, baseKey: base.public, initiator: true, created: Math.floor(now) };
  return new Session({ ...peer, ...made, ratchet, outer, limits });
}

/** @param {number | null} id @param {SeedPair | null | undefined} pair @returns {SeedPair | null} */
function named(id, pair) {
  if (id === null) return null;
  if (!pair) throw new UnknownPreKey(`a first message names the prekey ${id}, which is not there`);
  return pair;
}

/**
 * The session of a first message, ready for `Session.decrypt` of that whole message.
 *
 * Keep the session, drop the one-time prekeys and remember the message's fingerprint only once that message has been decrypted, for
 * nothing here proves that the sender made it.
 *
 * @param {LocalDevice} local
 * @param {DeviceCertificate} peer  the sender's certificate as it is known and was verified
 * @param {PreKeyMessage} message
 * @param {PreKeySecrets} secrets
 * @param {Policy} policy
 * @param {{now: number, limits?: Limits}} options  `now` in Unix seconds
 * @returns {Promise<Session>} rejects with `UntrustedIdentity` where the message names other keys than `peer` has, `DowngradeRefused`,
 *   `UnknownPreKey` where a prekey is named that `secrets` lacks, and `InvalidKey`
 */
export async function respond(local, peer, message, secrets, policy, { now, limits = DEFAULT_LIMITS }) {
  const sameKeys = equal(message.signing, peer.signing) && equal(message.agreement, peer.agreement);
  if (!sameKeys || !equal(message.deviceSignature, peer.deviceSignature)) {
    const keys = { trusted: peer.signing, met: message.signing };
    throw new UntrustedIdentity("a first message is not under the known keys of its sender", keys);
  }
  const { suite, baseKey } = message;
  if (suite !== chooseSuite(local.certificate.suites, peer.suites, policy)) {
    throw new DowngradeRefused(`a first message has suite ${suite}, which is not the best that both devices have`);
  }
  const { signed } = secrets;
  const oneTime = named(message.oneTimeId, secrets.oneTime);
  const kemPair = named(message.kemId, secrets.kem);
  const agreements = await Promise.all([
    agree(signed.secret, peer.agreement),
    agree(local.agreement.secret, baseKey),
    agree(signed.secret, baseKey),
    ...(oneTime ? [agree(oneTime.secret, baseKey)] : []),
  ]);
  /** @type {Kem | null} */
  let kem = null;
  if (kemPair) {
    const ciphertext = message.kemCiphertext;
    kem = { public: kemPair.public, once: message.kemOnce, ciphertext, secret: await decapsulate(kemPair.secret, ciphertext) };
  }
  const transcript = await transcriptOf(suite, [peer, local.certificate], baseKey, signed.public, oneTime?.public ?? null, kem);
  const ratchet = Ratchet.responder(suite, transcript, await rootKeys(suite, transcript, agreements, kem), signed, limits);
  const who = { peerUser: peer.userId, peerDevice: peer.deviceId, peerSigning: peer.signing };
  return new Session({ ...who, suite, transcript, baseKey, initiator: false, created: Math.floor(now), ratchet, limits });
}
