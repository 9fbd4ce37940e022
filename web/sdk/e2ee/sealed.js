/** Sealed sender: a message whose envelope tells the server whom it is for, and not whom it is from (the profile's section 8). */
import { Reader, concat, lp } from "./encoding.js";
import { MalformedMessage, UnsupportedSuite, UnsupportedVersion, UntrustedIdentity } from "./errors.js";
import { ENCAPSULATED_BYTES, hpkeOpen, hpkeSeal } from "./hpke.js";
import { DAY_S, SUITE_X25519 } from "./limits.js";
import { KEY_BYTES, SIGNATURE_BYTES, label, systemRandom, verify } from "./suite.js";

/** @import { DeviceCertificate } from "./certificates.js" */
/** @import { Bytes } from "./encoding.js" */
/** @import { KeyPair, Random } from "./suite.js" */

const VERSION = 1;
const TYPE_SEALED = 5;
const INNER_TYPES = [1, 2];
const HEAD = Uint8Array.of(VERSION, TYPE_SEALED, SUITE_X25519, 0);
const KIND = "sender-cert";

/** The server's word, good for a day, that a device is that of a user. One that was parsed is not trusted before `verify`. */
export class SenderCertificate {
  /** @param {{userId: string, deviceId: number, signing: Bytes, expires: bigint, encoded: Bytes}} fields */
  constructor({ userId, deviceId, signing, expires, encoded }) {
    this.userId = userId;
    this.deviceId = deviceId;
    this.signing = signing;
    this.expires = expires;
    this.encoded = encoded;
  }

  /** Reads a certificate without checking its signature; `MalformedMessage` for another layout. @param {Uint8Array} data */
  static parse(data) {
    const reader = new Reader(data);
    const version = reader.u8();
    if (version !== VERSION) throw new UnsupportedVersion(`a sender certificate has version ${version}; this release reads ${VERSION}`);
    const [userId, deviceId, signing, expires] = [reader.user(), reader.deviceId(), reader.take(KEY_BYTES), reader.u64()];
    reader.take(SIGNATURE_BYTES);
    reader.done();
    return new SenderCertificate({ userId, deviceId, signing, expires, encoded: new Uint8Array(data) });
  }

  /**
   * Checks the signature under the server's key, and the time in Unix seconds.
   *
   * @param {Bytes} server
   * @param {{now: number}} options
   * @returns {Promise<void>} rejects with `BadSignature` or `InvalidKey`, and `UntrustedIdentity` for one that is past or names a time
   *   more than a day ahead
   */
  async verify(server, { now }) {
    await verify(server, KIND, this.encoded.subarray(0, -SIGNATURE_BYTES), this.encoded.slice(-SIGNATURE_BYTES));
    if (!(now <= this.expires && this.expires <= now + DAY_S)) {
      throw new UntrustedIdentity("a sender certificate is not of these 24 hours", { met: this.signing });
    }
  }
}

/** @param {DeviceCertificate} certificate */
const infoOf = async (certificate) => label("sealed", await certificate.hash());

/** @param {Bytes} message */
function checkInner(message) {
  if (message.length < 2 || message[0] !== VERSION || !INNER_TYPES.includes(message[1])) {
    throw new MalformedMessage("a sealed message holds no message of a session");
  }
  return message;
}

/**
 * A message of type 5 around one of type 1 or 2, for one device, whose certificate was verified; draws 32 bytes.
 *
 * @param {DeviceCertificate} recipient
 * @param {SenderCertificate} sender
 * @param {Bytes} message
 * @param {{random?: Random}} [options]
 * @returns {Promise<Bytes>} rejects with `MalformedMessage` when `message` is none of a session, `InvalidKey` for a bad agreement key
 */
export async function sealSender(recipient, sender, message, { random = systemRandom } = {}) {
  const plain = concat(lp(sender.encoded), checkInner(message));
  return concat(HEAD, await hpkeSeal(recipient.agreement, plain, { info: await infoOf(recipient), aad: HEAD, random }));
}

/**
 * Who sent a message of type 5, and the message of type 1 or 2 in it.
 *
 * The caller lets exactly that user's device with that signing key read the message: the certificate alone is the server's word.
 *
 * @param {DeviceCertificate} own
 * @param {KeyPair} agreement
 * @param {Uint8Array} sealed
 * @param {{server: Bytes, now: number}} options  the server's public key, and Unix seconds
 * @returns {Promise<{sender: SenderCertificate, message: Bytes}>} rejects with `MalformedMessage` for other bytes, `DecryptionFailed` or
 *   `InvalidKey` for what was not sealed for this device, and as `SenderCertificate.verify`
 */
export async function openSender(own, agreement, sealed, { server, now }) {
  const head = new Reader(sealed);
  const [version, kind, suite, flags] = [head.u8(), head.u8(), head.u8(), head.u8()];
  if (version !== VERSION) throw new UnsupportedVersion(`a message has version ${version}; this release reads ${VERSION}`);
  if (kind !== TYPE_SEALED || flags) throw new MalformedMessage("this is no sealed message");
  if (suite !== SUITE_X25519) throw new UnsupportedSuite(`a sealed message has suite ${suite}; this release reads ${SUITE_X25519}`);
  const encapsulated = head.take(ENCAPSULATED_BYTES);
  const inside = new Reader(await hpkeOpen(agreement, concat(encapsulated, head.rest()), { info: await infoOf(own), aad: HEAD }));
  const sender = SenderCertificate.parse(inside.lp());
  const message = checkInner(inside.rest());
  await sender.verify(server, { now });
  return { sender, message };
}
