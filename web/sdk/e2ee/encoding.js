/**
 * Fixed binary layouts: a reader that never runs past the end, and the small pieces that every layout shares.
 *
 * All parsing goes through `Reader`, so that it throws one type (`MalformedMessage`) on any input. A u64 is a bigint.
 */
import { MalformedMessage } from "./errors.js";

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */

export const MAX_USER_BYTES = 255;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @param {string} text @returns {Bytes} */
export function utf8(text) {
  // TextEncoder would put U+FFFD for half a surrogate pair, and two different names would become one.
  if (/\p{Surrogate}/u.test(text)) throw new MalformedMessage("the text is not one that UTF-8 can carry");
  return encoder.encode(text);
}

/** Text from UTF-8; `what` names it in the error. @param {Uint8Array} bytes @param {string} what @returns {string} */
export function fromUtf8(bytes, what) {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new MalformedMessage(`${what} is not UTF-8`);
  }
}

/** @param {...Uint8Array} parts @returns {Bytes} */
export function concat(...parts) {
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** Big-endian. @param {number} value @param {number} length @returns {Bytes} */
function unsigned(value, length) {
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** (8 * length)) throw new RangeError(`${value} is no u${8 * length}`);
  const bytes = new Uint8Array(length);
  for (let index = length - 1, left = value; index >= 0; index -= 1, left = Math.floor(left / 256)) bytes[index] = left % 256;
  return bytes;
}

/** @param {number} value */
export const u8 = (value) => unsigned(value, 1);
/** @param {number} value */
export const u16 = (value) => unsigned(value, 2);
/** @param {number} value */
export const u32 = (value) => unsigned(value, 4);

/** @param {number | bigint} value @returns {Bytes} */
export function u64(value) {
  const whole = BigInt(value);
  if (whole < 0n || whole >= 1n << 64n) throw new RangeError(`${value} is no u64`);
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, whole);
  return bytes;
}

/** `value` behind its length in two bytes; at most 65,535 bytes. @param {Uint8Array} value @returns {Bytes} */
export function lp(value) {
  return concat(u16(value.length), value);
}

/** `value` itself; `MalformedMessage` unless it has `length` bytes. @param {Bytes} value @param {number} length */
export function fixed(value, length) {
  if (value.length !== length) throw new MalformedMessage(`a field has ${value.length} bytes; it must have ${length}`);
  return value;
}

/** A user id as the profile writes it; `MalformedMessage` unless it has 1 to 255 bytes of UTF-8. @param {string} userId */
export function userBytes(userId) {
  const encoded = utf8(userId);
  if (encoded.length < 1 || encoded.length > MAX_USER_BYTES) {
    throw new MalformedMessage(`a user id has ${encoded.length} bytes; it must have 1 to ${MAX_USER_BYTES}`);
  }
  return encoded;
}

/** The device id itself; `MalformedMessage` unless it is a u32 from 1 on. @param {number} deviceId */
export function checkDeviceId(deviceId) {
  if (!Number.isInteger(deviceId) || deviceId < 1 || deviceId >= 2 ** 32) {
    throw new MalformedMessage(`a device id is ${deviceId}; it must be from 1 to ${2 ** 32 - 1}`);
  }
  return deviceId;
}

/** @param {Uint8Array} bytes @returns {string} */
export function hex(bytes) {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

/** @param {string} text @returns {Bytes} */
export function fromHex(text) {
  if (!/^(?:[0-9a-f]{2})*$/i.test(text)) throw new RangeError("the text is not hexadecimal");
  const bytes = new Uint8Array(text.length / 2);
  for (let index = 0; index < bytes.length; index += 1) bytes[index] = Number.parseInt(text.slice(2 * index, 2 * index + 2), 16);
  return bytes;
}

/** Whether both are the same bytes, in a time that depends on their length alone. @param {Uint8Array} one @param {Uint8Array} other */
export function equal(one, other) {
  if (one.length !== other.length) return false;
  let difference = 0;
  for (let index = 0; index < one.length; index += 1) difference |= one[index] ^ other[index];
  return difference === 0;
}

/** Below zero where `one` comes first, byte by byte. @param {Uint8Array} one @param {Uint8Array} other */
export function compare(one, other) {
  const shared = Math.min(one.length, other.length);
  for (let index = 0; index < shared; index += 1) {
    if (one[index] !== other[index]) return one[index] - other[index];
  }
  return one.length - other.length;
}

/** Takes fields from the front of `data`; every method throws `MalformedMessage` where the bytes run out. */
export class Reader {
  #data;
  #view;
  /** How many bytes have been taken. */
  position = 0;

  /** @param {Uint8Array} data */
  constructor(data) {
    this.#data = data;
    this.#view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  /** How many bytes have not been taken. */
  get left() {
    return this.#data.length - this.position;
  }

  /** @param {number} length @returns {number} where the field starts */
  #advance(length) {
    const start = this.position;
    if (length > this.left) throw new MalformedMessage(`the data ends ${length - this.left} bytes too early`);
    this.position += length;
    return start;
  }

  /** A copy, so that what was parsed does not change with the caller's buffer. @param {number} length @returns {Bytes} */
  take(length) {
    const start = this.#advance(length);
    return new Uint8Array(this.#data.subarray(start, start + length));
  }

  /** @returns {Bytes} */
  rest() {
    return this.take(this.left);
  }

  u8() {
    return this.#view.getUint8(this.#advance(1));
  }

  u16() {
    return this.#view.getUint16(this.#advance(2));
  }

  u32() {
    return this.#view.getUint32(this.#advance(4));
  }

  u64() {
    return this.#view.getBigUint64(this.#advance(8));
  }

  lp() {
    return this.take(this.u16());
  }

  /** A user id behind its length: 1 to 255 bytes of UTF-8. */
  user() {
    const raw = this.lp();
    if (raw.length < 1 || raw.length > MAX_USER_BYTES) {
      throw new MalformedMessage(`a user id has ${raw.length} bytes; it must have 1 to ${MAX_USER_BYTES}`);
    }
    return fromUtf8(raw, "a user id");
  }

  deviceId() {
    return checkDeviceId(this.u32());
  }

  /** Nothing may be left over. */
  done() {
    if (this.left) throw new MalformedMessage(`${this.left} bytes are left over at the end`);
  }
}
