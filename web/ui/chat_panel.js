import { h } from "./dom.js";
import { clockTime, onLanguage } from "./i18n.js";
import { icon } from "./icons.js";

/** @import { ChatLine } from "../sdk/messages.js" */

// The server refuses longer lines.
const MAX_TEXT = 2_000;
// Lines of one person within this time stand under one name.
const SAME_BREATH_S = 120;

/** `<salam-chat>`: the lines of a room or stream and a field to write one. Fires `send` with the text. */
export class ChatPanel extends HTMLElement {
  ownId = "";
  #lines = h("ol", { class: "chat-lines", role: "log", "aria-live": "polite", tabindex: "0", label: "chat.title" });
  #empty = h("div", { class: "chat-empty" }, icon("chat"), h("strong", { t: "chat.empty" }), h("span", { t: "chat.empty.hint" }));
  #field = h("textarea", { rows: 1, maxlength: MAX_TEXT, placeholder: "chat.placeholder", label: "chat.placeholder", enterkeyhint: "send", dir: "auto" });
  #form = h("form", { class: "chat-form" }, this.#field, h("button", { class: "button primary icon-only", type: "submit", label: "chat.send" }, icon("send")));
  /** @type {ChatLine | null} */ #last = null;

  connectedCallback() {
    if (this.childElementCount > 0) return;
    this.append(h("div", { class: "chat-scroll" }, this.#empty, this.#lines), this.#form);
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

  /** @param {ChatLine} line */
  add(line) {
    const follows = this.#last?.participant_id === line.participant_id && this.#last.name === line.name && line.sent_at - this.#last.sent_at < SAME_BREATH_S;
    this.#last = line;
    const time = h("time", { "data-at": line.sent_at }, clockTime(line.sent_at));
    const atEnd = this.#isAtEnd();
    this.#lines.append(
      h(
        "li",
        { class: `chat-line${follows ? " follows" : ""}${line.participant_id === this.ownId ? " own" : ""}` },
        !follows && h("div", { class: "chat-who" }, h("bdi", {}, line.name), time),
        h("p", { dir: "auto" }, line.text),
      ),
    );
    // The SDK holds as many; older ones are out of sight and out of mind.
    while (this.#lines.childElementCount > 500) this.#lines.firstElementChild?.remove();
    this.#empty.hidden = true;
    if (atEnd) this.toEnd();
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

customElements.define("salam-chat", ChatPanel);
