/**
 * A stream of AES-256-GCM chunks: what attachments and backups are made of (the profile's section 9).
 *
 * `ChunkCipher` reads and writes any chunk on its own, so that a player can seek. `ChunkSealer` and `ChunkOpener` take bytes in pieces
 * of any size and give bytes, and hold never more than about one chunk beside the piece.
 */
import { concat, equal, u32, u8, utf8 } from "./encoding.js";
import { AttachmentCorrupt, AttachmentTruncated, BadRequest, LimitReached } from "./errors.js";
import { Lock } from "./lock.js";
import { Sha256 } from "./sha256_stream.js";
import { KEY_BYTES, TAG_BYTES, hkdf, label } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { Random } from "./suite.js" */

const MAGIC = utf8("SLA1");
const SALT_BYTES = 16;
const PREFIX_BYTES = 7;
export const HEADER_BYTES = MAGIC.length + 1 + SALT_BYTES + PREFIX_BYTES;
// 64 KiB: 16 bytes of tag are nothing beside it, AES-GCM runs at full speed, and a player that seeks fetches no more than it needs.
const CHUNK_LOG2 = 16;
// Below 4 KiB tags and calls begin to cost; above 1 MiB a reader would have to hold more than a phone should.
const MIN_CHUNK_LOG2 = 12;
const MAX_CHUNK_LOG2 = 20;
/** The chunk number is a u32 of the nonce. */
export const MAX_CHUNKS = 2 ** 32;
const NOTHING = new Uint8Array(0);

/** The 28 bytes before the chunks, which are also every chunk's additional data. */
export class StreamHeader {
  /** @param {{chunkLog2: number, salt: Bytes, prefix: Bytes}} fields */
  constructor({ chunkLog2, salt, prefix }) {
    this.chunkLog2 = chunkLog2;
    this.salt = salt;
    this.prefix = prefix;
    /** How much plaintext every chunk but the last one holds. */
    this.chunkBytes = 2 ** chunkLog2;
  }

  /** A new header with 64 KiB chunks; draws the salt (16), then the nonce prefix (7). @param {Random} random */
  static draw(random) {
    return new StreamHeader({ chunkLog2: CHUNK_LOG2, salt: random(SALT_BYTES), prefix: random(PREFIX_BYTES) });
  }

  /**
   * Reads exactly a header: `AttachmentTruncated` when it is short, `AttachmentCorrupt` without a chunk when it is none.
   *
   * @param {Bytes} data
   */
  static parse(data) {
    if (data.length < HEADER_BYTES) throw new AttachmentTruncated("the stream ends inside its header");
    if (data.length > HEADER_BYTES || !equal(data.subarray(0, MAGIC.length), MAGIC)) {
      throw new AttachmentCorrupt("the stream does not begin with a header of the profile");
    }
    const chunkLog2 = data[MAGIC.length];
    if (chunkLog2 < MIN_CHUNK_LOG2 || chunkLog2 > MAX_CHUNK_LOG2) {
      throw new AttachmentCorrupt(`chunks of 2^${chunkLog2} bytes; they may be of 2^${MIN_CHUNK_LOG2} to 2^${MAX_CHUNK_LOG2}`);
    }
    const saltEnd = MAGIC.length + 1 + SALT_BYTES;
    return new StreamHeader({ chunkLog2, salt: data.slice(MAGIC.length + 1, saltEnd), prefix: data.slice(saltEnd) });
  }

  encode() {
    return concat(MAGIC, u8(this.chunkLog2), this.salt, this.prefix);
  }

  /** How many chunks hold that many bytes, at least one; `LimitReached` where the chunk numbers end before. @param {number} plainBytes */
  chunks(plainBytes) {
    const chunks = Math.max(Math.ceil(plainBytes / this.chunkBytes), 1);
    if (chunks > MAX_CHUNKS) throw new LimitReached(`${plainBytes} bytes are more than ${MAX_CHUNKS} chunks of ${this.chunkBytes} bytes`);
    return chunks;
  }

  /** How long the whole stream of that many bytes is, header and tags included. @param {number} plainBytes */
  sealedBytes(plainBytes) {
    return HEADER_BYTES + plainBytes + TAG_BYTES * this.chunks(plainBytes);
  }

  /**
   * How long the chunk of that number is in a stream of so many plain bytes, tag included.
   *
   * @param {number} chunk
   * @param {number} plainBytes
   */
  sealedChunkBytes(chunk, plainBytes) {
    return Math.min(plainBytes - chunk * this.chunkBytes, this.chunkBytes) + TAG_BYTES;
  }

  /** Where the chunk of that number begins in the stream. @param {number} chunk */
  sealedOffset(chunk) {
    return HEADER_BYTES + chunk * (this.chunkBytes + TAG_BYTES);
  }

  /** `maxBytes`, or less where the chunk numbers end before. @param {number} maxBytes */
  bound(maxBytes) {
    return Math.min(maxBytes, MAX_CHUNKS * this.chunkBytes);
  }
}

