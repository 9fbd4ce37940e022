/** How end-to-end encryption shows in the call: in words, wherever something is said or somebody is named. */
import { byId, h, keepingFocus } from "./dom.js";
import { setText } from "./i18n.js";
import { icon } from "./icons.js";
import { openDevices, openExplanation, openSafetyNumber } from "./secure_sheets.js";

/** @import { Call } from "../sdk/call.js" */
/** @import { SecureChat } from "../sdk/secure_chat.js" */
/** @import { Banner } from "./banner.js" */
/** @import { ChatPanel } from "./chat_panel.js" */
/** @import { Params } from "./i18n.js" */
/** @import { MenuItem } from "./menu.js" */
/** @import { TrustWords } from "./people_panel.js" */
/** @import { Key } from "./strings.js" */

// Keys of somebody who has just come are on their way for a moment; only then is a missing one worth a word.
const KEYS_WAIT_MS = 8_000;
const REFUSALS = ["no_keys", "key_changed", "gone", "not_encrypted"];

/** Beside `CallView`: the lock of the call, the notice above the chat, whom a line is for, the sheets. */
export class SecureView {
  /** @type {(() => void)[]} */ #off = [];
  /** Since when somebody has been here, and whether their key for the call has come. @type {Map<string, {sinceMs: number, keyed: boolean}>} */ #keyed = new Map();
  /** @type {ReturnType<typeof setInterval> | undefined} */ #timer;
  /** For whose changed key, as long as it is in doubt: the focus stays on it while the warnings are made anew. @type {Map<string, HTMLButtonElement>} */ #look = new Map();
  #to = "";
  #abort = new AbortController();
  #call;
  #panel;
  #openChat;
  #banner;
  #toast;
  #lock = /** @type {HTMLButtonElement} */ (byId("call-lock"));

