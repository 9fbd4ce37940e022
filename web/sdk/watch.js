import { Emitter } from "./emitter.js";

/** @import { Signaling } from "./signaling.js" */
/** @import { ChatLine, StreamState, Watching } from "./messages.js" */
/** @typedef {{changed: {state: StreamState, viewers: number}, chat: ChatLine, reaction: string, failed: Error}} WatchEvents */

// What a chat beside a video can sensibly hold.
const MAX_CHAT_LINES = 500;

/**
 * One viewer of one livestream, beside the picture: its state, how many watch, chat and reactions.
 *
 * @extends {Emitter<WatchEvents>}
 */
export class Watch extends Emitter {
  /** @type {StreamState} */ state = "offline";
  viewers = 0;
  /** @type {ChatLine[]} */ chat = [];
  /** @type {(() => void)[]} */ #off = [];
  #signaling;
  #stream;
  #name;
  #started = false;

  /** @param {{signaling: Signaling, stream: string, name?: string}} options */
  constructor({ signaling, stream, name = "" }) {
    super();
    this.#signaling = signaling;
    this.#stream = stream;
    this.#name = name;
    this.#off = [
      signaling.on("stream_changed", (event) => event.stream === stream && this.#changed(event.state, event.viewers ?? 0)),
      signaling.on("chat_line", (event) => event.stream === stream && this.#line(event.line)),
      signaling.on("reaction", (event) => event.stream === stream && this.emit("reaction", event.emoji)),
      signaling.on("welcome", () => void (this.#started && this.start().catch((error) => this.emit("failed", error)))),
    ];
  }

  /** Begins to follow the stream; also after a reconnection. @returns {Promise<Watching>} */
  async start() {
    this.#started = true;
    /** @type {Watching} */
    const watching = await this.#signaling.request("watch", { stream: this.#stream, name: this.#name });
    for (const line of watching.chat ?? []) this.#line(line);
    this.#changed(watching.state, watching.viewers ?? 0);
    return watching;
  }

  /** Chat lines carry this name from now on. @param {string} name */
  async rename(name) {
    this.#name = name;
    await this.start();
  }

  /** @param {string} text */
  sendChat(text) {
    return this.#signaling.request("chat", { chat_id: crypto.randomUUID?.() ?? String(Math.random()).slice(2), text, stream: this.#stream }, { hold: true });
  }

  /** @param {string} emoji */
  react(emoji) {
    return this.#signaling.request("react", { stream: this.#stream, emoji });
  }

  async stop() {
    for (const off of this.#off) off();
    await this.#signaling.request("unwatch", { stream: this.#stream }).catch(() => {});
  }

  /** @param {StreamState} state @param {number} viewers */
  #changed(state, viewers) {
    this.state = state;
    this.viewers = viewers;
    this.emit("changed", { state, viewers });
  }

  /** @param {ChatLine} line */
  #line(line) {
    if (this.chat.some((known) => known.chat_id === line.chat_id)) return;
    this.chat.push(line);
    if (this.chat.length > MAX_CHAT_LINES) this.chat.shift();
    this.emit("chat", line);
  }
}
