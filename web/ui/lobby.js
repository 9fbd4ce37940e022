import { LevelMeter, deviceProblem, openDevice } from "../sdk/devices.js";
import "./banner.js";
import { rememberedDevice } from "./device_pickers.js";
import { h } from "./dom.js";
import { setLabel, setText } from "./i18n.js";
import { icon } from "./icons.js";

/** @import { Banner } from "./banner.js" */
/** @import { DevicePickers } from "./device_pickers.js" */
/** @import { Key } from "./strings.js" */
/** @typedef {{name: string, camera: MediaStreamTrack | null, microphone: MediaStreamTrack | null, cameraOn: boolean, microphoneOn: boolean, encrypted: boolean}} LobbyResult */

const NAME_STORED = "salam.name";
// Who joins at once still brings the devices that are being opened; who leaves the browser's question open comes without them.
const DEVICES_WAIT_MS = 3_000;

/** `<salam-lobby>`: see oneself, choose devices, say one's name. Fires `join` with a LobbyResult; the tracks are the receiver's then. */
export class Lobby extends HTMLElement {
  /** @type {MediaStreamTrack | null} */ #camera = null;
  /** @type {MediaStreamTrack | null} */ #microphone = null;
  #cameraOn = true;
  #microphoneOn = true;
  /** @type {LevelMeter | null} */ #meter = null;
  #frame = 0;
  #video = h("video", { autoplay: true, playsinline: true, muted: true, hidden: true, label: "lobby.self" });
  #note = h("div", { class: "lobby-note" });
  #level = h("div", { class: "level", role: "meter", label: "lobby.level", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": 0 }, ...Array.from({ length: 5 }, () => h("i")));
  #micNote = h("p", { class: "lobby-mic-note", role: "status", hidden: true });
  #cameraButton = h("button", { class: "control", type: "button", tip: true, label: "call.camera.on", on: { click: () => void this.#toggleCamera() } });
  #micButton = h("button", { class: "control", type: "button", tip: true, label: "call.mic.on", on: { click: () => void this.#toggleMicrophone() } });
  #name = h("input", { type: "text", name: "name", maxlength: 64, autocomplete: "nickname", required: true, placeholder: "lobby.name", label: "lobby.name", dir: "auto" });
  #problem = h("p", { class: "field-problem", role: "alert", hidden: true });
  #closed = false;
  /** @type {Promise<unknown>} */ #opening = Promise.resolve();
  #banner = /** @type {Banner} */ (document.createElement("salam-banner"));
  #join = h("button", { class: "button primary large", type: "submit", t: "lobby.join" });
  #pickers = /** @type {DevicePickers} */ (document.createElement("salam-devices"));
  #encrypt = h("input", { type: "checkbox", name: "encrypt", id: "lobby-encrypt", "aria-describedby": "lobby-encrypt-hint" });

