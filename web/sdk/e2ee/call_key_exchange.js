/** The media keys of a call between its participants: what is sent to whom when people come and go, and what comes of what arrives. */
import { Emitter } from "../emitter.js";
import { SenderKeys } from "./call_keys.js";
import { equal, fixed } from "./encoding.js";
import { LimitReached } from "./errors.js";
import { Lock } from "./lock.js";
import { MAX_FRAME_SENDERS, checkMediaKey, kidOf } from "./media_key.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { CallKey, CallKeyAck } from "./content.js" */
/** @import { KeyEvent } from "./call_keys.js" */
/** @import { MediaKey } from "./media_key.js" */
/**
 * @typedef {object} CallKeyEvents
 * @property {{key: MediaKey}} use  the own key from now on
 * @property {{sender: string, key: MediaKey}} add  a key of somebody else
 * @property {{sender: string}} remove  somebody left
 * @property {{peer: string, error: unknown}} failed  a key could not be sent or made; the peer hears nothing
 */

const CALL_ID_BYTES = 16;

/**
 * The keys of one participant in one call; they travel as contents 3 and 5 of the profile in pairwise messages, which `send` sends
 * and whoever reads such messages hands to `receive`.
 *
 * Peers are named as signalling names participants. Who a participant is, the server says; whether that is somebody who may hear
 * and be heard, `admit` says, which is where the identity of devices comes in.
 *
 * @extends {Emitter<CallKeyEvents>}
 */
export class CallKeys extends Emitter {
  #keys;
  #callId;
  #send;
  #admit;
  #lock = new Lock();
  #ownId = "";
  #closed = false;
  #usedKid;
  /** Who is in the room. @type {Set<string>} */ #present = new Set();
  /** The newest key of each sender, to know a device that started anew. @type {Map<string, MediaKey>} */ #received = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;

  /**
   * @param {object} options
   * @param {Bytes} options.callId  16 bytes, the same for everybody in the call
   * @param {(peer: string, content: CallKey | CallKeyAck) => Promise<void>} options.send  in the order of the calls for each peer
   * @param {(peer: string) => boolean | Promise<boolean>} [options.admit]  whether a participant gets keys, and its own are used
   */
  constructor({ callId, send, admit = () => true }) {
    super();
    this.#callId = fixed(callId, CALL_ID_BYTES);
    this.#send = send;
    this.#admit = admit;
    this.#keys = new SenderKeys();
    this.#usedKid = kidOf(this.#keys.present);
  }

  /** The own key now. */
  get current() {
    return this.#keys.present;
  }

  /** The room was entered, at first or again; whoever knew this device under another id is given a key anew. @param {string} ownId @param {string[]} others */
  entered(ownId, others) {
    const renamed = this.#ownId !== "" && this.#ownId !== ownId;
    this.#ownId = ownId;
    const now = new Set(others);
    for (const peer of [...this.#present]) if (!now.has(peer)) this.left(peer);
    if (renamed) this.#do("", (keys) => keys.renew(nowS()));
    for (const peer of others) this.joined(peer);
  }

  /** @param {string} peer */
  joined(peer) {
    if (this.#closed || peer === this.#ownId || this.#present.has(peer)) return;
    this.#present.add(peer);
    void this.#welcome(peer);
  }

  /** @param {string} peer */
  left(peer) {
    this.#present.delete(peer);
    this.#received.delete(peer);
    this.emit("remove", { sender: peer });
    this.#do(peer, (keys) => keys.remove(peer, nowS()));
  }

  /**
   * Takes a content that the session with `sender`'s device carried; one of another call is left alone.
   *
   * @param {string} sender
   * @param {CallKey | CallKeyAck} content
   * @returns {Promise<void>} rejects with `MalformedMessage` for what is no key, `LimitReached` for too many senders
   */
  async receive(sender, content) {
    if (this.#closed || !equal(content.callId, this.#callId)) return;
    if (content.kind === "callKeyAck") {
      this.#do(sender, (keys) => keys.acknowledged(sender, content.generation));
      return;
    }
    const key = checkMediaKey(content);
    const here = this.#present.has(sender);
    // A key may come before the word that somebody joined, but not after the word that they left.
    if (!(await this.#admit(sender)) || (here && !this.#present.has(sender))) return;
    const known = this.#received.get(sender);
    if (!known && this.#received.size >= MAX_FRAME_SENDERS) throw new LimitReached(`media keys of at most ${MAX_FRAME_SENDERS} senders are kept`);
    const again = known?.generation === key.generation && known.step === key.step && equal(known.baseKey, key.baseKey);
    if (!again) {
      this.#received.set(sender, key);
      this.emit("add", { sender, key });
    }
    await this.#send(sender, { kind: "callKeyAck", callId: this.#callId, generation: key.generation });
    // Generations only rise while a device is in a call: this one was started anew, and has lost our key too.
    if (known && !again && key.generation <= known.generation) this.#do(sender, (keys) => keys.again(sender));
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  /** Asking who somebody is may take its time; nobody's leaving waits for it. @param {string} peer */
  async #welcome(peer) {
    try {
      if (await this.#admit(peer)) this.#do(peer, async (keys) => (this.#present.has(peer) ? keys.add(peer, nowS()) : []));
    } catch (error) {
      this.emit("failed", { peer, error });
    }
  }

  /** @param {string} peer @param {(keys: SenderKeys) => Promise<KeyEvent[]>} step */
  #do(peer, step) {
    this.#lock.run(async () => {
      if (this.#closed) return;
      this.#apply(await step(this.#keys));
    }).catch((error) => this.emit("failed", { peer, error }));
  }

  /** @param {KeyEvent[]} events */
  #apply(events) {
    for (const event of events) {
      if (event.kind !== "sendKey") continue;
      const { peer, key } = event;
      this.#send(peer, { kind: "callKey", callId: this.#callId, ...key }).catch((error) => this.emit("failed", { peer, error }));
    }
    const { present, deadline } = this.#keys;
    if (kidOf(present) !== this.#usedKid) {
      this.#usedKid = kidOf(present);
      this.emit("use", { key: present });
    }
    clearTimeout(this.#timer);
    if (deadline === Number.POSITIVE_INFINITY) return;
    this.#timer = setTimeout(() => this.#do("", (keys) => keys.onTime(nowS())), Math.max(0, (deadline - nowS()) * 1000));
  }
}

const nowS = () => performance.now() / 1000;
