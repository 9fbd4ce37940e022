/**
 * Safety numbers: what two people compare to know that nobody stands between them (the profile's section 12).
 *
 * The number depends on the users' account keys alone, so another device does not change it.
 */
import { Reader, concat, equal, fixed, lp, u16, userBytes, utf8 } from "./encoding.js";
import { MalformedMessage, UntrustedIdentity } from "./errors.js";
import { KEY_BYTES, sha512 } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */

const VERSION = 1;
// As Signal does: each try to find a key with the same digits costs this many hashes.
const HASHES = 5_200;
const GROUPS = 6;
const GROUP_BYTES = 5;
const MAGIC = utf8("SLS1");

/** @param {string} userId @param {Bytes} account */
async function half(userId, account) {
  let digest = await sha512(u16(VERSION), lp(userBytes(userId)), fixed(account, KEY_BYTES));
  for (let round = 1; round < HASHES; round += 1) digest = await sha512(digest, account);
  const groups = Array.from({ length: GROUPS }, (_, index) => digest.subarray(index * GROUP_BYTES, (index + 1) * GROUP_BYTES));
  // Five bytes are below 2^53.
  const numbers = groups.map((group) => group.reduce((value, byte) => value * 256 + byte, 0) % 100_000);
  return numbers.map((number) => String(number).padStart(5, "0")).join("");
}

/**
 * 60 digits, the same on both sides whoever asks; `MalformedMessage` for an id or key that the profile does not allow.
 *
 * @param {string} userId
 * @param {Bytes} account
 * @param {string} peerId
 * @param {Bytes} peerAccount
 */
export async function safetyNumber(userId, account, peerId, peerAccount) {
  const halves = await Promise.all([half(userId, account), half(peerId, peerAccount)]);
  return halves.sort().join("");
}

/** A safety number as people read it aloud: twelve groups of five digits. @param {string} number */
export function grouped(number) {
  return (number.match(/.{1,5}/g) ?? []).join(" ");
}

/** The same comparison by camera: what one user's screen shows as a QR code about itself and the other. */
export class SafetyCode {
  /** @param {{userId: string, account: Bytes, peerId: string, peerAccount: Bytes}} fields */
  constructor({ userId, account, peerId, peerAccount }) {
    this.userId = userId;
    this.account = account;
    this.peerId = peerId;
    this.peerAccount = peerAccount;
  }

  /** The QR code's bytes; `MalformedMessage` for an id or key that the profile does not allow. */
  encode() {
    const own = concat(lp(userBytes(this.userId)), fixed(this.account, KEY_BYTES));
    return concat(MAGIC, own, lp(userBytes(this.peerId)), fixed(this.peerAccount, KEY_BYTES));
  }

  /** Reads what a camera saw; `MalformedMessage` for anything else. @param {Uint8Array} data */
  static parse(data) {
    const reader = new Reader(data);
    if (!equal(reader.take(MAGIC.length), MAGIC)) throw new MalformedMessage("this is no code of a safety number");
    const [userId, account, peerId, peerAccount] = [reader.user(), reader.take(KEY_BYTES), reader.user(), reader.take(KEY_BYTES)];
    reader.done();
    return new SafetyCode({ userId, account, peerId, peerAccount });
  }
}

/**
 * Compares what the peer's screen shows with what this device (`userId`, `account`) knows.
 *
 * Throws `MalformedMessage` for another code, and `UntrustedIdentity` when the code is about other people, when the peer has another
 * key than the one known here, or knows another key of this user: then somebody stands between.
 *
 * @param {Uint8Array} scanned
 * @param {{userId: string, account: Bytes, peerId: string, peerAccount: Bytes}} known
 */
export function checkCode(scanned, { userId, account, peerId, peerAccount }) {
  const code = SafetyCode.parse(scanned);
  if (code.userId !== peerId || code.peerId !== userId) throw new UntrustedIdentity("the code is about other users");
  if (!equal(code.account, peerAccount)) {
    const keys = { trusted: peerAccount, met: code.account };
    throw new UntrustedIdentity("the peer has another account key than the one known here", keys);
  }
  if (!equal(code.peerAccount, account)) {
    throw new UntrustedIdentity("the peer knows another account key of this user", { trusted: account, met: code.peerAccount });
  }
}
