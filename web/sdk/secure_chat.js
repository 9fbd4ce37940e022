/** End-to-end encrypted chat in a room, and the way on which the keys of an encrypted call travel. */
import { fromBase64 } from "./base64.js";
import { CallKeys } from "./e2ee/call_key_exchange.js";
import { fromUtf8, utf8 } from "./e2ee/encoding.js";
import { DecryptionFailed, DuplicateMessage, E2EEError, NoSession, StoreError, UnknownPreKey, UntrustedIdentity } from "./e2ee/errors.js";
import { Lock } from "./e2ee/lock.js";
import { sha256 } from "./e2ee/suite.js";
import { Emitter } from "./emitter.js";
import { canEncrypt, openAccount } from "./secure_account.js";
import { SecureHeld } from "./secure_held.js";
import { MAX_LINES, SecureLog } from "./secure_log.js";
import { SecurePeers } from "./secure_peers.js";
import { SecureWire } from "./secure_wire.js";
import { SalamError } from "./signaling.js";

/** @import { Call } from "./call.js" */
/** @import { Content } from "./e2ee/content.js" */
/** @import { Device } from "./e2ee/device.js" */
/** @import { Received } from "./e2ee/device_steps.js" */
/** @import { Transaction } from "./e2ee/store.js" */
/** @import { SecureMessage } from "./messages.js" */
/** @import { HeldMessage } from "./secure_held.js" */
/** @import { Trust } from "./secure_peers.js" */
/** @import { Signaling } from "./signaling.js" */
/** `off`: this page cannot encrypt; `failed`: it should, and its keys could not be opened or published @typedef {"starting" | "ready" | "off" | "failed"} SecureState */
/**
 * @typedef {object} SecureLine  a line as it was written, by the device that the session knows
 * @property {string} chat_id
 * @property {string} participant_id
 * @property {string} name
 * @property {string} text
 * @property {number} sent_at  Unix seconds: the receiver's time of reading, since the sender's clock may be wrong
 * @property {boolean} secure
 * @property {{id: string, name: string} | null} to  the one person it is for; null: everybody in the room
 * @property {string[]} unread  who of those present could not be sent it (own lines)
 */
/**
 * @typedef {object} SecureChatEvents
 * @property {SecureState} state
 * @property {SecureLine} line
 * @property {SecureLine} restored  a line of this visit from before the page was loaded again
 * @property {string} trust  a participant, of whom something is known now that was not
 * @property {{participantId: string, name: string}} call_key  they are in an encrypted call, and this page is not
 * @property {{participantId: string, name: string}} unreadable  something came from them that could not be read
 */

const FORMAT = 1;
const MAX_TEXT = 2_000;
// Messages that are read in one go, and acknowledged together.
const BATCH = 32;

/**
 * The encrypted side of one call: made before the call is joined.
 *
 * Nothing here is ever sent in the clear. Who has no keys, or keys in doubt, is left out and named in the line's `unread`.
 *
 * @extends {Emitter<SecureChatEvents>}
 */
export class SecureChat extends Emitter {
  /** @type {SecureState} */ state = "starting";
  /** @type {SecureLine[]} */ lines = [];
  /** Whether the user id lasts only for this visit. */
  guest = false;
  /** Whether the browser keeps the keys for the next visit. */
  lasting = true;
  /** @type {Device | null} */ device = null;
  /** @type {CallKeys | null} */ callKeys = null;
  /** @type {SecurePeers | null} */ #peers = null;
  /** @type {SecureLog | null} */ #log = null;
  /** @type {(() => void)[]} */ #off = [];
  /** @type {SecureMessage[]} */ #inbox = [];
  /** @type {SecureHeld | null} */ #held = null;
  /** One thing at a time: what is sent to a device goes out in the order in which it was encrypted. */
  #lock = new Lock();
  #participantId = "";
  #taken = 0;
  #reading = false;
  #closed = false;
  /** @type {(forget: boolean) => Promise<void>} */ #closeAccount = async () => {};
  #call;
  #wire;
  #signaling;

