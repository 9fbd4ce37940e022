/**
 * What of an encoded media frame stays clear, and how the encrypted rest is put in its place (the profile's section 11).
 *
 * A forwarding unit must see where a picture starts and whether it is a keyframe, and a packetizer must find the units that it cuts;
 * nothing else may be read on the way.
 */
import { concat, lp, u8, utf8 } from "./encoding.js";
import { CodecNotSupported, MalformedMessage } from "./errors.js";

/** @import { Bytes } from "./encoding.js" */
/** @typedef {"opus" | "vp8" | "vp9" | "h264" | "data"} Codec  `data` is a message on a data channel, all of it encrypted */
/** @typedef {{clear: Bytes, rest: Bytes}} Divided  the clear bytes, and what is to be encrypted or is */

/** As the metadata writes it: audio, video, data. @type {Record<Codec, number>} */
const KINDS = { opus: 0, vp8: 1, vp9: 1, h264: 1, data: 2 };
// Names are words such as "screen_audio"; the bound is that of a user id.
const MAX_STREAM_NAME_BYTES = 255;
const NAL_KIND = 0x1f;
// SEI, the two parameter sets, the access unit delimiter (ITU-T H.264 table 7-1): what packetizers and forwarders read. Every other
// unit is treated as a slice, so that nothing unknown goes in the clear.
const CLEAR_NALS = new Set([6, 7, 8, 9]);
// The header, and two bytes in which receivers look for the first macroblock, the slice type and the parameter set's number.
const SLICE_CLEAR_BYTES = 3;
const LONG_START_CODE = Uint8Array.of(0, 0, 0, 1);
const EMPTY = new Uint8Array(0);

/** The codec of a name or MIME type, in any case; `CodecNotSupported` for every other, AV1 among them. @param {string} name @returns {Codec} */
export function codecNamed(name) {
  const codec = name.slice(name.lastIndexOf("/") + 1).toLowerCase();
  if (!Object.hasOwn(KINDS, codec)) throw new CodecNotSupported("frames of this codec cannot be encrypted end to end");
  return /** @type {Codec} */ (codec);
}

/**
 * An encoded frame as what stays clear and what is to be encrypted.
 *
 * H.264 is Annex B; its start codes come out four bytes long, for a receiver's depacketizer writes them so whatever they were.
 *
 * @param {Codec} codec
 * @param {Bytes} frame
 * @returns {Divided} `MalformedMessage` where the frame is too short to be one of this codec, or has no part that would be encrypted
 */
export function split(codec, frame) {
  if (codec === "h264") return divideAnnexB(frame);
  if (codec !== "vp8") return { clear: EMPTY, rest: frame };
  if (frame.length === 0) throw new MalformedMessage("a VP8 frame is empty");
  // The frame tag's first byte holds the inverse key frame flag (RFC 6386 9.1).
  return { clear: frame.slice(0, 1), rest: frame.subarray(1) };
}

/** The frame to send, written so that the codec's packetizer keeps the SFrame object whole. @param {Codec} codec @param {Bytes} clear @param {Bytes} sealed @returns {Bytes} */
export function join(codec, clear, sealed) {
  return concat(clear, codec === "h264" ? escape(clear, sealed) : sealed);
}

/** A received frame as its clear bytes and its SFrame object; throws as `split` does. @param {Codec} codec @param {Bytes} frame @returns {Divided} */
export function splitSealed(codec, frame) {
  const { clear, rest } = split(codec, frame);
  return { clear, rest: codec === "h264" ? unescape(clear, rest) : rest };
}

/** What is authenticated beside the SFrame header. @param {Codec} codec @param {Bytes} clear @param {string} stream  what signalling calls the track's source */
export function metadata(codec, clear, stream) {
  const name = utf8(stream);
  if (name.length > MAX_STREAM_NAME_BYTES) {
    throw new MalformedMessage(`a stream name has ${name.length} bytes; it may have ${MAX_STREAM_NAME_BYTES}`);
  }
  return concat(clear, u8(KINDS[codec]), lp(name));
}

/** Where the next 00 00 01 begins, or -1. @param {Uint8Array} data @param {number} from */
function findStartCode(data, from) {
  for (let at = data.indexOf(1, from + 2); at >= 0; at = data.indexOf(1, at + 1)) {
    if (data[at - 1] === 0 && data[at - 2] === 0) return at - 2;
  }
  return -1;
}

/** Where `data` ends without the zero bytes before `end`. @param {Uint8Array} data @param {number} end */
function withoutZeros(data, end) {
  let last = end;
  while (last > 0 && data[last - 1] === 0) last -= 1;
  return last;
}

/** @param {Bytes} frame @returns {Divided} */
function divideAnnexB(frame) {
  let at = findStartCode(frame, 0);
  if (at < 0 || withoutZeros(frame, at) > 0) throw new MalformedMessage("an H.264 frame does not begin with a start code");
  /** @type {Bytes[]} */
  const clear = [];
  for (;;) {
    const start = at + 3;
    if (start >= frame.length) throw new MalformedMessage("an H.264 frame has no slice");
    clear.push(LONG_START_CODE);
    if (!CLEAR_NALS.has(frame[start] & NAL_KIND)) {
      const end = start + SLICE_CLEAR_BYTES;
      if (end > frame.length) throw new MalformedMessage("an H.264 slice is truncated");
      return { clear: concat(...clear, frame.subarray(start, end)), rest: frame.subarray(end) };
    }
    at = findStartCode(frame, start);
    if (at < 0) throw new MalformedMessage("an H.264 frame has no slice");
    // A unit never ends with a zero byte: those before a start code belong to it.
    clear.push(frame.subarray(start, withoutZeros(frame, at)));
  }
}

/** How many zero bytes, at most two, `clear` ends with: together with what follows they could read as a start code. @param {Uint8Array} clear */
function zerosAtEnd(clear) {
  return Math.min(2, clear.length - withoutZeros(clear, clear.length));
}

/** Puts emulation prevention bytes in (ITU-T H.264 7.4.1): after them no start code begins in `sealed`. @param {Bytes} clear @param {Bytes} sealed @returns {Bytes} */
function escape(clear, sealed) {
  let zeros = zerosAtEnd(clear);
  // Two of three bytes could need one at the very worst.
  const escaped = new Uint8Array(sealed.length + (sealed.length >> 1) + 1);
  let length = 0;
  for (const byte of sealed) {
    if (zeros === 2 && byte <= 3) {
      escaped[length++] = 3;
      zeros = 0;
    }
    escaped[length++] = byte;
    zeros = byte === 0 ? zeros + 1 : 0;
  }
  return escaped.slice(0, length);
}

/** @param {Bytes} clear @param {Bytes} escaped @returns {Bytes} */
function unescape(clear, escaped) {
  let zeros = zerosAtEnd(clear);
  const sealed = new Uint8Array(escaped.length);
  let length = 0;
  for (const byte of escaped) {
    if (zeros >= 2 && byte === 3) {
      zeros = 0;
      continue;
    }
    sealed[length++] = byte;
    zeros = byte === 0 ? zeros + 1 : 0;
  }
  return sealed.slice(0, length);
}
