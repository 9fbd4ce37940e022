import { Backoff } from "./backoff.js";
import { Emitter } from "./emitter.js";

/** @import { ServerEvents, Welcome, ErrorReply } from "./messages.js" */
/** @typedef {"idle" | "connecting" | "open" | "reconnecting" | "closed"} SignalingState */
/** @typedef {{state: SignalingState, attempt: number, retryInMs: number, cause: "" | "lost" | "offline" | "drain"}} SignalingStatus */
/** @typedef {ServerEvents & {status: SignalingStatus, welcome: Welcome, refused: SalamError}} SignalingEvents */

const SUBPROTOCOL = "salam.v1.json";
// A negotiation takes a few round trips of media set-up on a busy server; a reply later than this is as good as none.
const REQUEST_TIMEOUT_MS = 15_000;
// How long a connection that looks suspect has to answer a ping before it is given up.
const PROBE_TIMEOUT_MS = 4_000;
const CONNECT_TIMEOUT_MS = 8_000;
// The server drops a session that keeps its connection but falls behind; more than this unanswered means that nobody listens.
const MAX_PENDING = 256;

/** What a request can fail with: the server's code, or `connection_lost`, `timeout`, `closed`. */
export class SalamError extends Error {
  /** @param {string} code @param {string} message @param {boolean} [retryable] */
  constructor(code, message, retryable = false) {
    super(message);
    this.name = "SalamError";
    this.code = code;
    this.retryable = retryable;
  }
}

/**
 * One WebSocket session with a server: requests with replies, events by name, reconnecting by itself.
 *
 * A lost connection is opened again with growing waits, and the session taken over with the server's resume secret; `welcome` tells
 * by `resumed` whether that worked. Requests that were on their way fail with `connection_lost`, except those sent with `hold`,
 * which wait and are sent again (only for requests that the server recognises when they come twice).
 *
 * @extends {Emitter<SignalingEvents>}
 */
export class Signaling extends Emitter {
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {Map<number, {message: Record<string, unknown>, hold: boolean, sent: boolean, timer: ReturnType<typeof setTimeout> | undefined, resolve: (reply: any) => void, reject: (error: SalamError) => void}>} */
  #pending = new Map();
  #nextId = 1;
  #resume;
  #lastHeard = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retryTimer;
  /** @type {ReturnType<typeof setInterval> | undefined} */ #heartbeat;
  #backoff;
  #url;
  #token;
  #client;
  #unlisten = () => {};

  /** @param {{url: string, token?: string, client?: string, resume?: string, backoff?: Backoff}} options  `resume`: an earlier session to take over */
  constructor({ url, token = "", client = "salam-web", resume = "", backoff = new Backoff() }) {
    super();
    this.#resume = resume;
    this.#url = url;
    this.#token = token;
    this.#client = client;
    this.#backoff = backoff;
    /** @type {SignalingStatus} */
    this.status = { state: "idle", attempt: 0, retryInMs: 0, cause: "" };
    /** @type {Welcome | null} */
    this.welcome = null;
    this.rttMs = 0;
  }

