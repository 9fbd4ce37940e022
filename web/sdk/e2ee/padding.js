/** Hides how long a text is, but for its bucket (the profile's section 6). */
import { MalformedMessage } from "./errors.js";

/** @import { Bytes } from "./encoding.js" */

const STEP = 64;
const FINE_LIMIT = 1_024;
const MARK = 0x80;

/** The least bucket that holds `length` bytes; 64 for none. @param {number} length */
export function bucket(length) {
  if (length <= FINE_LIMIT) return Math.max(STEP, Math.ceil(length / STEP) * STEP);
  let size = FINE_LIMIT;
  while (size < length) {
    const grown = Math.floor((size * 112 + 99) / 100);
    size = Math.ceil(grown / STEP) * STEP;
  }
  return size;
}

/** `content`, a mark and zeros up to the bucket. @param {Uint8Array} content @returns {Bytes} */
export function pad(content) {
  const padded = new Uint8Array(bucket(content.length + 1));
  padded.set(content);
  padded[content.length] = MARK;
  return padded;
}

/** What `pad` was given; `MalformedMessage` unless the padding is exactly that of `pad`. @param {Bytes} padded @returns {Bytes} */
export function unpad(padded) {
  let end = padded.length - 1;
  while (end >= 0 && padded[end] === 0) end -= 1;
  if (end < 0 || padded[end] !== MARK || bucket(end + 1) !== padded.length) throw new MalformedMessage("the padding is not that of the profile");
  return padded.slice(0, end);
}
