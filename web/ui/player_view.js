import { Player, startsAnew } from "../sdk/player.js";
import { h, isTyping } from "./dom.js";
import { number, setLabel, setText } from "./i18n.js";
import { icon } from "./icons.js";
import { IdleChrome } from "./idle.js";
import "./state_screen.js";

/** @import { Key } from "./strings.js" */
/** @import { IconName } from "./icons.js" */
/** @import { Params } from "./i18n.js" */
/** @import { StateScreen } from "./state_screen.js" */
/** @import { StreamState } from "../sdk/messages.js" */
/** @import { MenuItem } from "./menu.js" */

/** @typedef {{icon?: IconName, title: Key, hint: Key, params?: Params}} Notice  without an icon something is under way */

// The latency is a number that people read, not watch.
const TICK_MS = 500;

/** `<salam-player>`: the picture of a livestream, its few controls, and what to say when there is none. */
export class PlayerView extends HTMLElement {
  #video = h("video", { playsinline: true, muted: true });
  #state = /** @type {StateScreen} */ (document.createElement("salam-state"));
  #spinner = h("span", { class: "spinner player-spinner", role: "status", label: "watch.buffering", hidden: true });
  #unmute = h("button", { class: "button primary player-unmute", type: "button", hidden: true, on: { click: () => this.#sound(true) } }, icon("volume_off"), h("span", { t: "watch.unmute.hint" }));
  #play = this.#button("play", "watch.play", () => this.#togglePlay());
  #mute = this.#button("volume", "watch.mute", () => this.#sound(this.#video.muted));
  #volume = h("input", { type: "range", class: "volume", min: 0, max: 1, step: 0.05, value: 1, label: "watch.volume", on: { input: () => this.#setVolume() } });
  #edge = h("button", { class: "edge", type: "button", label: "watch.edge", on: { click: () => this.player?.goToEdge() } }, h("i"), h("span", { t: "watch.live" }));
  #latency = h("span", { class: "latency" });
  #quality = this.#button("quality", "watch.quality", () => void this.#qualityMenu());
  #full = this.#button("fullscreen", "watch.fullscreen", () => void this.#toggleFullscreen());
  /** @type {Player | null} */ player = null;
  /** @type {StreamState} */ #stream = "offline";
  /** @type {Notice | null} */ #notice = { title: "end.connecting.title", hint: "end.connecting.hint" };
  #tick = 0;