  /** @param {{signaling: Signaling, call: Call}} options */
  constructor({ signaling, call }) {
    super();
    this.#signaling = signaling;
    this.#call = call;
    this.#wire = new SecureWire(signaling);
    const follow = () => void this.#follow();
    this.#off = [
      signaling.on("secure_message", (message) => this.#arrived(message)),
      signaling.on("keys_low", () => void this.#locked(() => this.#replenish()).catch(() => {})),
      call.on("joined", () => void this.#joined()),
      call.on("participant_joined", follow),
      call.on("participant_updated", follow),
      call.on("participant_left", follow),
    ];
  }

  /** What is known of a participant. @param {string} participantId @returns {Trust} */
  trust(participantId) {
    const { keys_revision: revision = 0 } = this.#call.participants.get(participantId) ?? {};
    const known = this.#peers?.get(participantId) ?? NOT_KNOWN;
    if (this.state === "off" || this.state === "failed" || known.revision === revision) return known;
    return { ...known, state: revision ? "waiting" : "none" };
  }

  /** Who of those here could not read a message now. */
  get unable() {
    return [...this.#call.participants.values()].filter(({ participant_id }) => !["ready", "waiting"].includes(this.trust(participant_id).state));
  }

  /**
   * Sends a line to everybody here who has keys, or to one person alone.
   *
   * @param {string} text
   * @param {{to?: string}} [options]  a participant
   * @returns {Promise<SecureLine>} rejects with SalamError: `not_encrypted`, `no_keys`, `key_changed`, `gone`, and what requests fail with
   */
  send(text, { to = "" } = {}) {
    return this.#locked(async () => {
      if (this.state !== "ready" || !this.device) throw new SalamError("not_encrypted", "this page cannot encrypt");
      const person = to ? this.#call.participants.get(to) : null;
      if (to && !person) throw new SalamError("gone", "they have left");
      const here = person ? [person] : [...this.#call.participants.values()];
      const able = here.filter(({ participant_id }) => this.trust(participant_id).state === "ready");
      if (person && !able.length) {
        throw new SalamError(this.trust(to).state === "changed" ? "key_changed" : "no_keys", "they cannot be written to now");
      }
      const chatId = randomId();
      const said = { v: FORMAT, type: "chat", id: chatId, room: this.#call.room, to: to ? "one" : "all", text: text.slice(0, MAX_TEXT) };
      const reached = await this.#deliver(able.map(({ participant_id }) => participant_id), { kind: "application", data: utf8(JSON.stringify(said)) }, "chat");
      if (person && !reached.has(to)) throw new SalamError("gone", "it could not be delivered", true);
      const unread = here.filter(({ participant_id }) => !reached.has(participant_id)).map(({ name }) => name);
      const own = { participant_id: this.#call.participantId, name: this.#call.name, sent_at: Date.now() / 1000, secure: true };
      const line = { ...own, chat_id: chatId, text: said.text, to: person ? { id: to, name: person.name } : null, unread };
      await this.device.run(async (tx) => this.#log?.add(tx, line));
      this.#show(line);
      return line;
    });
  }

  /** How many messages of a participant wait for the changed key to be accepted or refused. @param {string} participantId */
  waiting(participantId) {
    return this.#held?.waiting(this.trust(participantId).userId) ?? 0;
  }

  /** A person accepts the changed key of a participant; what came meanwhile is read then. @param {string} participantId */
  async accept(participantId) {
    const { userId } = this.trust(participantId);
    await this.#peers?.accept(participantId);
    await this.#readHeld(userId);
  }

  /** A person refuses the changed key of a participant: what came meanwhile is thrown away. What comes after that waits again. @param {string} participantId */
  async refuse(participantId) {
    const { userId } = this.trust(participantId);
    await this.#locked(async () => {
      await this.device?.run(async (tx) => {
        for (const message of (await this.#held?.of(tx, userId)) ?? []) await this.#held?.remove(tx, message);
      });
    });
    this.emit("trust", participantId);
  }

  /** @param {string} participantId @param {boolean} [verified] */
  verify(participantId, verified = true) {
    return this.#peers?.verify(participantId, verified);
  }

  /** The digits to compare with a participant; empty without keys. @param {string} participantId */
  async safetyNumber(participantId) {
    return (await this.#peers?.number(participantId)) ?? "";
  }

  /** The devices of a participant's account, or of the own one. @param {string} [participantId] */
  async devices(participantId = "") {
    const userId = participantId ? this.trust(participantId).userId : (this.device?.userId ?? "");
    return (userId && (await this.device?.devicesOf(userId))?.certificates) || [];
  }

  /**
   * The keys of an encrypted call in this room, for `Call.enableEncryption`; they travel as encrypted messages.
   *
   * @param {string} room
   * @returns {Promise<CallKeys>}
   */
  async makeCallKeys(room) {
    // The same for everybody in the room. That keys are of this very call is in the pairwise sessions that carry them.
    const callId = (await sha256(utf8(`salam/call/${room}`))).slice(0, 16);
    this.callKeys = new CallKeys({
      callId,
      admit: (peer) => this.#admit(peer),
      send: (peer, content) => this.#locked(async () => void (await this.#deliver([peer], content, "keys"))),
    });
    return this.callKeys;
  }

  debug() {
    return {
      state: this.state,
      user_id: this.device?.userId ?? "",
      device_id: this.device?.deviceId ?? 0,
      guest: this.guest,
      lasting: this.lasting,
      lines: this.lines.length,
      held: this.#held?.count ?? 0,
      peers: this.#peers?.debug() ?? [],
    };
  }

  /** @param {{left: boolean}} options  `left`: the visit is over, so that nothing of it need be kept */
  async close({ left }) {
    if (this.#closed) return;
    this.#closed = true;
    for (const off of this.#off) off();
    this.#peers?.close();
    const device = this.device;
    if (device && left) await this.#lock.run(async () => this.#log?.forget(device)).catch(() => {});
    await this.#closeAccount(left);
  }

  /** @template T @param {() => Promise<T>} step */
  #locked(step) {
    return this.#lock.run(step);
  }

  /** @param {SecureState} state */
  #become(state) {
    this.state = state;
    this.emit("state", state);
  }

  async #joined() {
    await this.#locked(async () => {
      try {
        if (this.#participantId !== this.#call.participantId) await this.#begin();
      } catch (error) {
        console.warn("end-to-end encryption could not begin", error);
        if (!this.#closed) this.#become("failed");
      }
    });
    await this.#follow();
    void this.#readAll();
  }

  /** This page is a participant whom the server has, or has not, the keys of. */
  async #begin() {
    const participantId = this.#call.participantId;
    if (this.#closed || this.state === "off") return;
    if (!this.device) {
      if (!(await canEncrypt())) return this.#become("off");
      const { user_id: userId = "", guest = false } = this.#signaling.welcome ?? {};
      if (!userId) return this.#become("off");
      const account = await openAccount(userId, guest);
      this.guest = guest;
      this.device = account.device;
      this.lasting = account.lasting;
      this.#closeAccount = account.close;
      this.#peers = new SecurePeers({ device: account.device, wire: this.#wire, onChange: (id) => this.#trustChanged(id) });
    }
    const held = new SecureHeld(participantId);
    await held.open(this.device, this.#held);
    this.#held = held;
    this.#log = new SecureLog(participantId);
    for (const line of await this.#log.open(this.device)) this.#show(line, "restored");
    this.#participantId = participantId;
    this.#taken = 0;
    await this.#publish(this.device);
    this.#become("ready");
  }

  /** @param {Device} device */
  async #publish(device) {
    try {
      // After a reload the server has the keys already, and sends what this device has not acknowledged.
      await this.#replenish();
    } catch (error) {
      if (!(error instanceof SalamError) || error.code !== "incomplete_keys") throw error;
      const own = (await device.devicesOf(device.userId))?.certificates ?? [];
      const others = own.filter(({ deviceId }) => deviceId !== device.deviceId);
      await this.#wire.publish(await device.publish(), others);
    }
  }

  async #replenish() {
    const device = this.device;
    if (!device) return;
    const { one_time_left: oneTimeLeft = 0, kem_one_time_left: kemOnceLeft = 0 } = await this.#wire.replenish(device.deviceId, null);
    const prekeys = await device.replenish({ oneTimeLeft, kemOnceLeft });
    if (prekeys.signed || prekeys.kemLast || prekeys.oneTime.length || prekeys.kemOnce.length) await this.#wire.replenish(device.deviceId, prekeys);
  }

  async #follow() {
    if (this.state !== "ready") return;
    await this.#locked(async () => this.#peers?.follow(this.#call.participants.values())).catch((error) => {
      if (!(error instanceof SalamError)) throw error;
    });
  }

  /** @param {string} participantId */
  #trustChanged(participantId) {
    this.emit("trust", participantId);
    const { state, userId } = this.trust(participantId);
    // Accepted by an earlier page, say, that had no time left to read.
    if (state === "ready") void this.#readHeld(userId).catch(() => {});
  }

  /** Reads what waits of a user; what is still in doubt goes on waiting. @param {string} userId */
  async #readHeld(userId) {
    if (!this.#held?.waiting(userId)) return;
    await this.#locked(async () => {
      const held = (await this.device?.run(async (tx) => this.#held?.of(tx, userId))) ?? [];
      await this.#read(held);
    });
  }

  /** @param {string} peer @returns {Promise<boolean>} */
  async #admit(peer) {
    if (this.state === "starting") await new Promise((done) => this.addEventListener("state", done, { once: true }));
    return this.#peers ? this.#peers.whenReady(peer) : false;
  }

