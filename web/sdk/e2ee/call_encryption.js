/** Puts the encryption of frames into a call's two connections, and keeps its keys there up to date. */

/** @import { MediaKey } from "./media_key.js" */
/** @import { FrameCounts, Notice, Order } from "./sframe_worker.js" */
/** @import { CallKeyEvents } from "./call_key_exchange.js" */
/** @import { Emitter } from "../emitter.js" */
/**
 * Where a call's keys come from; `CallKeys` is the one that sends them in pairwise messages.
 *
 * Its events: `use`, the own key from now on; `add`, a sender's key; `remove`, a sender left. Of steps between nothing is told: the
 * others derive them alone.
 *
 * @typedef {object} CallKeyMethods
 * @property {MediaKey} current  the own key now
 * @property {(ownId: string, others: string[]) => void} entered  the room as it is
 * @property {(participantId: string) => void} joined
 * @property {(participantId: string) => void} left
 * @property {() => void} close
 * @typedef {Emitter<CallKeyEvents> & CallKeyMethods} CallKeySource
 */
/** @typedef {{sent: FrameCounts[], received: FrameCounts[], kid: {generation: number, step: number}, refused: Record<string, number>}} EncryptionState */

// Only our own module becomes a worker; pages that demand Trusted Types take its address in this form alone.
/** @type {{createPolicy: (name: string, rules: {createScriptURL: (url: string) => string}) => {createScriptURL: (url: string) => string}} | undefined} */
const trustedTypes = /** @type {any} */ (globalThis).trustedTypes;
const WORKER_URL = new URL("./sframe_worker.js", import.meta.url).href;
const policy = trustedTypes?.createPolicy("salam-media-worker", { createScriptURL: () => WORKER_URL });

/** @param {(notice: Notice) => void} onNotice @param {() => void} onDeath */
function startWorker(onNotice, onDeath) {
  const worker = new Worker(policy ? policy.createScriptURL("") : WORKER_URL, { type: "module", name: "salam-media" });
  worker.addEventListener("message", ({ data }) => onNotice(data));
  worker.addEventListener("error", onDeath);
  return worker;
}

/**
 * End-to-end encryption of one call: a worker for each direction, both as long-lived as the call.
 *
 * Nothing goes out or is played in the clear: whoever has no key, or whose browser gives up, sends and hears nothing.
 */
export class CallEncryption {
  /** @type {Map<RTCRtpSender, number>} */ #senders = new Map();
  /** @type {Map<RTCRtpReceiver, number>} */ #receivers = new Map();
  /** @type {(() => void)[]} */ #off = [];
  /** @type {FrameCounts[]} */ #sent = [];
  /** @type {FrameCounts[]} */ #received = [];
  /** @type {Record<string, number>} */ #refused = {};
  #nextId = 0;
  #sealing;
  #opening;
  #used = { generation: 0, step: 0 };

  /** @param {{keys: CallKeySource, onFailed?: () => void}} options  `onFailed`: a worker died, and no more media flows */
  constructor({ keys, onFailed = () => {} }) {
    if (!CallEncryption.supported()) throw new DOMException("this browser cannot encrypt calls end to end", "NotSupportedError");
    this.keys = keys;
    this.#sealing = startWorker((notice) => this.#noticed(notice, "sealing"), onFailed);
    this.#opening = startWorker((notice) => this.#noticed(notice, "opening"), onFailed);
    this.#off = [
      keys.on("use", ({ key }) => this.#seal({ do: "use", key })),
      keys.on("add", ({ sender, key }) => this.#open({ do: "add", sender, key })),
      keys.on("remove", ({ sender }) => this.#open({ do: "remove", sender })),
    ];
    this.#seal({ do: "use", key: keys.current });
  }

  static supported() {
    return "RTCRtpScriptTransform" in globalThis;
  }

  /** Whether frames of that codec can go through. @param {string} mimeType */
  static allows(mimeType) {
    return !/\/(?:av1|h265)$/i.test(mimeType);
  }

  /** Encrypts what a sender sends, from its first frame on. @param {RTCRtpSender} sender @param {string} source @param {string} codec  where frames do not name theirs */
  protectSender(sender, source, codec) {
    const id = this.#nextId++;
    this.#senders.set(sender, id);
    this.#seal({ do: "assign", id, sender: "", stream: source });
    sender.transform = new RTCRtpScriptTransform(this.#sealing, { id, sending: true, codec });
  }

  /**
   * Decrypts what a receiver receives as the frames of that participant's source; plays nothing while `track` is null.
   *
   * @param {RTCRtpReceiver} receiver
   * @param {{participant_id: string, source: string} | null} track
   * @param {string} codec  where frames do not name theirs
   */
  protectReceiver(receiver, track, codec) {
    const known = this.#receivers.get(receiver);
    const id = known ?? this.#nextId++;
    // No participant has an empty id, so that nobody's key is found.
    this.#open({ do: "assign", id, sender: track?.participant_id ?? "", stream: track?.source ?? "" });
    if (known !== undefined) return;
    this.#receivers.set(receiver, id);
    receiver.transform = new RTCRtpScriptTransform(this.#opening, { id, sending: false, codec });
  }

  /** Forgets the tracks of a connection that was closed. @param {RTCPeerConnection} pc */
  release(pc) {
    for (const sender of pc.getSenders()) {
      const id = this.#senders.get(sender);
      if (id !== undefined) this.#seal({ do: "release", id });
      this.#senders.delete(sender);
    }
    for (const receiver of pc.getReceivers()) {
      const id = this.#receivers.get(receiver);
      if (id !== undefined) this.#open({ do: "release", id });
      this.#receivers.delete(receiver);
    }
  }

  /** What went through and what was dropped, at most half a second old. @returns {EncryptionState} */
  get state() {
    return { sent: this.#sent, received: this.#received, kid: this.#used, refused: this.#refused };
  }

  close() {
    for (const off of this.#off) off();
    this.keys.close();
    this.#sealing.terminate();
    this.#opening.terminate();
  }

  /** @param {Order} order */
  #seal(order) {
    this.#sealing.postMessage(order);
  }

  /** @param {Order} order */
  #open(order) {
    this.#opening.postMessage(order);
  }

  /** @param {Notice} notice @param {"sealing" | "opening"} from */
  #noticed(notice, from) {
    if (notice.did === "counted") {
      if (from === "sealing") this.#sent = notice.counts;
      else this.#received = notice.counts;
    } else if (notice.did === "refused") {
      this.#refused[notice.code] = (this.#refused[notice.code] ?? 0) + 1;
    } else {
      const { generation, step } = notice.key;
      const switched = generation !== this.#used.generation;
      this.#used = { generation, step };
      // Whoever missed frames around the change of keys gets a whole picture.
      if (switched) for (const sender of this.#senders.keys()) void forceKeyFrame(sender);
    }
  }
}

/** @param {RTCRtpSender} sender */
async function forceKeyFrame(sender) {
  if (sender.track?.kind !== "video") return;
  const parameters = sender.getParameters();
  const encodingOptions = parameters.encodings.map(() => ({ keyFrame: true }));
  // A browser that does not know the option ignores it, and its receivers ask for the key frame themselves.
  await /** @type {any} */ (sender).setParameters(parameters, { encodingOptions }).catch(() => {});
}