  /** Opens the connection and keeps it; resolves with the first `Welcome`, rejects when the server refuses for good. */
  connect() {
    const online = () => this.#retryNow();
    const offline = () => this.#lost("offline");
    globalThis.addEventListener?.("online", online);
    globalThis.addEventListener?.("offline", offline);
    this.#unlisten = () => {
      globalThis.removeEventListener?.("online", online);
      globalThis.removeEventListener?.("offline", offline);
    };
    return new Promise((/** @type {(welcome: Welcome) => void} */ resolve, reject) => {
      this.addEventListener("welcome", () => resolve(/** @type {Welcome} */ (this.welcome)), { once: true });
      this.on("refused", reject);
      this.#open("connecting");
    });
  }

  /**
   * Sends a request and waits for its reply.
   *
   * @param {string} type
   * @param {Record<string, unknown>} [fields]
   * @param {{hold?: boolean, timeoutMs?: number}} [options]  `hold`: survive a reconnection
   * @returns {Promise<any>} the reply; rejects with SalamError
   */
  request(type, fields = {}, { hold = false, timeoutMs = REQUEST_TIMEOUT_MS } = {}) {
    if (this.status.state === "closed") return Promise.reject(new SalamError("closed", "the connection is closed"));
    if (!hold && this.status.state !== "open") return Promise.reject(new SalamError("connection_lost", "not connected", true));
    if (this.#pending.size >= MAX_PENDING) return Promise.reject(new SalamError("busy", "too many unanswered requests", true));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const entry = { message: { t: type, id, ...fields }, hold, sent: false, timer: undefined, resolve, reject };
      this.#pending.set(id, entry);
      if (this.status.state === "open") this.#transmit(id, timeoutMs);
    });
  }

  /** Checks that the connection still carries anything; when it does not, reconnects. */
  async probe() {
    if (this.status.state !== "open") return;
    const socket = this.#socket;
    const started = performance.now();
    try {
      await this.request("ping", {}, { timeoutMs: PROBE_TIMEOUT_MS });
      this.rttMs = performance.now() - started;
    } catch (error) {
      if (error instanceof SalamError && error.code === "timeout" && socket === this.#socket) this.#lost("lost");
    }
  }

  /** The secret with which another page of this tab may take the session over; empty before the first welcome. */
  get resumeSecret() {
    return this.#resume;
  }

  /** Tries again at once instead of at the end of the wait. */
  retryNow() {
    this.#retryNow();
  }

  /** Ends the session; everything unanswered fails with `closed`. */
  close() {
    this.#unlisten();
    // By code 1000 the server knows that nobody comes back to this session.
    this.#dropSocket(1000);
    this.#set("closed");
    for (const id of [...this.#pending.keys()]) this.#fail(id, new SalamError("closed", "the connection is closed"));
  }

  /** @param {"connecting" | "reconnecting"} state */
  #open(state) {
    this.#dropSocket();
    this.#set(state, { attempt: this.#backoff.attempt });
    const socket = new WebSocket(this.#url, SUBPROTOCOL);
    this.#socket = socket;
    const timer = setTimeout(() => this.#lost("lost"), CONNECT_TIMEOUT_MS);
    socket.onopen = () => this.#sayHello(timer);
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = () => {
      clearTimeout(timer);
      if (socket === this.#socket) this.#lost("lost");
    };
  }

  /** @param {ReturnType<typeof setTimeout>} timer */
  #sayHello(timer) {
    const id = this.#nextId++;
    this.#pending.set(id, {
      message: { t: "hello", id, token: this.#token, client: this.#client, resume: this.#resume },
      hold: false,
      sent: false,
      timer: undefined,
      resolve: (/** @type {Welcome} */ welcome) => {
        clearTimeout(timer);
        this.#welcomed(welcome);
      },
      reject: (error) => {
        clearTimeout(timer);
        if (error.code === "connection_lost" || error.code === "timeout") return;
        if (error.retryable) this.#lost("lost");
        else this.#refuse(error);
      },
    });
    this.#transmit(id, CONNECT_TIMEOUT_MS);
  }

  /** @param {Welcome} welcome */
  #welcomed(welcome) {
    this.welcome = welcome;
    this.#resume = welcome.resume;
    this.#backoff.reset();
    this.#set("open");
    clearInterval(this.#heartbeat);
    // A third of the server's interval: one lost ping never looks like a lost client.
    this.#heartbeat = setInterval(() => void this.probe(), ((welcome.heartbeat_s ?? 30) * 1000) / 3);
    this.emit("welcome", welcome);
    for (const [id, entry] of this.#pending) if (!entry.sent) this.#transmit(id, REQUEST_TIMEOUT_MS);
    void this.probe();
  }

  /** @param {SalamError} error */
  #refuse(error) {
    this.close();
    this.emit("refused", error);
  }

  /** @param {number} id @param {number} timeoutMs */
  #transmit(id, timeoutMs) {
    const entry = this.#pending.get(id);
    if (!entry || this.#socket?.readyState !== WebSocket.OPEN) return;
    entry.sent = true;
    entry.timer = setTimeout(() => this.#fail(id, new SalamError("timeout", `no reply to ${entry.message.t}`, true)), timeoutMs);
    this.#socket.send(JSON.stringify(entry.message));
  }

  /** @param {unknown} data */
  #receive(data) {
    this.#lastHeard = performance.now();
    /** @type {any} */
    let message;
    try {
      message = JSON.parse(String(data));
    } catch {
      return;
    }
    if (message === null || typeof message !== "object" || typeof message.t !== "string") return;
    if (typeof message.re === "number") this.#answer(message);
    else if (message.t === "drain") this.#drain(message.retry_after_s);
    else this.emit(message.t, message);
  }

  /** @param {any} reply */
  #answer(reply) {
    const entry = this.#pending.get(reply.re);
    if (!entry) return;
    this.#pending.delete(reply.re);
    clearTimeout(entry.timer);
    if (reply.t !== "error") return entry.resolve(reply);
    const { code, message, retryable } = /** @type {ErrorReply} */ (reply);
    entry.reject(new SalamError(code, message, retryable));
  }

  /** @param {number} id @param {SalamError} error */
  #fail(id, error) {
    const entry = this.#pending.get(id);
    if (!entry) return;
    this.#pending.delete(id);
    clearTimeout(entry.timer);
    entry.reject(error);
  }

  /** @param {number} retryAfterS */
  #drain(retryAfterS) {
    // Everybody was told the same time: a random tenth on top spreads the return.
    this.#lost("drain", retryAfterS * 1000 * (1 + 0.1 * Math.random()));
  }

  /** @param {"lost" | "offline" | "drain"} cause @param {number} [retryInMs] */
  #lost(cause, retryInMs) {
    if (this.status.state === "closed" || this.status.state === "idle") return;
    this.#dropSocket();
    for (const [id, entry] of [...this.#pending]) {
      if (entry.hold) {
        entry.sent = false;
        clearTimeout(entry.timer);
      } else {
        this.#fail(id, new SalamError("connection_lost", "the connection was lost", true));
      }
    }
    const wait = retryInMs ?? this.#backoff.next();
    this.#set("reconnecting", { attempt: this.#backoff.attempt, retryInMs: wait, cause });
    this.#retryTimer = setTimeout(() => this.#open("reconnecting"), wait);
  }

  #retryNow() {
    if (this.status.state === "reconnecting") this.#open("reconnecting");
    else void this.probe();
  }

  /** @param {number} [code] */
  #dropSocket(code) {
    clearTimeout(this.#retryTimer);
    clearInterval(this.#heartbeat);
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(code);
  }

  /** @param {SignalingState} state @param {Partial<SignalingStatus>} [more] */
  #set(state, more = {}) {
    this.status = { state, attempt: 0, retryInMs: 0, cause: state === "reconnecting" ? this.status.cause || "lost" : "", ...more };
    this.emit("status", this.status);
  }

  /** Seconds since the server was last heard. */
  get silentForSeconds() {
    return (performance.now() - this.#lastHeard) / 1000;
  }
}

/**
 * The WebSocket address of the server that served this page.
 *
 * @param {{protocol: string, host: string}} [from]
 */
export function socketUrl(from = globalThis.location) {
  return `${from.protocol === "https:" ? "wss" : "ws"}://${from.host}/ws`;
}
