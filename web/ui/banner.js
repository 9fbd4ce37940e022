import { h } from "./dom.js";
import { icon } from "./icons.js";

/** @import { IconName } from "./icons.js" */
/** @import { Key } from "./strings.js" */
/** @import { Params } from "./i18n.js" */

/** `<salam-banner>`: one line that stays while something has to be known, with what one can do about it. */
export class Banner extends HTMLElement {
  connectedCallback() {
    this.setAttribute("role", "status");
    this.hidden = this.childElementCount === 0;
  }

  /** @param {{t: [Key, Params] | Key, more?: [Key, Params] | Key, sign?: IconName, busy?: boolean, action?: {t: Key, run: () => void}}} banner */
  show({ t, more, sign = "warning", busy = false, action }) {
    this.replaceChildren(
      busy ? h("span", { class: "spinner", "aria-hidden": "true" }) : icon(sign),
      h("span", { class: "banner-words" }, h("span", { t }), more && h("small", { t: more })),
    );
    if (action) this.append(h("button", { class: "button small", type: "button", t: action.t, on: { click: action.run } }));
    this.hidden = false;
  }

  hide() {
    this.hidden = true;
    this.replaceChildren();
  }
}

customElements.define("salam-banner", Banner);
