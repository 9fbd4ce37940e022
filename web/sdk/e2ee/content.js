/** What a session carries once it is decrypted: the kinds of content (the profile's section 6). */
import { Reader, concat, fixed, lp, u8, u16, u32 } from "./encoding.js";
import { MalformedMessage } from "./errors.js";
import { KEY_BYTES } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @typedef {{kind: "application", data: Bytes}} ApplicationContent  whatever the application says */
/**
 * @typedef {{kind: "senderKey", groupId: Bytes, epoch: number, keyId: Bytes, iteration: number, chainKey: Bytes, signingPublic: Bytes}} SenderKeyDistribution
 *   a device's sender key for a group, at the iteration from which the receiver may read
 */
/** @typedef {{kind: "groupOperations", groupId: Bytes, operations: Bytes[]}} GroupOperations  a group's chain, for somebody who joins */
/**
 * @typedef {{kind: "callKey", callId: Bytes, generation: number, step: number, baseKey: Bytes}} CallKey
 *   the sender's media key of one call: 32 bytes as it was drawn (step 0), 64 once it was ratcheted
 */
/** @typedef {{kind: "reset"}} Reset  the sender lost its state: this session is the one to use */
/** @typedef {{kind: "callKeyAck", callId: Bytes, generation: number}} CallKeyAck  the sender holds the receiver's media key */
/** @typedef {ApplicationContent | SenderKeyDistribution | GroupOperations | CallKey | Reset | CallKeyAck} Content */

export const GROUP_ID_BYTES = 16;
export const CALL_ID_BYTES = 16;
export const KEY_ID_BYTES = 8;
/** Four bits of the SFrame key id hold the step (the profile's section 11). */
export const MAX_CALL_STEP = 15;
// SFrame's ratchet (RFC 9605 section 5.1) gives as many bytes as its hash, SHA-512, has.
const RATCHETED_KEY_BYTES = 64;

/** In the order of their first byte. @type {Content["kind"][]} */
const KINDS = ["application", "senderKey", "groupOperations", "callKey", "reset", "callKeyAck"];

/** @param {number} step */
function baseKeyBytes(step) {
  if (!(step >= 0 && step <= MAX_CALL_STEP)) throw new MalformedMessage(`a call key has step ${step}; it must be 0 to ${MAX_CALL_STEP}`);
  return step ? RATCHETED_KEY_BYTES : KEY_BYTES;
}

/** @param {Content} content @returns {Bytes} */
function body(content) {
  switch (content.kind) {
    case "application":
      return content.data;
    case "senderKey": {
      const place = concat(fixed(content.groupId, GROUP_ID_BYTES), u32(content.epoch), fixed(content.keyId, KEY_ID_BYTES));
      return concat(place, u32(content.iteration), fixed(content.chainKey, KEY_BYTES), fixed(content.signingPublic, KEY_BYTES));
    }
    case "groupOperations":
      return concat(fixed(content.groupId, GROUP_ID_BYTES), u16(content.operations.length), ...content.operations.map(lp));
    case "callKey": {
      const key = lp(fixed(content.baseKey, baseKeyBytes(content.step)));
      return concat(fixed(content.callId, CALL_ID_BYTES), u32(content.generation), u8(content.step), key);
    }
    case "reset":
      return new Uint8Array(0);
    case "callKeyAck":
      return concat(fixed(content.callId, CALL_ID_BYTES), u32(content.generation));
  }
}

/** The bytes that `Session.encrypt` takes; `MalformedMessage` for a field of the wrong length. @param {Content} content @returns {Bytes} */
export function encodeContent(content) {
  return concat(u8(KINDS.indexOf(content.kind)), body(content));
}

/** @param {Content["kind"]} kind @param {Reader} reader @returns {Content} */
function read(kind, reader) {
  switch (kind) {
    case "application":
      return { kind, data: reader.rest() };
    case "senderKey": {
      const [groupId, epoch, keyId, iteration] = [reader.take(GROUP_ID_BYTES), reader.u32(), reader.take(KEY_ID_BYTES), reader.u32()];
      return { kind, groupId, epoch, keyId, iteration, chainKey: reader.take(KEY_BYTES), signingPublic: reader.take(KEY_BYTES) };
    }
    case "groupOperations": {
      const groupId = reader.take(GROUP_ID_BYTES);
      return { kind, groupId, operations: Array.from({ length: reader.u16() }, () => reader.lp()) };
    }
    case "callKey": {
      const [callId, generation, step] = [reader.take(CALL_ID_BYTES), reader.u32(), reader.u8()];
      return { kind, callId, generation, step, baseKey: fixed(reader.lp(), baseKeyBytes(step)) };
    }
    case "reset":
      return { kind };
    case "callKeyAck":
      return { kind, callId: reader.take(CALL_ID_BYTES), generation: reader.u32() };
  }
}

/** What `encodeContent` was given; `MalformedMessage` for an unknown kind or another layout. @param {Uint8Array} data @returns {Content} */
export function parseContent(data) {
  const reader = new Reader(data);
  const kind = KINDS[reader.u8()];
  if (kind === undefined) throw new MalformedMessage("content of an unknown kind");
  const content = read(kind, reader);
  reader.done();
  return content;
}
