/**
 * Attachments: a file is sealed under a key of its own, and a small descriptor with that key travels in a message (the profile's section 9).
 *
 * `sealStream` and `openStream` stand between a file and the network and hold about a chunk; `OpenedBlob` and `SealedBlob`
 * (attachment_blob.js) read a sealed file from any place, and send one again from any place.
 */
import { ChunkOpener, ChunkSealer, MAX_CHUNKS } from "./chunk_stream.js";
import { Reader, concat, equal, fixed, fromUtf8, lp, u64, u8, utf8 } from "./encoding.js";
import { AttachmentCorrupt, BadRequest, LimitReached, MalformedMessage, UnsupportedVersion } from "./errors.js";
import { DEFAULT_LIMITS } from "./limits.js";
import { bucket } from "./padding.js";
import { KEY_BYTES, systemRandom } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { Limits } from "./limits.js" */
/** @import { Random } from "./suite.js" */

const VERSION = 1;
const DIGEST_BYTES = 32;
// The smallest attachment looks like every other one up to this size; a chunk is anyway 64 times as long.
const LEAST_BUCKET = 1_024;
// Zeros are fed in pieces of one chunk.
const PIECE_BYTES = 65_536;

/**
 * How long the content is with its padding; `LimitReached` for more than `maxAttachmentBytes`.
 *
 * @param {number} size
 * @param {Limits} [limits]
 */
export function paddedSize(size, limits = DEFAULT_LIMITS) {
  const most = limits.maxAttachmentBytes;
  if (size > most) throw new LimitReached(`an attachment has ${size} bytes; it may have ${most} (maxAttachmentBytes)`);
  return Math.max(bucket(size), LEAST_BUCKET);
}

/** @param {string} text */
function raw(text) {
  const encoded = utf8(text);
  if (encoded.length > 0xffff) throw new MalformedMessage(`a text of an attachment descriptor has ${encoded.length} bytes; it may have 65535`);
  return encoded;
}

/**
 * What a receiver needs to fetch and open an attachment. It holds the key, so it travels only inside of a message.
 *
 * `digest` is the SHA-256 of the whole sealed stream, `size` the content's length in bytes. `mimeType` and `name` are the sender's
 * words: a name is no path, and a type no promise.
 */
export class AttachmentDescriptor {
  /** @param {{key: Bytes, digest: Bytes, size: number | bigint, mimeType: string, name: string}} fields */
  constructor({ key, digest, size, mimeType, name }) {
    this.key = key;
    this.digest = digest;
    this.size = BigInt(size);
    this.mimeType = mimeType;
    this.name = name;
  }

  /** The bytes of the profile; `MalformedMessage` for fields that the layout cannot carry. */
  encode() {
    const keys = concat(fixed(this.key, KEY_BYTES), fixed(this.digest, DIGEST_BYTES));
    return concat(u8(VERSION), keys, u64(this.size), lp(raw(this.mimeType)), lp(raw(this.name)));
  }

  /**
   * Reads a descriptor; `MalformedMessage` for anything else. Whether `size` is within limits is seen when it is opened.
   *
   * @param {Uint8Array} data
   */
  static parse(data) {
    const reader = new Reader(data);
    const version = reader.u8();
    if (version !== VERSION) throw new UnsupportedVersion(`an attachment descriptor has version ${version}; this release reads ${VERSION}`);
    const [key, digest, size] = [reader.take(KEY_BYTES), reader.take(DIGEST_BYTES), reader.u64()];
    const what = "a text of an attachment descriptor";
    const [mimeType, name] = [fromUtf8(reader.lp(), what), fromUtf8(reader.lp(), what)];
    reader.done();
    return new AttachmentDescriptor({ key, digest, size, mimeType, name });
  }
}

/**
 * `AttachmentCorrupt` unless `digest` is the descriptor's. The digest also commits to the key, which AES-GCM does not.
 *
 * @param {Bytes} digest
 * @param {AttachmentDescriptor} descriptor
 */
export function checkDigest(digest, descriptor) {
  if (!equal(digest, descriptor.digest)) throw new AttachmentCorrupt("the stream is not the one that the descriptor names");
}