  connectedCallback() {
    if (this.childElementCount > 0) return;
    this.#quality.setAttribute("aria-haspopup", "menu");
    this.append(
      this.#video,
      h("div", { class: "reaction-layer", "aria-hidden": "true" }),
      this.#spinner,
      this.#state,
      this.#unmute,
      h("div", { class: "player-bar" }, this.#play, this.#mute, this.#volume, this.#edge, this.#latency, h("span", { class: "player-space" }), this.#quality, this.#full),
    );
    this.#video.addEventListener("click", () => this.#togglePlay());
    this.#video.addEventListener("volumechange", () => this.#showSound());
    for (const type of ["play", "pause", "playing"]) this.#video.addEventListener(type, () => this.#showPlay());
    document.addEventListener("fullscreenchange", () => this.#showFullscreen());
    document.addEventListener("keydown", (event) => this.#key(event));
    this.#tick = window.setInterval(() => this.#showLatency(), TICK_MS);
    new IdleChrome(this, () => !this.#video.paused && !document.querySelector(".menu") && !this.querySelector(".player-bar:hover, .player-bar :focus-visible"));
  }

  disconnectedCallback() {
    clearInterval(this.#tick);
    this.player?.stop();
  }

  /** @param {string} url @param {string} token */
  open(url, token) {
    this.player = new Player({ video: this.#video, url, token });
    this.player.on("state", (state) => {
      if (this.#isOver() && (state === "retrying" || state === "stalled")) this.player?.stop();
      this.#show();
    });
    this.#video.addEventListener("ended", () => this.#isOver() && this.player?.stop());
    this.player.on("levels", (levels) => (this.#quality.hidden = levels.length < 2));
    this.#quality.hidden = true;
    this.#show();
  }

  /** What the server says of the stream decides whether there is something to play. @param {StreamState} state */
  follow(state) {
    const before = this.#stream;
    this.#stream = state;
    if (startsAnew(before, state, this.player?.state ?? "idle")) void this.#start();
    // What is left in the buffer of an ended stream is played to its end.
    if (state === "offline" || (state === "ended" && this.player?.state !== "playing")) this.player?.stop();
    this.#show();
  }

  /** Why nothing is known of the stream, shown unless it plays; null: `follow` tells how it is. @param {Notice | null} notice */
  set notice(notice) {
    this.#notice = notice;
    this.#show();
  }

  #isOver() {
    return this.#stream === "ended" || this.#stream === "offline";
  }

  /** @param {string} emoji */
  float(emoji) {
    const layer = this.querySelector(".reaction-layer");
    // A wave of reactions is a mood and not a list: beyond this many nobody can tell them apart.
    if (!layer || layer.childElementCount > 24) return;
    const drop = h("span", {}, emoji);
    drop.style.insetInlineStart = `${Math.round(Math.random() * 100)}%`;
    drop.addEventListener("animationend", () => drop.remove());
    layer.append(drop);
  }

  async #start() {
    // Sound starts only where the browser already allows it; otherwise muted, with a clear way out.
    this.#video.muted = !(navigator.userActivation?.hasBeenActive ?? false);
    await this.player?.start();
    this.#showSound();
  }

  #show() {
    const playing = this.player?.state;
    const hasPicture = this.#video.readyState >= 2 && playing !== "idle";
    this.#spinner.hidden = !(this.#stream === "live" && (playing === "loading" || playing === "stalled"));
    this.toggleAttribute("data-picture", hasPicture);
    this.toggleAttribute("data-nothing", playing === "idle" || playing === "failed");
    if (playing === "failed") this.#say("unsupported", "warning");
    else if (this.#stream === "offline" && this.#notice) this.#state.show({ ...this.#notice, busy: !this.#notice.icon });
    else if (this.#stream === "offline") this.#say("offline", "eye");
    else if (this.#stream === "starting") this.#say("starting");
    // What the buffer still holds is watched first; the word beside the stream's name tells already.
    else if (this.#stream === "interrupted" && playing !== "playing") this.#say("interrupted");
    else if (this.#stream === "ended" && playing !== "playing") this.#say("ended", "check");
    else if (playing === "retrying") this.#say("retrying");
    else this.#state.hide();
    this.#showSound();
    this.#showPlay();
  }

  /** @param {"offline" | "starting" | "interrupted" | "ended" | "retrying" | "unsupported"} what @param {IconName} [name]  none: something is under way */
  #say(what, name) {
    this.#state.show({ icon: name, busy: !name, title: `watch.${what}.title`, hint: `watch.${what}.hint` });
  }

  #togglePlay() {
    if (!this.player || this.#stream === "offline") return;
    if (!this.#video.paused) return this.player.pause();
    // After a pause a live stream goes on now, not where it was left long ago.
    if (this.player.behindSeconds > 30) this.player.goToEdge();
    void this.player.play();
  }

  /** @param {boolean} on */
  #sound(on) {
    this.#video.muted = !on;
    if (on && this.#video.volume === 0) this.#video.volume = 1;
  }

  #setVolume() {
    this.#video.volume = Number(this.#volume.value);
    this.#video.muted = this.#video.volume === 0;
  }

  #showSound() {
    const silent = this.#video.muted || this.#video.volume === 0;
    face(this.#mute, silent ? "volume_off" : "volume", silent ? "watch.unmute" : "watch.mute");
    this.#volume.value = String(silent ? 0 : this.#video.volume);
    this.#unmute.hidden = !(this.#video.muted && this.player?.state === "playing");
  }

  #showPlay() {
    face(this.#play, this.#video.paused ? "play" : "pause", this.#video.paused ? "watch.play" : "watch.pause");
  }

  #showLatency() {
    const player = this.player;
    const running = !!player && (player.state === "playing" || player.state === "paused");
    const seconds = running ? player.debug().latency_seconds : 0;
    const atEdge = running && player.state === "playing" && player.atEdge;
    this.#edge.toggleAttribute("data-at-edge", atEdge);
    this.#edge.disabled = !running;
    this.#latency.hidden = seconds <= 0;
    setText(this.#latency, "watch.latency", { seconds: number(seconds, { maximumFractionDigits: seconds < 10 ? 1 : 0, minimumFractionDigits: seconds < 10 ? 1 : 0 }) });
  }

  async #qualityMenu() {
    const { toggleMenu } = await import("./menu.js");
    const player = this.player;
    if (!player) return;
    const height = player.levels[player.currentLevel]?.height;
    /** @type {MenuItem[]} */
    const items = [{ icon: "quality", t: "watch.quality.auto", checked: player.autoLevel, run: () => player.setLevel(-1) }];
    const byHeight = player.levels.map((level, index) => ({ ...level, index })).sort((a, b) => b.height - a.height);
    for (const level of byHeight) {
      const checked = !player.autoLevel && height === level.height;
      items.push({ icon: "quality", t: "watch.quality.level", params: { height: String(level.height) }, checked, run: () => player.setLevel(level.index) });
    }
    toggleMenu(this.#quality, items);
  }

  async #toggleFullscreen() {
    if (document.fullscreenElement) await document.exitFullscreen();
    else if (this.requestFullscreen) await this.requestFullscreen().catch(() => {});
    // Phones of one maker let only the video itself fill the screen.
    else /** @type {any} */ (this.#video).webkitEnterFullscreen?.();
  }

  #showFullscreen() {
    const on = document.fullscreenElement === this;
    face(this.#full, on ? "fullscreen_exit" : "fullscreen", on ? "watch.fullscreen.exit" : "watch.fullscreen");
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === "Escape") return void import("./menu.js").then(({ closeMenu }) => closeMenu());
    if (isTyping(event) || event.repeat || document.querySelector("dialog[open]")) return;
    if (event.key === "?") {
      void this.#shortcuts([["K", "keys.k"], ["M", "watch.mute"], ["F", "keys.f"], ["L", "keys.l"], ["C", "chat.title"], ["?", "keys.help"]]);
      return;
    }
    if (event.code === "KeyK") this.#togglePlay();
    else if (event.code === "KeyM") this.#sound(this.#video.muted);
    else if (event.code === "KeyF") void this.#toggleFullscreen();
    else if (event.code === "KeyL") this.player?.goToEdge();
  }

  /** @param {[string, Key][]} keys */
  async #shortcuts(keys) {
    const { openShortcuts } = await import("./sheet.js");
    openShortcuts(keys);
  }

  /** @param {IconName} name @param {Key} label @param {() => void} run */
  #button(name, label, run) {
    return h("button", { class: "player-button", type: "button", tip: true, label, on: { click: run } }, icon(name));
  }
}

/** @param {HTMLElement} button @param {IconName} name @param {Key} label */
function face(button, name, label) {
  if (button.dataset.face === name) return;
  button.dataset.face = name;
  button.querySelector("svg")?.replaceWith(icon(name));
  setLabel(button, label);
}

customElements.define("salam-player", PlayerView);