  /**
   * Encrypts and sends to the devices of participants; who was reached.
   *
   * @param {string[]} participantIds
   * @param {Content} content
   * @param {"chat" | "keys"} purpose
   * @returns {Promise<Set<string>>}
   */
  async #deliver(participantIds, content, purpose) {
    const reached = await this.#deliverOnce(participantIds, content, purpose);
    const missed = participantIds.filter((id) => !reached.has(id) && this.#call.participants.has(id));
    if (!missed.length) return reached;
    // Most likely another device has taken their place a moment ago.
    await this.#peers?.look(missed);
    for (const id of await this.#deliverOnce(missed.filter((id) => this.trust(id).state === "ready"), content, purpose)) reached.add(id);
    return reached;
  }

  /** @param {string[]} participantIds @param {Content} content @param {"chat" | "keys"} purpose */
  async #deliverOnce(participantIds, content, purpose) {
    const device = /** @type {Device} */ (this.device);
    const addressed = participantIds.map((id) => ({ id, userId: this.trust(id).userId, deviceId: this.trust(id).deviceId })).filter(({ userId }) => userId);
    await this.#startSessions(addressed);
    const outcomes = await inTurn(device, addressed, (tx, address) => device.steps.encryptTo(tx, address, content, Date.now() / 1000));
    const envelopes = outcomes.flatMap((outcome, index) =>
      outcome instanceof E2EEError ? [] : [{ participantId: addressed[index].id, deviceId: outcome.deviceId, message: outcome.message }],
    );
    const refused = envelopes.length ? await this.#wire.send(envelopes, purpose) : [];
    const lost = new Set(refused.map(({ participant_id }) => participant_id));
    return new Set(envelopes.map(({ participantId }) => participantId).filter((id) => !lost.has(id)));
  }

