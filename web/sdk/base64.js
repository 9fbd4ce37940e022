/** Bytes as JSON carries them. */

/** @import { Bytes } from "./e2ee/encoding.js" */

// What one call may spread over its arguments: engines refuse more than some 65,000.
const CHUNK = 8_192;

/** @param {Uint8Array} bytes */
export function toBase64(bytes) {
  let binary = "";
  for (let at = 0; at < bytes.length; at += CHUNK) binary += String.fromCharCode(...bytes.subarray(at, at + CHUNK));
  return btoa(binary);
}

/** The bytes of a text; empty for one that is no base64. @param {string} [text] @returns {Bytes} */
export function fromBase64(text = "") {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return new Uint8Array(0);
  }
}
