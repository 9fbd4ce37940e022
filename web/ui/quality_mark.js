import { h } from "./dom.js";
import { setLabel } from "./i18n.js";

/** @import { Key } from "./strings.js" */
/** @import { QualityReason, QualityReport } from "../sdk/messages.js" */
/** @typedef {Pick<QualityReport, "score"> & Partial<Omit<QualityReport, "reason">> & {reason?: QualityReason | "unknown"}} Shown */

/** `<salam-quality>`: three bars whose tooltip says in words why the connection is as it is. */
export class QualityMark extends HTMLElement {
  connectedCallback() {
    if (this.childElementCount > 0) return;
    this.setAttribute("data-tip", "");
    this.setAttribute("role", "img");
    this.append(h("i"), h("i"), h("i"));
    this.show({ score: 3, reason: "good" });
  }

  /** @param {Shown} report */
  show({ score, reason = "good", rtt_ms = 0, loss_percent = 0 }) {
    this.dataset.score = String(score);
    setLabel(this, /** @type {Key} */ (`quality.${reason}`), { rtt: Math.round(rtt_ms), loss: Math.round(loss_percent) });
  }
}

customElements.define("salam-quality", QualityMark);