  /** @param {{id: string, userId: string, deviceId: number}[]} addressed */
  async #startSessions(addressed) {
    const device = /** @type {Device} */ (this.device);
    const needed = await inTurn(device, addressed, (tx, { userId }) => device.steps.needsBundles(tx, userId, Date.now() / 1000));
    const missing = addressed.flatMap(({ id, userId, deviceId }, index) => {
      const devices = needed[index];
      // Whose key is in doubt is not begun with.
      if (devices instanceof E2EEError) return [];
      return devices.some((address) => address.userId === userId && address.deviceId === deviceId) ? [id] : [];
    });
    if (!missing.length) return;
    for (const bundle of (await this.#wire.bundles(missing)).values()) {
      // Whoever cannot be begun with is not reached, and named.
      await device.start(bundle).catch((error) => {
        if (!(error instanceof E2EEError)) throw error;
      });
    }
  }

  /** @param {SecureMessage} message */
  #arrived(message) {
    this.#inbox.push(message);
    void this.#readAll();
  }

  /** Reads what has come, a batch at a time, and acknowledges each batch once it is kept. */
  async #readAll() {
    if (this.#reading || this.state !== "ready") return;
    this.#reading = true;
    try {
      while (this.#inbox.length && !this.#closed) {
        const batch = this.#inbox.splice(0, BATCH).filter(({ number }) => number > this.#taken);
        const last = batch.at(-1);
        if (!last) continue;
        await this.#locked(() => this.#read(batch));
        this.#taken = last.number;
        // Lost with the connection, it comes with the next one: the server sends the rest again.
        this.#wire.take(last.number).catch(() => {});
      }
    } finally {
      this.#reading = false;
    }
  }

  /** @param {(SecureMessage | HeldMessage)[]} messages */
  async #read(messages) {
    const device = this.device;
    if (!device) return;
    await this.#knowSenders(messages);
    /** @type {SecureLine[]} */
    const lines = [];
    /** @type {Set<SecureMessage>} */
    const waiting = new Set();
    // Line and session are kept in one step, so that a reload in between neither loses a line nor shows it twice. So is what waits.
    const outcomes = await inTurn(device, messages, async (tx, message) => {
      const from = { userId: message.user_id, deviceId: message.device_id };
      const received = await device.steps.decrypt(tx, from, fromBase64(message.message), Date.now() / 1000).catch(async (error) => {
        if (error instanceof UntrustedIdentity && (await this.#held?.add(tx, message, this.#nameOf(message)))) waiting.add(message);
        else if (error instanceof E2EEError) await this.#held?.remove(tx, message);
        throw error;
      });
      await this.#held?.remove(tx, message);
      const line = this.#lineOf(received, message);
      if (line) {
        lines.push(line);
        await this.#log?.add(tx, line);
      }
      return received;
    });
    for (const line of lines) this.#show(line);
    for (const [index, outcome] of outcomes.entries()) {
      const message = messages[index];
      if (waiting.has(message)) this.emit("trust", message.participant_id);
      else if (outcome instanceof E2EEError) await this.#unreadable(message, outcome);
      else this.#callKey(message, outcome);
    }
  }

  /** What the sender is called, or was when they left. @param {SecureMessage | HeldMessage} message */
  #nameOf(message) {
    return this.#call.participants.get(message.participant_id)?.name ?? ("name" in message ? message.name : message.user_id);
  }

  /** Learns the devices of senders whose keys were not looked at yet. @param {SecureMessage[]} messages */
  async #knowSenders(messages) {
    const unknown = new Set(messages.map(({ participant_id }) => participant_id).filter((id) => this.#call.participants.has(id) && this.trust(id).state !== "ready"));
    if (unknown.size) await this.#peers?.follow(this.#call.participants.values()).catch(() => {});
  }

  /** @param {Received} received @param {SecureMessage} message @returns {SecureLine | null} */
  #lineOf({ content }, message) {
    if (content.kind !== "application" || (message.purpose ?? "chat") !== "chat") return null;
    const said = parseLine(content.data);
    if (!said || said.room !== this.#call.room) return null;
    const name = this.#nameOf(message);
    const to = said.to === "one" ? { id: this.#call.participantId, name: this.#call.name } : null;
    const who = { participant_id: message.participant_id, name, sent_at: Date.now() / 1000, secure: true };
    return { ...who, chat_id: said.id, text: said.text.slice(0, MAX_TEXT), to, unread: [] };
  }

  /** @param {SecureMessage} message @param {Received} received */
  #callKey(message, { content }) {
    if (content.kind !== "callKey" && content.kind !== "callKeyAck") return;
    const { participant_id: participantId } = message;
    const name = this.#call.participants.get(participantId)?.name;
    // Not waited for: its answer goes through the same lock.
    if (this.callKeys) void this.callKeys.receive(participantId, content).catch(() => {});
    else if (name !== undefined) this.emit("call_key", { participantId, name });
  }

  /** @param {SecureMessage} message @param {E2EEError} error */
  async #unreadable(message, error) {
    const { participant_id: participantId } = message;
    if (error instanceof DuplicateMessage) return;
    const name = this.#nameOf(message);
    this.emit("unreadable", { participantId, name });
    if (error instanceof DecryptionFailed || error instanceof NoSession || error instanceof UnknownPreKey) await this.#beginAnew(participantId);
  }

  /** Tells a device whose messages do not open to use another session. @param {string} participantId */
  async #beginAnew(participantId) {
    if (this.trust(participantId).state !== "ready") return;
    try {
      const bundle = (await this.#wire.bundles([participantId])).get(participantId);
      if (!bundle) return;
      const { deviceId, message } = await /** @type {Device} */ (this.device).reset(bundle);
      await this.#wire.send([{ participantId, deviceId, message }], "keys");
    } catch (error) {
      // Once an hour is enough; more would let two broken devices answer each other for ever.
      if (!(error instanceof E2EEError) && !(error instanceof SalamError)) throw error;
    }
  }

  /** @param {SecureLine} line @param {"line" | "restored"} [event] */
  #show(line, event = "line") {
    if (this.lines.some(({ chat_id, participant_id }) => chat_id === line.chat_id && participant_id === line.participant_id)) return;
    this.lines.push(line);
    if (this.lines.length > MAX_LINES) this.lines.shift();
    this.emit(event, line);
  }
}

