import { shownHeight } from "../sdk/layers.js";
import { h, initials } from "./dom.js";
import { fitFor } from "./grid.js";
import { setLabel, setText } from "./i18n.js";
import { icon } from "./icons.js";
import "./quality_mark.js";

/** @import { QualityMark, Shown } from "./quality_mark.js" */
/** @import { Rect } from "./grid.js" */
/** @import { QualityReport } from "../sdk/messages.js" */
/** @typedef {{name: string, own: boolean, screen: boolean, muted: boolean, hand: boolean, away: boolean, videoMuted: boolean}} TileState */

// As long as the other controls stay after a touch.
const TOUCH_MS = 3_500;
// The words of a reconnection beside a hand and two buttons; in less room its icon says the same.
const WORDS_WIDTH = 280;
/** What nobody can tell now. @type {Shown} */
const UNKNOWN = { score: 0, reason: "unknown" };

/**
 * `<salam-tile>`: one person or one shared screen. Fires `pin` and `moderate` (both bubble), and `shown` with the height in device
 * pixels at which its video is visible.
 */
export class Tile extends HTMLElement {
  /** @type {Rect | null} */ rect = null;
  key = "";
  participantId = "";
  #video = h("video", { autoplay: true, playsinline: true, muted: true });
  #avatar = h("span", { class: "avatar" });
  #name = h("bdi");
  #micOff = h("span", { class: "tile-mic", label: "call.muted", role: "img" }, icon("mic_off"));
  #hand = h("span", { class: "tile-hand", label: "call.hand", role: "img" }, icon("hand"));
  #away = h("span", { class: "tile-away", role: "img", label: "call.away", tip: true }, icon("reconnect"), h("span", { t: "call.away" }));
  #quality = /** @type {QualityMark} */ (document.createElement("salam-quality"));
  #pin = h("button", { class: "tile-button", type: "button", label: "call.pin", tip: true, on: { click: () => this.#fire("pin") } }, icon("pin"));
  #more = h("button", { class: "tile-button", type: "button", tip: true, hidden: true, "aria-haspopup": "menu", label: "call.more", on: { click: () => this.#fire("moderate") } }, icon("more"));
  /** @type {TileState} */
  #state = { name: "", own: false, screen: false, muted: false, hand: false, away: false, videoMuted: true };
  /** @type {Shown} */ #reported = { score: 3, reason: "good" };
  #known = true;

  /** @type {ReturnType<typeof setTimeout> | undefined} */ #touchTimer;

  connectedCallback() {
    if (this.childElementCount > 0) return;
    this.#video.muted = true;
    this.#video.addEventListener("resize", () => this.#fitVideo());
    // A picture that has not come yet, or comes no more, leaves the place to the avatar.
    for (const type of ["loadeddata", "resize", "emptied"]) this.#video.addEventListener(type, () => this.#render());
    this.addEventListener("dblclick", () => this.#fire("pin"));
    this.addEventListener("pointerup", (event) => event.pointerType === "touch" && this.#touched());
    this.append(
      h("div", { class: "tile-back" }, this.#avatar),
      this.#video,
      h("div", { class: "tile-top" }, this.#away, this.#hand, h("span", { class: "tile-space" }), this.#more, this.#pin),
      h("div", { class: "tile-name" }, this.#micOff, this.#name, this.#quality),
    );
    this.#render();
  }

  get anchor() {
    return this.#more;
  }

  /** @param {Partial<TileState>} state */
  update(state) {
    Object.assign(this.#state, state);
    this.#render();
  }

  /** @param {MediaStreamTrack | null} track */
  showVideo(track) {
    const current = /** @type {MediaStream | null} */ (this.#video.srcObject)?.getTracks()[0] ?? null;
    if (current === track) return;
    this.#video.srcObject = track ? new MediaStream([track]) : null;
    if (track) this.#video.play().catch(() => {});
    this.#render();
  }

  /** @param {QualityReport} report */
  showQuality(report) {
    this.#reported = report;
    this.#showQuality();
  }

  /** Whether reports still come; what the last one said is not shown for what is now. @param {boolean} known */
  set qualityKnown(known) {
    this.#known = known;
    this.#showQuality();
  }

  /** @param {boolean} on */
  set speaking(on) {
    this.toggleAttribute("data-speaking", on);
  }

  /** @param {boolean} on */
  set pinned(on) {
    this.toggleAttribute("data-pinned", on);
    setLabel(this.#pin, on ? "call.unpin" : "call.pin");
    this.#pin.replaceChildren(icon(on ? "unpin" : "pin"));
  }

  /** @param {boolean} on */
  set moderatable(on) {
    this.#more.hidden = !on;
    if (on) setLabel(this.#more, "mod.menu", { name: this.#state.name });
  }

  /** @param {Rect} rect */
  place(rect) {
    this.rect = rect;
    this.style.width = `${rect.width}px`;
    this.style.height = `${rect.height}px`;
    this.style.transform = `translate(${rect.x}px, ${rect.y}px)`;
    this.toggleAttribute("data-small", rect.width < 180 || rect.height < 110);
    this.toggleAttribute("data-narrow", rect.width < WORDS_WIDTH);
    this.#fitVideo();
  }

  /** A finger has no hover: a touch shows the buttons for a while. */
  #touched() {
    this.toggleAttribute("data-touched", true);
    clearTimeout(this.#touchTimer);
    this.#touchTimer = setTimeout(() => this.removeAttribute("data-touched"), TOUCH_MS);
  }

  #fitVideo() {
    if (!this.rect) return;
    const { videoWidth, videoHeight } = this.#video;
    const aspect = videoWidth && videoHeight ? videoWidth / videoHeight : 16 / 9;
    // A screen's edges hold text: nothing of it may be cut away.
    const fit = this.#state.screen ? "contain" : fitFor(this.rect.width / this.rect.height, aspect);
    this.dataset.fit = fit;
    const height = shownHeight({ ...this.rect, pixelRatio: devicePixelRatio, aspect, fit });
    this.dispatchEvent(new CustomEvent("shown", { detail: height }));
  }

  #render() {
    const { name, own, screen, muted, hand, away, videoMuted } = this.#state;
    if (screen) setText(this.#name, "call.screen.of", { name });
    else if (own) setText(this.#name, "call.you", { name });
    else {
      this.#name.removeAttribute("data-i18n");
      this.#name.textContent = name;
    }
    this.#avatar.textContent = initials(name);
    this.#micOff.hidden = !muted || screen;
    this.#hand.hidden = !hand || screen;
    this.#away.hidden = !away;
    this.#quality.hidden = screen;
    this.#video.hidden = videoMuted || this.#video.srcObject === null;
    this.toggleAttribute("data-video", !this.#video.hidden && this.#video.videoWidth > 0);
    this.toggleAttribute("data-mirror", own && !screen);
    this.toggleAttribute("data-away", away);
    this.#showQuality();
  }

  #showQuality() {
    const current = this.#known && !this.#state.away;
    this.#quality.show(current || this.#reported.reason === "lost" ? this.#reported : UNKNOWN);
  }

  /** @param {string} type */
  #fire(type) {
    this.dispatchEvent(new CustomEvent(type, { bubbles: true, detail: this.key }));
  }
}

customElements.define("salam-tile", Tile);