  /** @param {string} room @param {string} [name]  empty: the one used last @param {boolean} [encrypted]  the switch for that is on at first */
  start(room, name = "", encrypted = false) {
    this.#closed = false;
    this.#video.muted = true;
    this.#name.value = name || (localStorage.getItem(NAME_STORED) ?? "");
    const form = h(
      "form",
      { class: "lobby-form", novalidate: true },
      h("div", { class: "lobby-title" }, h("p", { class: "lobby-room" }, h("bdi", {}, room)), h("h1", { t: "lobby.heading" })),
      h("div", { class: "field" }, this.#name, this.#problem),
      this.#pickers,
      this.#encryption(encrypted),
      this.#banner,
      this.#join,
      h("p", { class: "hint", t: "lobby.without" }),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    this.#name.addEventListener("input", () => (this.#problem.hidden = true));
    this.#pickers.addEventListener("choose", (event) => this.#chosen(/** @type {CustomEvent} */ (event).detail.role));
    const preview = h("div", { class: "preview" }, this.#video, this.#note, h("div", { class: "preview-bar" }, this.#micButton, this.#level, this.#cameraButton));
    this.replaceChildren(h("div", { class: "preview-column" }, preview, this.#micNote), form);
    this.#showButtons();
    this.#pickers.setAttribute("data-waiting", "");
    this.#opening = Promise.all([this.#openCamera(), this.#openMicrophone()])
      .then(() => this.#pickers.refresh())
      .finally(() => this.#pickers.removeAttribute("data-waiting"));
    if (matchMedia("(hover: hover)").matches) this.#name.focus();
  }

  /** @param {boolean} on */
  set busy(on) {
    this.#join.disabled = on;
    setText(this.#join, on ? "lobby.joining" : "lobby.join");
  }

  /** What tries again at once while the server cannot be reached; null when it can. @param {(() => void) | null} retry */
  set unreachable(retry) {
    if (retry) this.#banner.show({ t: "end.gone.title", more: "end.gone.hint", busy: true, action: { t: "call.reconnecting.now", run: retry } });
    else this.#banner.hide();
  }

  /** Lets go of everything that was not handed over. */
  close() {
    this.#closed = true;
    cancelAnimationFrame(this.#frame);
    this.#meter?.close();
    this.#meter = null;
    this.#camera = this.#microphone = null;
    this.#video.srcObject = null;
    this.replaceChildren();
  }

  async #submit() {
    const name = this.#name.value.trim();
    if (!name) {
      setText(this.#problem, "lobby.name.missing").hidden = false;
      this.#name.focus();
      return;
    }
    localStorage.setItem(NAME_STORED, name);
    this.busy = true;
    await Promise.race([this.#opening, new Promise((done) => setTimeout(done, DEVICES_WAIT_MS))]);
    /** @type {LobbyResult} */
    const detail = { name, camera: this.#camera, microphone: this.#microphone, cameraOn: this.#cameraOn, microphoneOn: this.#microphoneOn, encrypted: this.#encrypt.checked };
    this.dispatchEvent(new CustomEvent("join", { detail }));
  }

  /** The switch for an encrypted call, with what it means. @param {boolean} wanted */
  #encryption(wanted) {
    const able = globalThis.isSecureContext && "RTCRtpScriptTransform" in globalThis;
    this.#encrypt.checked = wanted;
    // A link that asks for it is not followed without: who cannot encrypt is told so when joining.
    this.#encrypt.disabled = !able && !wanted;
    const words = h("span", { class: "switch-words" }, h("span", { t: "lobby.encrypt" }), h("small", { id: "lobby-encrypt-hint", t: able ? "lobby.encrypt.hint" : "lobby.encrypt.unsupported" }));
    return h("label", { class: "switch", for: "lobby-encrypt" }, icon("lock"), words, this.#encrypt);
  }

  /** @param {"camera" | "microphone" | "speaker"} role */
  #chosen(role) {
    if (role === "camera" && this.#cameraOn) void this.#openCamera();
    if (role === "microphone" && this.#microphoneOn) void this.#openMicrophone();
  }

  async #openCamera() {
    this.#say("camera", "lobby.starting", "lobby.starting.hint");
    this.#camera?.stop();
    try {
      const camera = await openDevice("video", rememberedDevice("camera"));
      // Nobody waits for it any more, and nobody else would turn it off.
      if (this.#closed) return camera.stop();
      this.#camera = camera;
      this.#cameraOn = true;
      this.#video.srcObject = new MediaStream([this.#camera]);
      this.#video.hidden = false;
      this.#note.hidden = true;
    } catch (error) {
      const problem = deviceProblem(error);
      this.#camera = null;
      this.#cameraOn = false;
      this.#say("camera_off", /** @type {Key} */ (`device.camera.${problem}`), /** @type {Key} */ (`device.camera.${problem}.hint`), problem !== "none");
    }
    this.#showButtons();
  }

  async #openMicrophone() {
    this.#microphone?.stop();
    this.#meter?.close();
    this.#meter = null;
    this.#micNote.hidden = true;
    try {
      const microphone = await openDevice("audio", rememberedDevice("microphone"));
      if (this.#closed) return microphone.stop();
      this.#microphone = microphone;
      this.#microphoneOn = true;
      this.#meter = new LevelMeter(this.#microphone);
      this.#drawLevel();
    } catch (error) {
      this.#microphone = null;
      this.#microphoneOn = false;
      const problem = deviceProblem(error);
      const phrases = [`device.microphone.${problem}`, `device.microphone.${problem}.hint`];
      this.#micNote.replaceChildren(...phrases.map((phrase, index) => h(index === 0 ? "strong" : "span", { t: /** @type {Key} */ (phrase) })));
      this.#micNote.hidden = false;
    }
    this.#showButtons();
  }

  async #toggleCamera() {
    if (!this.#cameraOn) return this.#openCamera();
    this.#camera?.stop();
    this.#camera = null;
    this.#cameraOn = false;
    this.#say("camera_off", "lobby.camera.off");
    this.#showButtons();
  }

  async #toggleMicrophone() {
    if (!this.#microphone) return this.#openMicrophone();
    this.#microphoneOn = !this.#microphoneOn;
    this.#microphone.enabled = this.#microphoneOn;
    this.#showButtons();
  }

  #drawLevel() {
    cancelAnimationFrame(this.#frame);
    const bars = [...this.#level.children];
    const draw = () => {
      if (!this.#meter) return;
      const level = this.#microphoneOn ? this.#meter.read() : 0;
      bars.forEach((bar, index) => bar.toggleAttribute("data-lit", level * bars.length > index + 0.4));
      this.#level.setAttribute("aria-valuenow", String(Math.round(level * 100)));
      this.#frame = requestAnimationFrame(draw);
    };
    draw();
  }

  /** @param {"camera" | "camera_off"} name @param {Key} title @param {Key} [hint] @param {boolean} [retry] */
  #say(name, title, hint, retry = false) {
    this.#video.hidden = true;
    this.#note.hidden = false;
    this.#note.toggleAttribute("data-starting", title === "lobby.starting");
    this.#note.replaceChildren(icon(name), h("strong", { t: title }));
    if (hint) this.#note.append(h("span", { t: hint }));
    if (retry) this.#note.append(h("button", { class: "button", type: "button", t: "common.retry", on: { click: () => void this.#openCamera() } }));
  }

  #showButtons() {
    show(this.#micButton, this.#microphoneOn, "mic", "mic_off", "call.mic.on", "call.mic.off");
    show(this.#cameraButton, this.#cameraOn, "camera", "camera_off", "call.camera.on", "call.camera.off");
  }
}

/**
 * @param {HTMLButtonElement} button
 * @param {boolean} on
 * @param {import("./icons.js").IconName} iconOn
 * @param {import("./icons.js").IconName} iconOff
 * @param {Key} labelOn
 * @param {Key} labelOff
 */
function show(button, on, iconOn, iconOff, labelOn, labelOff) {
  button.dataset.on = String(on);
  button.setAttribute("aria-pressed", String(on));
  button.replaceChildren(h("span", { class: "control-face" }, icon(on ? iconOn : iconOff)));
  setLabel(button, on ? labelOn : labelOff);
}

customElements.define("salam-lobby", Lobby);
