/** The bytes that begin every pairwise message, and the first message of a session, type 2 (the profile's section 5). */
import { Reader, concat, u32, u8 } from "./encoding.js";
import { MalformedMessage, UnsupportedSuite, UnsupportedVersion } from "./errors.js";
import { SUITE_PQ, SUITE_X25519 } from "./limits.js";
import { FLAG_KEM, FLAG_KEM_ONCE, FLAG_ONE_TIME, checkFlags } from "./prekeys.js";
import { KEM_CIPHERTEXT_BYTES, KEY_BYTES, SIGNATURE_BYTES, sha256 } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { LocalDevice } from "./handshake.js" */

export const VERSION = 1;
export const TYPE_MESSAGE = 1;
export const TYPE_PREKEY = 2;
const SUITES = [SUITE_X25519, SUITE_PQ];

/** The type byte of a message whose version is known; `MalformedMessage` or `UnsupportedVersion` else. @param {Uint8Array} message */
export function messageType(message) {
  if (message.length < 2) throw new MalformedMessage("a message has less than two bytes");
  if (message[0] !== VERSION) throw new UnsupportedVersion(`a message has version ${message[0]}; this release reads ${VERSION}`);
  return message[1];
}

/** The suite itself; `UnsupportedSuite` unless this release knows it. @param {number} suite */
export function checkSuite(suite) {
  if (!SUITES.includes(suite)) throw new UnsupportedSuite(`a message has suite ${suite}; this release knows ${SUITES}`);
  return suite;
}

/** @param {number} id @param {boolean} present @returns {number | null} */
function optionalId(id, present) {
  if (!present && id) throw new MalformedMessage("a first message names a prekey that its flags say it has not used");
  return present ? id : null;
}

/**
 * A message of type 2: what the responder needs to make the session, and a whole message of type 1.
 *
 * `oneTimeId` and `kemId` are null where no such prekey was used. `kemCiphertext` is empty without one.
 */
export class PreKeyMessage {
  /**
   * @param {{suite: number, signing: Bytes, agreement: Bytes, deviceSignature: Bytes, baseKey: Bytes, signedId: number, oneTimeId: number | null,
   *   kemId: number | null, kemOnce: boolean, kemCiphertext: Bytes, outer: Bytes, inner: Bytes}} fields
   */
  constructor(fields) {
    this.suite = fields.suite;
    this.signing = fields.signing;
    this.agreement = fields.agreement;
    this.deviceSignature = fields.deviceSignature;
    this.baseKey = fields.baseKey;
    this.signedId = fields.signedId;
    this.oneTimeId = fields.oneTimeId;
    this.kemId = fields.kemId;
    this.kemOnce = fields.kemOnce;
    this.kemCiphertext = fields.kemCiphertext;
    this.outer = fields.outer;
    this.inner = fields.inner;
  }

  /** What a responder remembers so that the same first message never makes a second session. */
  fingerprint() {
    return sha256(this.baseKey, u32(this.signedId), u32(this.oneTimeId ?? 0), u32(this.kemId ?? 0));
  }

  /** Reads a message of type 2 without opening what is inside; `MalformedMessage` for another layout. @param {Uint8Array} data */
  static parse(data) {
    if (messageType(data) !== TYPE_PREKEY) {
      throw new MalformedMessage(`a message has type ${data[1]}; a first message has type ${TYPE_PREKEY}`);
    }
    const reader = new Reader(data);
    reader.take(2);
    const suite = checkSuite(reader.u8());
    const flags = checkFlags(reader.u8());
    if (Boolean(flags & FLAG_KEM) !== (suite === SUITE_PQ)) {
      throw new MalformedMessage("a first message has a KEM ciphertext in suite 2 and in no other");
    }
    const [signing, agreement] = [reader.take(KEY_BYTES), reader.take(KEY_BYTES)];
    const [deviceSignature, baseKey] = [reader.take(SIGNATURE_BYTES), reader.take(KEY_BYTES)];
    const signedId = reader.u32();
    const oneTimeId = optionalId(reader.u32(), Boolean(flags & FLAG_ONE_TIME));
    const kemId = optionalId(reader.u32(), Boolean(flags & FLAG_KEM));
    const kemCiphertext = reader.take(kemId === null ? 0 : KEM_CIPHERTEXT_BYTES);
    const outer = data.slice(0, reader.position);
    const kemOnce = Boolean(flags & FLAG_KEM_ONCE);
    const keys = { signing, agreement, deviceSignature, baseKey };
    return new PreKeyMessage({ suite, ...keys, signedId, oneTimeId, kemId, kemOnce, kemCiphertext, outer, inner: reader.rest() });
  }
}

/**
 * What stands before the inner message in a message of type 2.
 *
 * @param {LocalDevice} local
 * @param {{suite: number, baseKey: Bytes, signedId: number, oneTimeId: number | null, kemId: number | null, kemOnce: boolean, kemCiphertext: Bytes}} used
 */
export function encodeOuter({ certificate }, { suite, baseKey, signedId, oneTimeId, kemId, kemOnce, kemCiphertext }) {
  const flags = (oneTimeId !== null ? FLAG_ONE_TIME : 0) | (kemId !== null ? FLAG_KEM : 0) | (kemOnce ? FLAG_KEM_ONCE : 0);
  const prefix = concat(u8(VERSION), u8(TYPE_PREKEY), u8(suite), u8(flags));
  const keys = concat(certificate.signing, certificate.agreement, certificate.deviceSignature, baseKey);
  return concat(prefix, keys, u32(signedId), u32(oneTimeId ?? 0), u32(kemId ?? 0), kemCiphertext);
}
