import { h } from "./dom.js";
import { icon } from "./icons.js";

/** @import { Key } from "./strings.js" */
/** @import { Params } from "./i18n.js" */
/** @import { IconName } from "./icons.js" */
/** @typedef {{t: Key, run: () => void, primary?: boolean}} StateAction */

/** `<salam-state>`: a whole state in the middle of the page: what happened, and what one can do. */
export class StateScreen extends HTMLElement {
  /** @param {{icon?: IconName, title: Key, hint?: Key, params?: Params, busy?: boolean, actions?: StateAction[]}} state */
  show({ icon: name, title, hint, params = {}, busy = false, actions = [] }) {
    this.setAttribute("role", "status");
    const buttons = actions.map(({ t, run, primary }) => h("button", { class: primary ? "button primary" : "button", type: "button", t, on: { click: run } }));
    this.replaceChildren(
      busy ? h("span", { class: "spinner", "aria-hidden": "true" }) : h("span", { class: "state-icon" }, icon(name ?? "warning")),
      h("h1", { t: [title, params] }),
    );
    if (hint) this.append(h("p", { t: [hint, params] }));
    if (buttons.length > 0) this.append(h("div", { class: "state-actions" }, ...buttons));
    this.hidden = false;
  }

  hide() {
    this.hidden = true;
    this.replaceChildren();
  }
}

customElements.define("salam-state", StateScreen);
