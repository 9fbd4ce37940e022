/**
 * What is in a backup: typed records in an attachment stream (the profile's section 10), read and written one at a time.
 *
 * Ratchet state is not among them: a device that is restored is a new device of the account.
 */
import { BACKUP_HEADER_BYTES, lockBackup, streamKey, unlockBackup } from "./backup.js";
import { ChunkOpener, ChunkSealer } from "./chunk_stream.js";
import { Reader, concat, fixed, lp, u16, u32, u64, u8, userBytes } from "./encoding.js";
import { BadRequest, LimitReached, MalformedMessage } from "./errors.js";
import { DEFAULT_LIMITS } from "./limits.js";
import { Lock } from "./lock.js";
import { KEY_BYTES, systemRandom } from "./suite.js";

/** @import { BackupSecret } from "./backup.js" */
/** @import { Bytes } from "./encoding.js" */
/** @import { Limits } from "./limits.js" */
/** @import { Random } from "./suite.js" */
/** @typedef {{kind: "account", seed: Bytes, userId: string}} AccountRecord  whose backup this is; the first record, and the only one of its kind */
/**
 * @typedef {{kind: "contact", userId: string, account: Bytes, verified: boolean, seq: bigint, listHash: Bytes}} ContactRecord
 *   another user's account key, whether a person compared it, and the newest device list that was seen
 */
/** @typedef {{kind: "group", groupId: Bytes, operations: Bytes[]}} GroupRecord  a group by the chain of its signed operations */
/** @typedef {{kind: "history", conversation: Bytes, kept: Bytes}} HistoryRecord  whatever the application keeps; as many as it likes */
/** @typedef {AccountRecord | ContactRecord | GroupRecord | HistoryRecord} BackupRecord */

const [ACCOUNT, CONTACT, GROUP, HISTORY, END] = [1, 2, 3, 4, 255];
const TYPES = { account: ACCOUNT, contact: CONTACT, group: GROUP, history: HISTORY };
const GROUP_ID_BYTES = 16;
const HASH_BYTES = 32;
const LP_MOST = 0xffff;
const RECORD_HEAD_BYTES = 5;
/** A reader holds one record: tens of thousands of group operations, or a long conversation, which may also take several. */
export const MAX_RECORD_BYTES = 16 * 1024 * 1024;
// What `readBackup` takes of its Blob at a time.
const PIECE_BYTES = 65_536;
const NOTHING = new Uint8Array(0);

/** @param {BackupRecord} record @returns {Bytes} */
function bodyOf(record) {
  switch (record.kind) {
    case "account":
      return concat(fixed(record.seed, KEY_BYTES), lp(userBytes(record.userId)));
    case "contact": {
      const known = concat(fixed(record.account, KEY_BYTES), u8(Number(record.verified)), u64(record.seq));
      return concat(lp(userBytes(record.userId)), known, fixed(record.listHash, HASH_BYTES));
    }
    case "group": {
      const { operations } = record;
      if (operations.length > LP_MOST || operations.some(({ length }) => length > LP_MOST)) {
        throw new MalformedMessage(`a group has at most ${LP_MOST} operations of at most ${LP_MOST} bytes`);
      }
      return concat(fixed(record.groupId, GROUP_ID_BYTES), u16(operations.length), ...operations.map(lp));
    }
    case "history":
      if (record.conversation.length > LP_MOST) throw new MalformedMessage(`the name of a conversation has at most ${LP_MOST} bytes`);
      return concat(lp(record.conversation), record.kept);
  }
}

/** @param {number} type @param {Reader} reader @returns {BackupRecord} */
function read(type, reader) {
  switch (type) {
    case ACCOUNT:
      return { kind: "account", seed: reader.take(KEY_BYTES), userId: reader.user() };
    case CONTACT: {
      const [userId, account, verified] = [reader.user(), reader.take(KEY_BYTES), reader.u8()];
      if (verified > 1) throw new MalformedMessage("a contact of a backup is neither verified nor not");
      return { kind: "contact", userId, account, verified: Boolean(verified), seq: reader.u64(), listHash: reader.take(HASH_BYTES) };
    }
    case GROUP: {
      const groupId = reader.take(GROUP_ID_BYTES);
      return { kind: "group", groupId, operations: Array.from({ length: reader.u16() }, () => reader.lp()) };
    }
    case HISTORY:
      return { kind: "history", conversation: reader.lp(), kept: reader.rest() };
    default:
      throw new MalformedMessage(`a backup has a record of type ${type}`);
  }
}

/**
 * Writes a backup record by record: `begin`, `add` the account first and then the others, `finish`. Each gives bytes to store.
 *
 * Draws the header's salt (16), the key (32) and its nonce (12), then the stream's salt (16) and prefix (7).
 */
export class BackupWriter {
  #stream;
  #count = 0;

  /** Use `begin`. @param {Bytes} header @param {ChunkSealer} stream */
  constructor(header, stream) {
    /** The first 125 bytes, which come before everything else and which `changeSecret` replaces. */
    this.header = header;
    this.#stream = stream;
  }

