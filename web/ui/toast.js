import { h } from "./dom.js";
import { icon } from "./icons.js";

/** @import { Key } from "./strings.js" */
/** @import { Params } from "./i18n.js" */

// Time to read a short sentence twice.
const SHOWN_MS = 4_500;
// More would cover the faces; older ones give way.
const MAX_TOASTS = 3;

/** `<salam-toasts>`: short notices, read aloud politely by screen readers. */
export class Toasts extends HTMLElement {
  connectedCallback() {
    this.setAttribute("role", "status");
    this.setAttribute("aria-live", "polite");
  }

  /** @param {Key} key @param {Params} [params] @param {{warning?: boolean}} [options] */
  show(key, params = {}, { warning = false } = {}) {
    const toast = h("div", { class: warning ? "toast warning" : "toast" }, warning && icon("warning"), h("span", { t: [key, params] }));
    // Said again it is still one notice.
    for (const known of [...this.children]) if (known.textContent === toast.textContent) known.remove();
    this.append(toast);
    while (this.childElementCount > MAX_TOASTS) this.firstElementChild?.remove();
    setTimeout(() => toast.remove(), SHOWN_MS);
  }
}

customElements.define("salam-toasts", Toasts);
