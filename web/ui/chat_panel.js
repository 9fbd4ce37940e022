import { h } from "./dom.js";
import { clockTime, onLanguage } from "./i18n.js";
import { icon } from "./icons.js";

/** @import { ChatLine } from "../sdk/messages.js" */
/** @import { SecureLine } from "../sdk/secure_chat.js" */
/** @typedef {ChatLine & Partial<SecureLine>} ShownLine */

// The server refuses longer lines.
const MAX_TEXT = 2_000;
// Lines of one person within this time stand under one name.
const SAME_BREATH_S = 120;

/** `<salam-chat>`: the lines of a room or stream and a field to write one. Fires `send` with the text, `everybody` to write to all again. */
export class ChatPanel extends HTMLElement {
  ownId = "";
  /** Whether a line that came in the clear is marked so: where the others are encrypted. */
  marksClear = false;
  #notice = h("div", { class: "chat-notice", hidden: true });
  #to = h("div", { class: "chat-to", role: "status", hidden: true });
  #lines = h("ol", { class: "chat-lines", role: "log", "aria-live": "polite", tabindex: "0", label: "chat.title" });
  #empty = h("div", { class: "chat-empty" }, icon("chat"), h("strong", { t: "chat.empty" }), h("span", { t: "chat.empty.hint" }));
  #field = h("textarea", { rows: 1, maxlength: MAX_TEXT, placeholder: "chat.placeholder", label: "chat.placeholder", enterkeyhint: "send", dir: "auto" });
  #form = h("form", { class: "chat-form" }, this.#field, h("button", { class: "button primary icon-only", type: "submit", label: "chat.send" }, icon("send")));
  /** @type {ShownLine | null} */ #last = null;

  connectedCallback() {
    if (this.childElementCount > 0) return;
    this.append(this.#notice, h("div", { class: "chat-scroll" }, this.#empty, this.#lines), this.#to, this.#form);
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    this.#field.addEventListener("input", () => this.#grow());
    onLanguage(() => {
      for (const time of this.#lines.querySelectorAll("time")) time.textContent = clockTime(Number(time.dataset.at));
    });
  }

  /** What stands above the lines: who can read them. @param {...Node} children */
  setNotice(...children) {
    this.#notice.replaceChildren(...children);
    this.#notice.hidden = children.length === 0;
  }

  /** Whom the next line is for alone; null: everybody. @param {string | null} name */
  set recipient(name) {
    this.#to.hidden = name === null;
    this.#to.replaceChildren();
    if (name === null) return;
    const back = h("button", { class: "button quiet icon-only", type: "button", tip: true, label: "secure.to.all", on: { click: () => this.dispatchEvent(new CustomEvent("everybody")) } }, icon("close"));
    this.#to.replaceChildren(icon("lock"), h("span", { t: ["secure.to", { name }] }), back);
  }

  /** @param {boolean} can */
  set writable(can) {
    this.#field.disabled = !can;
  }

  /** @param {ShownLine} line */
  add(line) {
    const marks = this.#marks(line);
    const follows = !marks && isSameBreath(this.#last, line);
    this.#last = line;
    const time = h("time", { "data-at": line.sent_at }, clockTime(line.sent_at));
    const atEnd = this.#isAtEnd();
    this.#lines.append(
      h(
        "li",
        { class: `chat-line${follows ? " follows" : ""}${line.participant_id === this.ownId ? " own" : ""}` },
        !follows && h("div", { class: "chat-who" }, h("bdi", {}, line.name), time, marks),
        h("p", { dir: "auto" }, line.text),
        !!line.unread?.length && h("div", { class: "chat-mark warning", t: ["secure.line.unread", { names: line.unread.join(", ") }] }),
      ),
    );
    // The SDK holds as many; older ones are out of sight and out of mind.
    while (this.#lines.childElementCount > 500) this.#lines.firstElementChild?.remove();
    this.#empty.hidden = true;
    if (atEnd) this.toEnd();
  }

  /** What sets a line apart from the others: for whom it is, or that it came in the clear. @param {ShownLine} line */
  #marks(line) {
    if (line.to) {
      const own = line.participant_id === this.ownId;
      return h("span", { class: "chat-mark accent", t: own ? ["secure.line.to", { name: line.to.name }] : "secure.line.to_you" });
    }
    return !line.secure && this.marksClear && h("span", { class: "chat-mark warning", t: "secure.line.clear" });
  }

  toEnd() {
    const box = this.#lines.parentElement;
    if (box) box.scrollTop = box.scrollHeight;
  }

  /** @param {string} text  put back what could not be sent */
  restore(text) {
    if (this.#field.value === "") this.#field.value = text;
    this.#grow();
  }

  focusField() {
    this.#field.focus();
  }

  #isAtEnd() {
    const box = this.#lines.parentElement;
    return !box || box.scrollHeight - box.scrollTop - box.clientHeight < 48;
  }

  #send() {
    const text = this.#field.value.trim();
    if (!text) return;
    this.#field.value = "";
    this.#grow();
    this.dispatchEvent(new CustomEvent("send", { detail: text }));
    this.toEnd();
  }

  #grow() {
    this.#field.style.height = "auto";
    this.#field.style.height = `${Math.min(this.#field.scrollHeight, 120)}px`;
  }
}

/** Whether a line stands under the same name as the one before. @param {ShownLine | null} last @param {ShownLine} line */
function isSameBreath(last, line) {
  if (!last || last.participant_id !== line.participant_id || last.name !== line.name) return false;
  return !last.to && last.secure === line.secure && line.sent_at - last.sent_at < SAME_BREATH_S;
}

customElements.define("salam-chat", ChatPanel);
