// Asking again for every pixel of a dragged window would keep the server switching; a tenth is not visible.
const CHANGE_WORTH_ASKING = 0.1;
// Long enough for a layout to settle, short enough to feel immediate.
const SETTLE_MS = 200;

/** The simulcast encodings, lowest first: a server that refuses simulcast keeps the first only, and the lowest is what always fits. */
export const SIMULCAST = Object.freeze([
  Object.freeze({ rid: "q", scaleResolutionDownBy: 4, maxBitrate: 150_000 }),
  Object.freeze({ rid: "h", scaleResolutionDownBy: 2, maxBitrate: 500_000 }),
  Object.freeze({ rid: "f", scaleResolutionDownBy: 1, maxBitrate: 2_500_000 }),
]);

/**
 * How many device pixels high a video is shown inside a box, when it is scaled to fit (`contain`) or to fill (`cover`).
 *
 * @param {{width: number, height: number, pixelRatio: number, aspect?: number, fit?: "contain" | "cover"}} box  CSS pixels; 0 when hidden
 * @returns {number}
 */
export function shownHeight({ width, height, pixelRatio, aspect = 16 / 9, fit = "contain" }) {
  if (width <= 0 || height <= 0) return 0;
  const byWidth = width / aspect;
  const shown = fit === "cover" ? Math.max(height, byWidth) : Math.min(height, byWidth);
  return Math.max(1, Math.round(shown * pixelRatio));
}

/**
 * Whether the server should be told about a new height.
 *
 * @param {number | undefined} asked  what it was told last
 * @param {number} height
 */
export function worthAsking(asked, height) {
  if (asked === undefined) return true;
  if (asked === 0 || height === 0) return asked !== height;
  return Math.abs(height - asked) / asked > CHANGE_WORTH_ASKING;
}

/** Collects the wanted heights of many videos and passes on the ones that changed, once the layout has settled. */
export class LayerRequests {
  /** @type {Map<string, number>} */ #wanted = new Map();
  /** @type {Map<string, number>} */ #asked = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #send;
  #hidden = false;

  /** @param {(trackId: string, height: number) => void} send */
  constructor(send) {
    this.#send = send;
  }

  /** @param {string} trackId @param {number} height  device pixels, 0 when hidden */
  want(trackId, height) {
    this.#wanted.set(trackId, height);
    this.#schedule();
  }

  /** @param {string} trackId */
  forget(trackId) {
    this.#wanted.delete(trackId);
    this.#asked.delete(trackId);
  }

  /** The whole page is hidden or shown: nobody sees a hidden page's videos. @param {boolean} hidden */
  setHidden(hidden) {
    this.#hidden = hidden;
    this.#schedule();
  }

  /** The server has forgotten what it was told: say everything again. */
  repeat() {
    this.#asked.clear();
    this.#schedule();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#wanted.clear();
  }

  #schedule() {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      for (const [trackId, wanted] of this.#wanted) {
        const height = this.#hidden ? 0 : wanted;
        if (!worthAsking(this.#asked.get(trackId), height)) continue;
        this.#asked.set(trackId, height);
        this.#send(trackId, height);
      }
    }, SETTLE_MS);
  }
}
