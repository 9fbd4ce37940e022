import { Backoff } from "./backoff.js";
import { Emitter } from "./emitter.js";

/** @import { StreamState } from "./messages.js" */
/** @typedef {{height: number, bitrate: number, name: string}} Level */
/** @typedef {"idle" | "loading" | "playing" | "paused" | "stalled" | "retrying" | "failed"} PlayerState */
/** @typedef {{state: PlayerState, levels: Level[], level: {index: number, auto: boolean}, unsupported: null}} PlayerEvents */

// Below this one is "live" as far as a person can tell.
const AT_EDGE_S = 8;

/**
 * Plays a live HLS stream in a video element: with hls.js where the server has it, else with what the browser itself can.
 *
 * @extends {Emitter<PlayerEvents>}
 */
export class Player extends Emitter {
  /** @type {PlayerState} */ state = "idle";
  /** @type {Level[]} */ levels = [];
  stalls = 0;
  /** @type {any} */ #hls = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retry;
  #backoff = new Backoff({ baseMs: 1_000, capMs: 8_000 });
  #video;
  #url;
  #token;
  #module;
  #wanted = false;
  #framesBefore = 0;

  /** @param {{video: HTMLVideoElement, url: string, token?: string, module?: string}} options  `module`: where hls.js is served */
  constructor({ video, url, token = "", module = "/web/vendor/hls.mjs" }) {
    super();
    this.#video = video;
    this.#url = url;
    this.#token = token;
    this.#module = module;
    video.addEventListener("playing", () => {
      this.#backoff.reset();
      this.#set("playing");
    });
    video.addEventListener("pause", () => this.state !== "retrying" && this.#wanted && this.#set("paused"));
    video.addEventListener("waiting", () => {
      if (this.state !== "playing") return;
      this.stalls += 1;
      this.#set("stalled");
    });
    video.addEventListener("error", () => this.#wanted && !this.#hls && this.#again());
  }

  /** Loads and plays; muted if the browser does not allow sound yet. Repeated calls start over at the live edge. */
  async start() {
    this.#wanted = true;
    clearTimeout(this.#retry);
    this.#teardown();
    this.#set("loading");
    const Hls = await loadHls(this.#module);
    if (!this.#wanted) return;
    if (Hls?.isSupported()) this.#startHls(Hls);
    else if (this.#video.canPlayType("application/vnd.apple.mpegurl")) this.#video.src = withToken(this.#url, this.#token);
    else {
      this.#set("failed");
      this.emit("unsupported", null);
      return;
    }
    await this.play();
  }

  async play() {
    try {
      await this.#video.play();
    } catch (error) {
      if (!(error instanceof Error) || error.name !== "NotAllowedError" || this.#video.muted) return;
      this.#video.muted = true;
      await this.#video.play().catch(() => this.#set("paused"));
    }
  }

  pause() {
    this.#video.pause();
  }

  stop() {
    this.#wanted = false;
    clearTimeout(this.#retry);
    this.#teardown();
    this.#set("idle");
  }

  /** @param {number} index  -1 lets the player choose */
  setLevel(index) {
    if (!this.#hls) return;
    this.#hls.nextLevel = index;
    this.emit("level", { index: this.#hls.currentLevel, auto: this.#hls.autoLevelEnabled });
  }

  get autoLevel() {
    return this.#hls?.autoLevelEnabled ?? true;
  }

  get currentLevel() {
    return this.#hls?.currentLevel ?? -1;
  }

  goToEdge() {
    const edge = this.#edge();
    if (edge !== null) this.#video.currentTime = edge;
    void this.play();
  }

  /** Seconds between what is shown and the newest moment that could be. */
  get behindSeconds() {
    const edge = this.#edge();
    return edge === null ? 0 : Math.max(0, edge - this.#video.currentTime);
  }

  get atEdge() {
    return this.behindSeconds < AT_EDGE_S;
  }

  /** What the page knows, for tests and support. */
  debug() {
    const video = this.#video;
    const buffered = video.buffered;
    const latency = this.#hls?.latency;
    return {
      player_state: this.state,
      level: this.currentLevel,
      height: video.videoHeight,
      latency_seconds: typeof latency === "number" && latency > 0 ? latency : this.behindSeconds,
      buffered_seconds: buffered.length ? Math.max(0, buffered.end(buffered.length - 1) - video.currentTime) : 0,
      stalls: this.stalls,
      frames_decoded: this.#framesBefore + video.getVideoPlaybackQuality().totalVideoFrames,
      current_time: video.currentTime,
      levels: this.levels,
      engine: this.#hls ? "hls.js" : "native",
    };
  }

  #edge() {
    const sync = this.#hls?.liveSyncPosition;
    if (typeof sync === "number") return sync;
    const range = this.#video.seekable;
    return range.length ? range.end(range.length - 1) : null;
  }

  /** @param {any} Hls */
  #startHls(Hls) {
    const token = this.#token;
    const hls = new Hls({
      // The playlists have no parts, but only in this mode does the player go faster for a while after it has fallen behind.
      lowLatencyMode: true,
      maxLiveSyncPlaybackRate: 1.1,
      // Pages with Trusted Types refuse worker URLs made from strings.
      enableWorker: !("trustedTypes" in globalThis),
      enableWebVTT: false,
      enableIMSC1: false,
      backBufferLength: 30,
      capLevelToPlayerSize: true,
      xhrSetup: (/** @type {XMLHttpRequest} */ xhr) => token && xhr.setRequestHeader("Authorization", `Bearer ${token}`),
    });
    this.#hls = hls;
    hls.on(Hls.Events.MANIFEST_PARSED, (/** @type {unknown} */ _, /** @type {{levels: any[]}} */ data) => {
      this.levels = data.levels.map((level) => ({ height: level.height, bitrate: level.bitrate, name: level.name ?? "" }));
      this.emit("levels", this.levels);
    });
    hls.on(Hls.Events.LEVEL_SWITCHED, () => this.emit("level", { index: hls.currentLevel, auto: hls.autoLevelEnabled }));
    hls.on(Hls.Events.ERROR, (/** @type {unknown} */ _, /** @type {{fatal: boolean, type: string}} */ data) => {
      if (!data.fatal || this.#hls !== hls) return;
      if (data.type === Hls.ErrorTypes.MEDIA_ERROR && this.#backoff.attempt === 0) {
        this.#backoff.next();
        hls.recoverMediaError();
      } else {
        this.#again();
      }
    });
    hls.loadSource(this.#url);
    hls.attachMedia(this.#video);
  }

  #again() {
    this.#teardown();
    this.#set("retrying");
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => void this.start(), this.#backoff.next());
  }

  #teardown() {
    // The element counts anew with every source; what was seen stays seen.
    this.#framesBefore += this.#video.getVideoPlaybackQuality().totalVideoFrames;
    this.#hls?.destroy();
    this.#hls = null;
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  /** @param {PlayerState} state */
  #set(state) {
    if (state === this.state) return;
    this.state = state;
    this.emit("state", state);
  }
}

/**
 * Whether a player has to load the stream anew when its state changes.
 *
 * Only `live` that follows `live` goes on with what is loaded: before any other change to it the playlist belonged to a broadcast
 * that is over or was cut, whatever is left of that in the buffer.
 *
 * @param {StreamState} before
 * @param {StreamState} now
 * @param {PlayerState} player
 */
export function startsAnew(before, now, player) {
  return now === "live" && (before !== "live" || player === "idle");
}

/** @param {string} url @returns {Promise<any>} the Hls class, or null where the server does not have it */
async function loadHls(url) {
  try {
    return (await import(url)).default ?? null;
  } catch {
    return null;
  }
}

/** @param {string} url @param {string} token */
function withToken(url, token) {
  return token ? `${url}${url.includes("?") ? "&" : "?"}token=${encodeURIComponent(token)}` : url;
}