/**
 * Seals and opens single chunks of one stream, in any order.
 *
 * Sealing another plaintext under the same chunk number would break the cipher: whoever seals a chunk again must give the same.
 */
export class ChunkCipher {
  #key;
  #aad;
  #prefix;

  /** Use `create`. @param {CryptoKey} key @param {StreamHeader} header */
  constructor(key, header) {
    this.#key = key;
    this.#aad = header.encode();
    this.#prefix = header.prefix;
  }

  /** @param {Bytes} key @param {StreamHeader} header */
  static async create(key, header) {
    const fileKey = await hkdf(header.salt, key, label("file"), KEY_BYTES);
    return new ChunkCipher(await crypto.subtle.importKey("raw", fileKey, "AES-GCM", false, ["encrypt", "decrypt"]), header);
  }

  /** @param {number} number @param {boolean} last */
  #parameters(number, last) {
    return { name: "AES-GCM", iv: concat(this.#prefix, u32(number), u8(Number(last))), additionalData: this.#aad };
  }

  /** Ciphertext and tag of chunk `number`. @param {number} number @param {boolean} last @param {Bytes} plain @returns {Promise<Bytes>} */
  async seal(number, last, plain) {
    return new Uint8Array(await crypto.subtle.encrypt(this.#parameters(number, last), this.#key, plain));
  }

  /**
   * The plaintext of chunk `number`, or null when the chunk does not open.
   *
   * @param {number} number
   * @param {boolean} last
   * @param {Bytes} sealed
   * @returns {Promise<Bytes | null>}
   */
  async opens(number, last, sealed) {
    try {
      return new Uint8Array(await crypto.subtle.decrypt(this.#parameters(number, last), this.#key, sealed));
    } catch {
      return null;
    }
  }

  /**
   * The plaintext of chunk `number`; `AttachmentCorrupt` when the chunk does not open.
   *
   * @param {number} number
   * @param {boolean} last
   * @param {Bytes} sealed
   */
  async open(number, last, sealed) {
    const plain = await this.opens(number, last, sealed);
    if (!plain) throw new AttachmentCorrupt(`chunk ${number} does not open`, number);
    return plain;
  }
}

/**
 * Seals a stream of unknown length as it comes. `feed` everything, then `finish` once; the first bytes given are the header.
 *
 * Draws the salt (16) and the nonce prefix (7). `maxBytes` bounds the plaintext: `LimitReached`, and nothing is changed.
 */
export class ChunkSealer {
  #lock = new Lock();
  #header;
  #cipher;
  #maxBytes;
  #digest;
  #pending = NOTHING;
  #number = 0;
  #begun = false;
  #finished = false;
  /** How many bytes of plaintext were fed. */
  taken = 0;

  /** @param {Bytes} key @param {{random: Random, maxBytes: number}} options */
  constructor(key, { random, maxBytes }) {
    this.#header = StreamHeader.draw(random);
    this.#cipher = ChunkCipher.create(key, this.#header);
    this.#maxBytes = this.#header.bound(maxBytes);
    this.#digest = new Sha256().update(this.#header.encode());
  }

  /** Whether the last chunk was sealed. */
  get finished() {
    return this.#finished;
  }

  /** SHA-256 of the header and all chunks that were sealed so far. */
  get digest() {
    return this.#digest.digest();
  }

  /**
   * Takes plaintext and gives what of the stream is ready; a chunk waits until it is known not to be the last one.
   *
   * @param {Uint8Array} data
   * @returns {Promise<Bytes>}
   */
  feed(data) {
    return this.#lock.run(async () => {
      this.#checkUnfinished();
      if (this.taken + data.length > this.#maxBytes) throw new LimitReached(`the content is longer than ${this.#maxBytes} bytes`);
      const sealed = [this.#takeHeader()];
      this.taken += data.length;
      const pending = concat(this.#pending, data);
      const size = this.#header.chunkBytes;
      let done = 0;
      for (; pending.length - done > size; done += size) {
        sealed.push(await this.#seal(false, pending.subarray(done, done + size)));
      }
      this.#pending = pending.slice(done);
      return concat(...sealed);
    });
  }

  /** The rest of the stream with the last chunk. @returns {Promise<Bytes>} */
  finish() {
    return this.#lock.run(async () => {
      this.#checkUnfinished();
      this.#finished = true;
      return concat(this.#takeHeader(), await this.#seal(true, this.#pending));
    });
  }

  /** @param {boolean} last @param {Bytes} plain */
  async #seal(last, plain) {
    const number = this.#number;
    this.#number += 1;
    const sealed = await (await this.#cipher).seal(number, last, plain);
    this.#digest.update(sealed);
    return sealed;
  }

  /** Another chunk under the last one's number would take its nonce again. */
  #checkUnfinished() {
    if (this.#finished) throw new BadRequest("the stream was finished; make another one");
  }

  #takeHeader() {
    const header = this.#begun ? NOTHING : this.#header.encode();
    this.#begun = true;
    return header;
  }
}

/**
 * Opens a stream as it comes. `feed` everything, then `finish`, without which nobody knows that the end was there.
 *
 * A call that fails gives nothing and changes nothing.
 */
export class ChunkOpener {
  #lock = new Lock();
  #key;
  #maxBytes;
  #plainBytes;
  /** @type {StreamHeader | null} */ #header = null;
  /** @type {ChunkCipher | null} */ #cipher = null;
  #digest = new Sha256();
  #pending = NOTHING;
  #number = 0;

  /**
   * @param {Bytes} key
   * @param {{maxBytes: number, plainBytes?: number | null}} options  `plainBytes` is the length of the whole plaintext where it is known:
   *   an end before it is `AttachmentTruncated`, bytes after it are `AttachmentCorrupt`. Where it is not known `maxBytes` bounds it
   *   (`LimitReached`).
   */
  constructor(key, { maxBytes, plainBytes = null }) {
    this.#key = key;
    this.#maxBytes = maxBytes;
    this.#plainBytes = plainBytes;
  }

  /** SHA-256 of the header and all chunks that were opened so far. */
  get digest() {
    return this.#digest.digest();
  }

  /**
   * Takes a piece of the stream and gives the plaintext that is ready, each chunk after its tag was checked.
   *
   * @param {Uint8Array} data
   * @returns {Promise<Bytes>}
   */
  feed(data) {
    return this.#lock.run(async () => {
      const pending = concat(this.#pending, data);
      let [header, cipher, number, done] = [this.#header, this.#cipher, this.#number, 0];
      if (!header || !cipher) {
        if (pending.length < HEADER_BYTES) {
          this.#pending = pending;
          return NOTHING;
        }
        header = StreamHeader.parse(pending.slice(0, HEADER_BYTES));
        cipher = await ChunkCipher.create(this.#key, header);
        done = HEADER_BYTES;
      }
      const plain = [];
      for (let size; (size = this.#readyBytes(header, number, pending.length - done)) !== null; done += size, number += 1) {
        const last = this.#plainBytes !== null && number + 1 === header.chunks(this.#plainBytes);
        plain.push(await cipher.open(number, last, pending.subarray(done, done + size)));
      }
      this.#digest.update(pending.subarray(0, done));
      this.#pending = pending.slice(done);
      [this.#header, this.#cipher, this.#number] = [header, cipher, number];
      return concat(...plain);
    });
  }

  /** The plaintext that was held back; `AttachmentTruncated` when the stream ended before its last chunk. @returns {Promise<Bytes>} */
  finish() {
    return this.#lock.run(async () => {
      if (!this.#header || !this.#cipher) throw new AttachmentTruncated("the stream ends inside its header");
      if (this.#plainBytes !== null) {
        if (this.#number < this.#header.chunks(this.#plainBytes)) throw new AttachmentTruncated("the stream ends before its last chunk");
        return NOTHING;
      }
      const plain = await this.#openLast(this.#header, this.#cipher, this.#pending);
      this.#digest.update(this.#pending);
      this.#pending = NOTHING;
      return plain;
    });
  }

  /**
   * The sealed length of chunk `number` when it can be opened with what is waiting.
   *
   * @param {StreamHeader} header
   * @param {number} number
   * @param {number} waiting
   * @returns {number | null}
   */
  #readyBytes(header, number, waiting) {
    if (this.#plainBytes !== null) {
      if (number === header.chunks(this.#plainBytes)) {
        if (waiting) throw new AttachmentCorrupt("the stream goes on after its last chunk");
        return null;
      }
      const size = header.sealedChunkBytes(number, this.#plainBytes);
      return waiting >= size ? size : null;
    }
    // Another byte must follow before it is known that this is not the last chunk.
    if (waiting <= header.chunkBytes + TAG_BYTES) return null;
    if ((number + 1) * header.chunkBytes >= header.bound(this.#maxBytes)) {
      throw new LimitReached(`the content is longer than ${this.#maxBytes} bytes`);
    }
    return header.chunkBytes + TAG_BYTES;
  }

  /**
   * Opens what is left when the length is not known: a cut between two chunks can be told from a broken chunk.
   *
   * @param {StreamHeader} header
   * @param {ChunkCipher} cipher
   * @param {Bytes} sealed
   */
  async #openLast(header, cipher, sealed) {
    const number = this.#number;
    const cut = sealed.length === header.chunkBytes + TAG_BYTES && (await cipher.opens(number, false, sealed)) !== null;
    if (sealed.length < TAG_BYTES || cut) throw new AttachmentTruncated("the stream ends before its last chunk");
    const plain = await cipher.open(number, true, sealed);
    if (number && !plain.length) throw new AttachmentCorrupt("the last chunk is empty", number);
    if (number * header.chunkBytes + plain.length > header.bound(this.#maxBytes)) {
      throw new LimitReached(`the content is longer than ${this.#maxBytes} bytes`);
    }
    return plain;
  }
}
