import { h } from "./dom.js";
import { setLabel, setText, t } from "./i18n.js";
import { icon } from "./icons.js";

/** @import { Key } from "./strings.js" */
/** @import { IconName } from "./icons.js" */
/** @typedef {"microphone" | "camera" | "screen" | "hand" | "people" | "chat" | "more" | "leave"} Control */
/** @typedef {{icon: IconName, t: Key}} Face */

// The two faces of each button: while its thing is off, and while it is on. The words say what a press does.
/** @type {Record<Control, {off: Face, on: Face, key?: string}>} */
const FACES = {
  microphone: { off: { icon: "mic_off", t: "call.mic.off" }, on: { icon: "mic", t: "call.mic.on" }, key: "M" },
  camera: { off: { icon: "camera_off", t: "call.camera.off" }, on: { icon: "camera", t: "call.camera.on" }, key: "V" },
  screen: { off: { icon: "screen", t: "call.screen.on" }, on: { icon: "screen_off", t: "call.screen.off" }, key: "S" },
  hand: { off: { icon: "hand", t: "call.hand.up" }, on: { icon: "hand", t: "call.hand.down" }, key: "H" },
  people: { off: { icon: "people", t: "call.people" }, on: { icon: "people", t: "call.people" } },
  chat: { off: { icon: "chat", t: "call.chat" }, on: { icon: "chat", t: "call.chat" }, key: "C" },
  more: { off: { icon: "more", t: "call.more" }, on: { icon: "more", t: "call.more" } },
  leave: { off: { icon: "leave", t: "call.leave" }, on: { icon: "leave", t: "call.leave" } },
};

/** `<salam-controls>`: one row of labelled buttons. Fires `control` with the name of the one pressed. */
export class Controls extends HTMLElement {
  /** @type {Map<Control, {button: HTMLButtonElement, face: HTMLSpanElement, words: HTMLSpanElement}>} */ #buttons = new Map();
  #unread = h("span", { class: "unread", hidden: true });

  connectedCallback() {
    if (this.childElementCount > 0) return;
    this.setAttribute("role", "toolbar");
    setLabel(this, "call.controls");
    for (const name of /** @type {Control[]} */ (Object.keys(FACES))) this.append(this.#make(name));
    this.#buttons.get("chat")?.button.append(this.#unread);
    this.#buttons.get("more")?.button.setAttribute("aria-haspopup", "menu");
  }

  /** @param {Control} name */
  button(name) {
    return /** @type {{button: HTMLButtonElement}} */ (this.#buttons.get(name)).button;
  }

  /** @param {Control} name @param {boolean} on */
  set(name, on) {
    const parts = this.#buttons.get(name);
    if (!parts) return;
    const face = FACES[name][on ? "on" : "off"];
    parts.button.dataset.on = String(on);
    if (name !== "more" && name !== "leave") parts.button.setAttribute("aria-pressed", String(on));
    parts.face.replaceChildren(icon(face.icon));
    setText(parts.words, face.t);
  }

  /** @param {Control} name @param {boolean} on */
  allow(name, on) {
    this.button(name).disabled = !on;
  }

  /** @param {number} count */
  set unread(count) {
    this.#unread.hidden = count === 0;
    setText(this.#unread, "chat.unread", { n: count });
    this.#unread.dataset.count = t("chat.unread", { n: count });
  }

  /** @param {Control} name */
  #make(name) {
    const face = h("span", { class: "control-face" });
    const words = h("span", { class: "control-words" });
    const button = h("button", { class: `control control-${name}`, type: "button", "aria-keyshortcuts": FACES[name].key }, face, words);
    button.addEventListener("click", () => this.dispatchEvent(new CustomEvent("control", { detail: name })));
    this.#buttons.set(name, { button, face, words });
    this.set(name, false);
    return button;
  }
}

customElements.define("salam-controls", Controls);