/**
 * Seals an attachment whose length need not be known. `feed` all content, take everything from `finish`, then `descriptor`.
 *
 * Draws the key (32), the salt (16) and the nonce prefix (7). Content above `maxAttachmentBytes` is `LimitReached`.
 */
export class AttachmentSealer {
  #key;
  #limits;
  #stream;
  #size = 0;

  /** @param {{random?: Random, limits?: Limits}} [options] */
  constructor({ random = systemRandom, limits = DEFAULT_LIMITS } = {}) {
    this.#key = random(KEY_BYTES);
    this.#limits = limits;
    // The padding may go beyond the limit of the content.
    this.#stream = new ChunkSealer(this.#key, { random, maxBytes: MAX_CHUNKS * PIECE_BYTES });
  }

  /** Takes a piece of the content and gives what of the sealed stream is ready, which may be nothing. @param {Uint8Array} content */
  async feed(content) {
    paddedSize(this.#size + content.length, this.#limits);
    this.#size += content.length;
    return this.#stream.feed(content);
  }

  /** Gives the rest of the sealed stream, with the padding, in pieces of about a chunk. */
  async *finish() {
    for (let left = paddedSize(this.#size, this.#limits) - this.#size; left > 0; left -= PIECE_BYTES) {
      yield await this.#stream.feed(new Uint8Array(Math.min(left, PIECE_BYTES)));
    }
    yield await this.#stream.finish();
  }

  /** What the receiver needs; `BadRequest` before all of `finish` was taken. @param {{mimeType: string, name: string}} words */
  descriptor({ mimeType, name }) {
    if (!this.#stream.finished) throw new BadRequest("the attachment is not sealed to its end");
    return new AttachmentDescriptor({ key: this.#key, digest: this.#stream.digest, size: this.#size, mimeType, name });
  }
}

/**
 * Opens a sealed attachment as it comes. `feed` everything, then `finish`: before it resolves, nobody knows that all was there.
 *
 * Throws `LimitReached` at once for a descriptor above `maxAttachmentBytes`. Of a call that fails nothing is given.
 */
export class AttachmentOpener {
  #descriptor;
  #stream;
  #left;

  /** @param {AttachmentDescriptor} descriptor @param {{limits?: Limits}} [options] */
  constructor(descriptor, { limits = DEFAULT_LIMITS } = {}) {
    const padded = paddedSize(Number(descriptor.size), limits);
    this.#descriptor = descriptor;
    this.#stream = new ChunkOpener(descriptor.key, { plainBytes: padded, maxBytes: padded });
    this.#left = Number(descriptor.size);
  }

  /**
   * Takes a piece of the sealed stream and gives the content that is ready.
   *
   * @param {Uint8Array} sealed
   * @returns {Promise<Bytes>} rejects with `AttachmentCorrupt`: with the number of the chunk that does not open, or without one where
   *   the header is wrong or bytes follow the last chunk
   */
  async feed(sealed) {
    const content = (await this.#stream.feed(sealed)).slice(0, this.#left);
    this.#left -= content.length;
    return content;
  }

  /** `AttachmentTruncated` when the stream is not complete, `AttachmentCorrupt` when its digest is not the descriptor's. */
  async finish() {
    await this.#stream.finish();
    checkDigest(this.#stream.digest, this.#descriptor);
  }
}

/**
 * A transform from a file's content to its sealed stream; the sealer's `descriptor` is there when the stream has ended.
 *
 * @param {AttachmentSealer} sealer
 * @returns {TransformStream<Uint8Array, Bytes>}
 */
export function sealStream(sealer) {
  return new TransformStream({
    async transform(piece, controller) {
      const sealed = await sealer.feed(piece);
      if (sealed.length) controller.enqueue(sealed);
    },
    async flush(controller) {
      for await (const sealed of sealer.finish()) controller.enqueue(sealed);
    },
  });
}

/**
 * A transform from a sealed stream to the file's content. What was given counts only when the stream has ended without an error.
 *
 * @param {AttachmentOpener} opener
 * @returns {TransformStream<Uint8Array, Bytes>}
 */
export function openStream(opener) {
  return new TransformStream({
    async transform(piece, controller) {
      const content = await opener.feed(piece);
      if (content.length) controller.enqueue(content);
    },
    flush: () => opener.finish(),
  });
}
