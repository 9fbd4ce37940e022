/** Attachments over a Blob, which can be read from any place: both sides of the profile's section 9, one chunk in memory at a time. */
import { AttachmentDescriptor, checkDigest, paddedSize } from "./attachment.js";
import { ChunkCipher, HEADER_BYTES, StreamHeader } from "./chunk_stream.js";
import { concat } from "./encoding.js";
import { AttachmentTruncated, BadRequest } from "./errors.js";
import { DEFAULT_LIMITS } from "./limits.js";
import { Sha256 } from "./sha256_stream.js";
import { KEY_BYTES, TAG_BYTES, systemRandom } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { Limits } from "./limits.js" */
/** @import { Random } from "./suite.js" */

/** @param {Blob} blob @param {number} start @param {number} end @returns {Promise<Bytes>} */
async function read(blob, start, end) {
  return new Uint8Array(await blob.slice(start, end).arrayBuffer());
}

/**
 * The content of a sealed attachment, read from any place: a voice note, a video, an image in a gallery.
 *
 * Every chunk is checked when it is opened. Who jumps calls `verify` first, where the sender could be dishonest and it matters: only
 * the digest shows that the stream is the one that was sent.
 */
export class OpenedBlob {
  #source;
  #descriptor;
  #padded;
  #header;
  #cipher;

  /**
   * Use `open`.
   *
   * @param {Blob} source
   * @param {AttachmentDescriptor} descriptor
   * @param {number} padded
   * @param {StreamHeader} header
   * @param {ChunkCipher} cipher
   */
  constructor(source, descriptor, padded, header, cipher) {
    this.#source = source;
    this.#descriptor = descriptor;
    this.#padded = padded;
    this.#header = header;
    this.#cipher = cipher;
    /** The content's length in bytes. */
    this.size = Number(descriptor.size);
  }

  /**
   * @param {Blob} source  the whole sealed stream
   * @param {AttachmentDescriptor} descriptor
   * @param {{limits?: Limits}} [options]
   * @returns {Promise<OpenedBlob>} rejects with `AttachmentCorrupt` or `AttachmentTruncated` for a bad header, `LimitReached`
   */
  static async open(source, descriptor, { limits = DEFAULT_LIMITS } = {}) {
    const padded = paddedSize(Number(descriptor.size), limits);
    const header = StreamHeader.parse(await read(source, 0, HEADER_BYTES));
    return new OpenedBlob(source, descriptor, padded, header, await ChunkCipher.create(descriptor.key, header));
  }

  /** Reads the whole source and checks length and digest, without opening it: `AttachmentTruncated` or `AttachmentCorrupt`. */
  async verify() {
    const digest = new Sha256();
    const step = this.#header.chunkBytes;
    for (let at = 0; at < this.#source.size; at += step) digest.update(await read(this.#source, at, at + step));
    if (this.#source.size < this.#header.sealedBytes(this.#padded)) throw new AttachmentTruncated("the stream ends before its last chunk");
    checkDigest(digest.digest(), this.#descriptor);
  }

  /**
   * The content from `start` up to `end`, or to where it ends.
   *
   * @param {number} [start]
   * @param {number} [end]
   * @returns {Promise<Bytes>} rejects with `AttachmentCorrupt` with the chunk's number, or `AttachmentTruncated`
   */
  async slice(start = 0, end = this.size) {
    const size = this.#header.chunkBytes;
    const stop = Math.min(end, this.size);
    const pieces = [];
    for (let at = start; at < stop; ) {
      const number = Math.floor(at / size);
      const plain = await this.#open(number);
      pieces.push(plain.subarray(at - number * size, stop - number * size));
      at = (number + 1) * size;
    }
    return concat(...pieces);
  }

  /** The content from `start` on, chunk by chunk. @param {number} [start] @returns {ReadableStream<Bytes>} */
  stream(start = 0) {
    let at = start;
    return new ReadableStream({
      pull: async (controller) => {
        if (at >= this.size) {
          controller.close();
          return;
        }
        const next = (Math.floor(at / this.#header.chunkBytes) + 1) * this.#header.chunkBytes;
        controller.enqueue(await this.slice(at, next));
        at = next;
      },
    });
  }

  /** @param {number} number */
  async #open(number) {
    const [offset, length] = [this.#header.sealedOffset(number), this.#header.sealedChunkBytes(number, this.#padded)];
    const sealed = await read(this.#source, offset, offset + length);
    if (sealed.length < length) throw new AttachmentTruncated(`the stream ends inside chunk ${number}`);
    return this.#cipher.open(number, number + 1 === this.#header.chunks(this.#padded), sealed);
  }
}

/**
 * A Blob or File as its sealed stream, from any place: an upload may go back and send a piece again.
 *
 * Draws the key (32), the salt (16) and the nonce prefix (7). A File that changes meanwhile cannot be read any more, so a chunk that is
 * sealed again comes out the same. One above `maxAttachmentBytes` is `LimitReached`.
 */
export class SealedBlob {
  #source;
  #padded;
  #key;
  #header;
  #cipher;

  /** @param {Blob} source @param {{random?: Random, limits?: Limits}} [options] */
  constructor(source, { random = systemRandom, limits = DEFAULT_LIMITS } = {}) {
    this.#source = source;
    this.#padded = paddedSize(source.size, limits);
    this.#key = random(KEY_BYTES);
    this.#header = StreamHeader.draw(random);
    this.#cipher = ChunkCipher.create(this.#key, this.#header);
    /** The length of the sealed stream in bytes. */
    this.size = this.#header.sealedBytes(this.#padded);
  }

  /** The sealed stream from byte `start` on, chunk by chunk. @param {number} [start] @returns {ReadableStream<Bytes>} */
  stream(start = 0) {
    let at = start;
    return new ReadableStream({
      pull: async (controller) => {
        if (at >= this.size) {
          controller.close();
          return;
        }
        const piece = await this.#piece(at);
        controller.enqueue(piece);
        at += piece.length;
      },
    });
  }

  /** What the receiver needs; reads and seals everything to know the digest. @param {{mimeType?: string, name?: string}} [words] */
  async descriptor({ mimeType = this.#source.type, name = "" } = {}) {
    const digest = new Sha256().update(this.#header.encode());
    for (let number = 0; number < this.#header.chunks(this.#padded); number += 1) digest.update(await this.#seal(number));
    return new AttachmentDescriptor({ key: this.#key, digest: digest.digest(), size: this.#source.size, mimeType, name });
  }

  /** @param {number} at */
  async #piece(at) {
    if (at < HEADER_BYTES) return this.#header.encode().slice(at);
    const number = Math.floor((at - HEADER_BYTES) / (this.#header.chunkBytes + TAG_BYTES));
    return (await this.#seal(number)).slice(at - this.#header.sealedOffset(number));
  }

  /** @param {number} number */
  async #seal(number) {
    const offset = number * this.#header.chunkBytes;
    const plain = new Uint8Array(this.#header.sealedChunkBytes(number, this.#padded) - TAG_BYTES);
    const expected = Math.max(Math.min(this.#source.size - offset, plain.length), 0);
    const content = await read(this.#source, offset, offset + plain.length);
    if (content.length !== expected) throw new BadRequest("the file changed while it was being sealed; begin again", "source_changed");
    plain.set(content);
    return (await this.#cipher).seal(number, number + 1 === this.#header.chunks(this.#padded), plain);
  }
}