/** @type {Trust} */
const NOT_KNOWN = Object.freeze({ state: "none", userId: "", deviceId: 0, revision: 0, verified: false, offered: null });

/**
 * What `step` gives for each item, or the E2EEError that it rejects with, all in one transaction of the device.
 *
 * @template I, T
 * @param {Device} device
 * @param {I[]} items
 * @param {(tx: Transaction, item: I) => Promise<T>} step
 * @returns {Promise<(T | E2EEError)[]>}
 */
function inTurn(device, items, step) {
  return device.run(async (tx) => {
    const outcomes = [];
    for (const item of items) {
      try {
        outcomes.push(await step(tx, item));
      } catch (error) {
        if (!(error instanceof E2EEError) || error instanceof StoreError) throw error;
        outcomes.push(error);
      }
    }
    return outcomes;
  });
}

/** @param {Uint8Array} data @returns {{id: string, room: string, to: "one" | "all", text: string} | null} null for what is no line of chat */
function parseLine(data) {
  try {
    const said = JSON.parse(fromUtf8(data, "a line"));
    const wellFormed = said.v === FORMAT && said.type === "chat" && [said.id, said.room, said.text].every((field) => typeof field === "string");
    return wellFormed && said.text && (said.to === "one" || said.to === "all") ? said : null;
  } catch {
    return null;
  }
}

function randomId() {
  return crypto.randomUUID();
}