  /**
   * @param {{chat: SecureChat, call: Call, panel: ChatPanel, openChat: () => void, banner: Banner, toast: (key: Key, params?: Params) => void}} options
   */
  constructor({ chat, call, panel, openChat, banner, toast }) {
    this.chat = chat;
    this.#call = call;
    this.#panel = panel;
    this.#openChat = openChat;
    this.#banner = banner;
    this.#toast = toast;
    const keys = chat.callKeys;
    this.#off = [
      chat.on("state", () => this.show()),
      chat.on("trust", (id) => this.#trustChanged(id)),
      chat.on("unreadable", ({ name }) => toast("secure.unreadable", { name })),
      chat.on("call_key", ({ name }) => this.#callIsEncrypted(name)),
      ...(keys ? [keys.on("add", ({ sender }) => this.#hasKey(sender)), keys.on("remove", ({ sender }) => void this.#keyed.delete(sender))] : []),
    ];
    const { signal } = this.#abort;
    this.#lock.addEventListener("click", () => this.explain(), { signal });
    panel.addEventListener("everybody", () => this.#writeTo(""), { signal });
    if (keys) this.#timer = setInterval(() => this.#showLock(), KEYS_WAIT_MS / 4);
    this.show();
  }

  close() {
    this.#abort.abort();
    clearInterval(this.#timer);
    for (const off of this.#off) off();
  }

  /** Says a line to whom it is for. Without encryption, which the notice says, it goes in the clear. @param {string} text */
  send(text) {
    if (this.chat.state === "off") return this.#call.sendChat(text);
    return this.chat.send(text, { to: this.#to });
  }

  /** Why a line was not sent, in words; null for what is no matter of encryption. @param {unknown} error @returns {{t: Key} | null} */
  reasonOf(error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    return REFUSALS.includes(code) ? { t: /** @type {Key} */ (`secure.not_sent.${code}`) } : null;
  }

  /** Brings everything in line with what is known. */
  show() {
    if (this.#to && !this.#call.participants.has(this.#to)) this.#writeTo("");
    this.#showLock();
    this.#showNotice();
  }

  /** What is to be said of a person in the list of people. @param {string} participantId @returns {TrustWords | null} */
  wordsFor(participantId) {
    if (this.chat.state !== "ready") return null;
    // Of oneself there is nothing to doubt, only devices to look at.
    if (participantId === this.#call.participantId) return { t: null, tone: "" };
    const { state, verified } = this.chat.trust(participantId);
    if (state === "ready" && verified) return { t: "secure.trust.verified", tone: "accent" };
    return { t: /** @type {Key} */ (`secure.trust.${state}`), tone: state === "ready" || state === "waiting" ? "" : "warning" };
  }

  /** What can be done about a person. @param {string} participantId @returns {MenuItem[]} */
  menuFor(participantId) {
    if (this.chat.state !== "ready") return [];
    if (participantId === this.#call.participantId) return [{ icon: "devices", t: "secure.menu.own", run: () => void openDevices(this.chat, null) }];
    const name = this.#call.participants.get(participantId)?.name ?? "";
    const { state } = this.chat.trust(participantId);
    /** @type {MenuItem[]} */
    const items = [];
    if (state === "ready") items.push({ icon: "chat", t: "secure.menu.write", params: { name }, run: () => this.#writeTo(participantId) });
    if (state === "ready" || state === "changed") {
      items.push({ icon: "shield", t: "secure.menu.number", run: () => void openSafetyNumber(this.chat, { participantId, name }) });
      items.push({ icon: "devices", t: "secure.menu.devices", run: () => void openDevices(this.chat, { participantId, name }) });
    }
    return items;
  }

  /** Opens the sheet that says what is encrypted. */
  explain() {
    openExplanation({ call: this.#call.encryption !== null, chat: this.chat.state === "ready", without: this.#withoutKey() });
  }

  /** @param {string} participantId  empty: to everybody */
  #writeTo(participantId) {
    this.#to = participantId;
    this.#panel.recipient = this.#call.participants.get(participantId)?.name ?? null;
    if (participantId) this.#openChat();
    this.#panel.focusField();
  }

  /** @param {string} participantId */
  #trustChanged(participantId) {
    if (this.chat.trust(participantId).state === "changed") {
      const name = this.#call.participants.get(participantId)?.name ?? "";
      this.#toast("secure.changed", { name });
    }
    this.show();
  }

  /** @param {string} participantId */
  #hasKey(participantId) {
    this.#keyed.set(participantId, { sinceMs: 0, keyed: true });
    this.#showLock();
  }

  /** Somebody's keys for an encrypted call come to one who is not in it. @param {string} name */
  #callIsEncrypted(name) {
    const url = new URL(location.href);
    url.searchParams.set("e2ee", "1");
    this.#banner.show({ t: ["secure.call.wanted", { name }], action: { t: "secure.call.wanted.join", run: () => void this.#call.leave().then(() => location.assign(url)) } });
  }

  /** The names of those who send no frames that this device can open. */
  #withoutKey() {
    if (!this.chat.callKeys) return [];
    const now = performance.now();
    const missing = [];
    for (const { participant_id: id, name } of this.#call.participants.values()) {
      const known = this.#keyed.get(id) ?? { sinceMs: now, keyed: false };
      this.#keyed.set(id, known);
      if (!known.keyed && now - known.sinceMs > KEYS_WAIT_MS) missing.push(name);
    }
    return missing;
  }

  #showLock() {
    const encrypted = this.#call.encryption !== null;
    const partly = encrypted && this.#withoutKey().length > 0;
    const words = partly ? "secure.call.partly" : encrypted ? "secure.call.on" : "secure.call.off";
    if (this.#lock.dataset.words === words) return;
    this.#lock.dataset.words = words;
    this.#lock.dataset.state = partly ? "partly" : encrypted ? "on" : "off";
    this.#lock.replaceChildren(icon(encrypted ? "lock" : "lock_open"), setText(h("span"), words));
  }

  #showNotice() {
    const { state } = this.chat;
    this.#panel.marksClear = state !== "off";
    this.#panel.writable = state === "ready" || state === "off";
    const head = h(
      "div",
      { class: "chat-lock", "data-state": state },
      icon(state === "off" || state === "failed" ? "lock_open" : "lock"),
      h("div", {}, h("strong", { t: /** @type {Key} */ (`secure.chat.${state}`) }), h("span", { t: /** @type {Key} */ (`secure.chat.${state}.hint`) })),
    );
    keepingFocus(() => this.#panel.setNotice(head, ...(state === "ready" ? this.#warnings() : [])));
  }

  /** @param {string} participantId @param {string} name */
  async #decide(participantId, name) {
    const sheet = await openSafetyNumber(this.chat, { participantId, name });
    // With the key accepted there is no warning any more whose button could have the focus again.
    sheet.addEventListener("close", () => document.activeElement === document.body && this.#panel.focusField());
  }

  #warnings() {
    const found = [];
    const unable = this.chat.unable;
    const changed = unable.filter(({ participant_id }) => this.chat.trust(participant_id).state === "changed");
    for (const id of this.#look.keys()) if (!changed.some(({ participant_id }) => participant_id === id)) this.#look.delete(id);
    for (const { participant_id: participantId, name } of changed) {
      const look = this.#look.get(participantId) ?? h("button", { class: "button", type: "button", t: "secure.changed.look", on: { click: () => void this.#decide(participantId, name) } });
      this.#look.set(participantId, look);
      const words = h("div", {}, h("strong", { t: ["secure.changed", { name }] }), h("span", { t: ["secure.changed.hint", { name }] }));
      found.push(h("div", { class: "chat-warning", role: "alert" }, icon("warning"), words, look));
    }
    const others = unable.filter((person) => !changed.includes(person)).map(({ name }) => name);
    if (others.length) {
      const words = h("div", {}, h("strong", { t: ["secure.unable", { n: others.length, names: others.join(", ") }] }), h("span", { t: "secure.unable.hint" }));
      found.push(h("div", { class: "chat-warning" }, icon("eye"), words));
    }
    return found;
  }
}
