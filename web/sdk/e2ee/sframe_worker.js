/**
 * The worker through which every encoded frame of a connection goes: it seals what is sent and opens what comes in.
 *
 * There is no clear path: a frame that cannot be sealed or opened is dropped and counted. The worker of the sending side outlives its
 * connection, for the counters of a key must not begin again.
 */
import { E2EEError, UnknownFrameKey } from "./errors.js";
import { FrameSealer, KeyRing } from "./frame_keys.js";
import { codecNamed } from "./frames.js";
import { Lock } from "./lock.js";

/** @import { MediaKey } from "./media_key.js" */
/**
 * @typedef {{do: "use", key: MediaKey}} Use  seal with this key from now on; answered by `used`
 * @typedef {{do: "add", sender: string, key: MediaKey}} Add
 * @typedef {{do: "remove", sender: string}} Remove
 * @typedef {{do: "assign", id: number, sender: string, stream: string}} Assign  whose frames a transform carries, and of which source; the own ones have no sender
 * @typedef {{do: "release", id: number}} Release  a transform is no longer needed
 * @typedef {Use | Add | Remove | Assign | Release} Order  from the page
 */
/** @typedef {{id: number, sender: string, stream: string, frames: number, dropped: Record<string, number>}} FrameCounts  `dropped` by error code */
/** @typedef {{did: "used", key: MediaKey} | {did: "counted", counts: FrameCounts[]} | {did: "refused", code: string}} Notice  to the page */
/** @typedef {{counts: FrameCounts, assigned: boolean, transformer: Transformer | null, starved: boolean, askedS: number}} Track */
/** @typedef {RTCEncodedVideoFrame | RTCEncodedAudioFrame} Frame */
/**
 * Of a worker's scope and of encoded transforms, what the checker's library for pages does not know.
 *
 * @typedef {{readable: ReadableStream<Frame>, writable: WritableStream<Frame>, options: unknown, sendKeyFrameRequest?: () => Promise<void>}} Transformer
 * @typedef {{postMessage: (notice: Notice) => void, addEventListener: (type: string, listener: (event: any) => void) => void}} Scope
 */

// More tracks than a room of the largest size has m-lines; a page that asks for more is broken.
const MAX_TRACKS = 1_024;
// Twice a second is as often as the page samples its other statistics.
const COUNTS_MS = 500;
// A key frame comes within a few frame intervals; asking more often would only cost the others quality.
const ASK_AGAIN_S = 1;

const scope = /** @type {Scope} */ (/** @type {unknown} */ (globalThis));
const sealer = new FrameSealer();
const ring = new KeyRing();
const orders = new Lock();
/** @type {Map<number, Track>} */
const tracks = new Map();
/** @type {ReturnType<typeof setTimeout> | undefined} */
let countsDue;

/** @param {Notice} notice */
const tell = (notice) => scope.postMessage(notice);

function count() {
  countsDue ??= setTimeout(() => {
    countsDue = undefined;
    tell({ did: "counted", counts: [...tracks.values()].map(({ counts }) => counts) });
  }, COUNTS_MS);
}

/** @param {number} id @returns {Track | null} null past the bound */
function trackOf(id) {
  const known = tracks.get(id);
  if (known) return known;
  if (tracks.size >= MAX_TRACKS) return null;
  const counts = { id, sender: "", stream: "", frames: 0, dropped: {} };
  const track = { counts, assigned: false, transformer: null, starved: false, askedS: Number.NEGATIVE_INFINITY };
  tracks.set(id, track);
  return track;
}

/** @param {Order} order */
async function obey(order) {
  switch (order.do) {
    case "use":
      await sealer.use(order.key);
      return tell({ did: "used", key: order.key });
    case "add":
      return ring.add(order.sender, order.key);
    case "remove":
      return ring.remove(order.sender);
    case "assign": {
      const track = trackOf(order.id);
      if (!track) return;
      track.assigned = true;
      if (track.counts.sender === order.sender && track.counts.stream === order.stream) return;
      track.counts = { id: order.id, sender: order.sender, stream: order.stream, frames: 0, dropped: {} };
      return count();
    }
    case "release":
      tracks.delete(order.id);
  }
}

/** The codec as the frame itself says it; `fallback` for browsers whose frames do not. @param {Frame} frame @param {string} fallback */
function codecOf(frame, fallback) {
  const { mimeType } = /** @type {{mimeType?: string}} */ (frame.getMetadata());
  return codecNamed(mimeType ?? fallback);
}

/**
 * Frames before the key are lost: a picture that starts in the middle needs a key frame.
 *
 * @param {Track} track
 * @param {Frame} frame
 */
function askForKeyFrame(track, frame) {
  const nowS = performance.now() / 1000;
  if (!track.starved || !("type" in frame) || !track.transformer) return;
  if (frame.type === "key") {
    track.starved = false;
  } else if (nowS - track.askedS >= ASK_AGAIN_S) {
    track.askedS = nowS;
    track.transformer.sendKeyFrameRequest?.().catch(() => {});
  }
}

/** @param {Transformer} transformer */
function carry(transformer) {
  const { id, sending, codec: fallback } = /** @type {{id: number, sending: boolean, codec: string}} */ (transformer.options);
  const track = trackOf(id);
  if (!track) return;
  track.transformer = transformer;
  const through = new TransformStream({
    /** @param {Frame} frame @param {TransformStreamDefaultController<Frame>} controller */
    async transform(frame, controller) {
      try {
        if (!track.assigned) throw new UnknownFrameKey("it is not known whose frames these are");
        const { sender, stream } = track.counts;
        const codec = codecOf(frame, fallback);
        const data = new Uint8Array(frame.data);
        const changed = sending ? await sealer.seal(codec, stream, data) : await ring.open(sender, codec, stream, data, performance.now() / 1000);
        frame.data = changed.buffer;
        if (!sending) askForKeyFrame(track, frame);
        controller.enqueue(frame);
        track.counts.frames += 1;
      } catch (error) {
        const code = error instanceof E2EEError ? error.code : "failed";
        const { dropped } = track.counts;
        dropped[code] = (dropped[code] ?? 0) + 1;
        track.starved = true;
      }
      count();
    },
  });
  // It ends when its connection is closed.
  transformer.readable.pipeThrough(through).pipeTo(transformer.writable).catch(() => {});
}

scope.addEventListener("message", ({ data }) => {
  orders
    .run(() => obey(data))
    .catch((error) => tell({ did: "refused", code: error instanceof E2EEError ? error.code : "failed" }));
});
scope.addEventListener("rtctransform", ({ transformer }) => carry(transformer));