  /**
   * Rejects as `lockBackup` does; takes about a second with a passphrase.
   *
   * @param {BackupSecret} secret
   * @param {{random?: Random, limits?: Limits}} [options]
   */
  static async begin(secret, { random = systemRandom, limits = DEFAULT_LIMITS } = {}) {
    const { header, key } = await lockBackup(secret, { random, limits });
    return new BackupWriter(header, new ChunkSealer(await streamKey(key), { random, maxBytes: limits.maxAttachmentBytes }));
  }

  /**
   * Seals one more record, and gives what of the stream is ready.
   *
   * @param {BackupRecord} record
   * @returns {Promise<Bytes>} rejects with `BadRequest` for an account that is not the first record or a first one that is no account,
   *   `LimitReached` for a record or a backup that is too long, `MalformedMessage` for fields that the layout cannot carry
   */
  async add(record) {
    if ((this.#count === 0) !== (record.kind === "account")) {
      throw new BadRequest("the first record of a backup is its account, and no other is");
    }
    const body = bodyOf(record);
    if (body.length > MAX_RECORD_BYTES) {
      throw new LimitReached(`a record of a backup has ${body.length} bytes; it may have ${MAX_RECORD_BYTES}`);
    }
    this.#count += 1;
    return this.#stream.feed(concat(u8(TYPES[record.kind]), u32(body.length), body));
  }

  /** The end of the backup; `BadRequest` for one without an account. */
  async finish() {
    if (!this.#count) throw new BadRequest("the first record of a backup is its account, and there is none");
    const end = await this.#stream.feed(concat(u8(END), u32(4), u32(this.#count)));
    return concat(end, await this.#stream.finish());
  }
}

/**
 * Reads what follows the header, as it comes: `feed` everything, then `finish`, before which nothing may count as restored.
 *
 * Rejects with `AttachmentCorrupt` and `AttachmentTruncated` as every stream, `MalformedMessage` for records that are none of the
 * profile, and `LimitReached` above `maxAttachmentBytes`.
 */
export class BackupReader {
  #lock = new Lock();
  #stream;
  #pending = NOTHING;
  #count = 0;
  #ended = false;

  /** Use `begin`. @param {ChunkOpener} stream */
  constructor(stream) {
    this.#stream = stream;
  }

  /** @param {Bytes} key  what `unlockBackup` gave @param {{limits?: Limits}} [options] */
  static async begin(key, { limits = DEFAULT_LIMITS } = {}) {
    return new BackupReader(new ChunkOpener(await streamKey(key), { maxBytes: limits.maxAttachmentBytes }));
  }

  /** Takes a piece of the stream and gives the records that are complete. @param {Uint8Array} sealed @returns {Promise<BackupRecord[]>} */
  feed(sealed) {
    return this.#lock.run(async () => {
      this.#pending = concat(this.#pending, await this.#stream.feed(sealed));
      return this.#take();
    });
  }

  /** The last records, once it is sure that they are the last. @returns {Promise<BackupRecord[]>} */
  finish() {
    return this.#lock.run(async () => {
      this.#pending = concat(this.#pending, await this.#stream.finish());
      const records = this.#take();
      if (this.#pending.length || !this.#ended) throw new MalformedMessage("a backup does not stop where it ends");
      return records;
    });
  }

  #take() {
    const records = [];
    let [done, count, ended] = [0, this.#count, this.#ended];
    while (this.#pending.length - done >= RECORD_HEAD_BYTES) {
      const head = new Reader(this.#pending.subarray(done, done + RECORD_HEAD_BYTES));
      const [type, length] = [head.u8(), head.u32()];
      if (length > MAX_RECORD_BYTES) throw new MalformedMessage(`a record of a backup has ${length} bytes; it may have ${MAX_RECORD_BYTES}`);
      const start = done + RECORD_HEAD_BYTES;
      if (this.#pending.length - start < length) break;
      const body = new Reader(this.#pending.subarray(start, start + length));
      if (ended || (type === ACCOUNT) !== (count === 0)) throw new MalformedMessage("the records of a backup are not in their order");
      if (type === END) {
        if (length !== 4 || body.u32() !== count) throw new MalformedMessage("a backup does not have as many records as it says");
        ended = true;
      } else {
        records.push(read(type, body));
        count += 1;
      }
      body.done();
      done = start + length;
    }
    this.#pending = this.#pending.slice(done);
    [this.#count, this.#ended] = [count, ended];
    return records;
  }
}

/**
 * All records of a backup. They count only when the iteration has ended without an error.
 *
 * @param {Blob} source
 * @param {BackupSecret} secret
 * @param {{limits?: Limits}} [options]
 */
export async function* readBackup(source, secret, { limits = DEFAULT_LIMITS } = {}) {
  const piece = async (/** @type {number} */ start, /** @type {number} */ end) => new Uint8Array(await source.slice(start, end).arrayBuffer());
  const reader = await BackupReader.begin(await unlockBackup(await piece(0, BACKUP_HEADER_BYTES), secret, { limits }), { limits });
  for (let at = BACKUP_HEADER_BYTES; at < source.size; at += PIECE_BYTES) yield* await reader.feed(await piece(at, at + PIECE_BYTES));
  yield* await reader.finish();
}
