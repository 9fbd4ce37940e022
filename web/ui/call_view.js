import { AudioSink } from "./audio_sink.js";
import "./banner.js";
import "./chat_panel.js";
import "./controls.js";
import "./people_panel.js";
import "./toast.js";
import { rememberedDevice } from "./device_pickers.js";
import { byId, h, isTyping } from "./dom.js";
import { setLabel, setText } from "./i18n.js";
import { icon } from "./icons.js";
import { IdleChrome } from "./idle.js";
import { closeMenu, toggleMenu } from "./menu.js";
import { OwnMedia } from "./own_media.js";
import { reasonOf } from "./reason.js";
import { SecureView } from "./secure_view.js";
import { openSheet, openShortcuts } from "./sheet.js";
import { Tiles } from "./tiles.js";

/** @import { Call } from "../sdk/call.js" */
/** @import { SecureChat } from "../sdk/secure_chat.js" */
/** @import { Signaling, SignalingStatus } from "../sdk/signaling.js" */
/** @import { ParticipantInfo } from "../sdk/messages.js" */
/** @import { Banner } from "./banner.js" */
/** @import { ChatPanel, ShownLine } from "./chat_panel.js" */
/** @import { Control, Controls } from "./controls.js" */
/** @import { DeviceRole } from "./device_pickers.js" */
/** @import { MenuItem } from "./menu.js" */
/** @import { PeoplePanel } from "./people_panel.js" */
/** @import { Stage } from "./stage.js" */
/** @import { Toasts } from "./toast.js" */
/** @import { Key } from "./strings.js" */

/** The call on screen: everything between joining and leaving. */
export class CallView {
  #root = byId("call");
  #controls = /** @type {Controls} */ (byId("controls"));
  #chat = /** @type {ChatPanel} */ (byId("chat"));
  #people = /** @type {PeoplePanel} */ (byId("people"));
  #panel = byId("panel");
  #banner = /** @type {Banner} */ (byId("banner"));
  #sharing = /** @type {Banner} */ (byId("sharing"));
  #toasts = /** @type {Toasts} */ (byId("toasts"));
  #alone = byId("alone");
  /** @type {"" | "chat" | "people"} */ #open = "";
  #unread = 0;
  /** Since when there has been no connection, and whether that was announced. @type {{sinceMs: number, drain: boolean} | null} */ #lost = null;
  #abort = new AbortController();
  /** @type {(() => void)[]} */ #off = [];
  #call;
  #signaling;
  #onLeave;
  #secure;
  #tiles;
  #media;
  #sink;
  #idle;

  /** @param {{call: Call, signaling: Signaling, secure: SecureChat, onLeave: () => void}} options */
  constructor({ call, signaling, secure, onLeave }) {
    this.#call = call;
    this.#signaling = signaling;
    this.#onLeave = onLeave;
    this.#secure = new SecureView({ chat: secure, call, panel: this.#chat, openChat: () => this.#show("chat"), banner: this.#banner, toast: (key, params) => this.#toasts.show(key, params, { warning: true }) });
    this.#tiles = new Tiles(call, /** @type {Stage} */ (byId("stage")));
    this.#media = new OwnMedia(call, (key, params) => this.#toasts.show(key, params));
    this.#sink = new AudioSink((blocked) => this.#soundBlocked(blocked));
    this.#sink.useSpeaker(rememberedDevice("speaker"));
    this.#idle = new IdleChrome(this.#root, () => this.#mayHide(), () => /** @type {Stage} */ (byId("stage")).layout(true));
    this.#root.hidden = false;
    byId("room-name").textContent = call.room;
    setLabel(byId("captions"), "call.captions");
    this.#makeAlone();
    this.#listenToCall();
    this.#listenToUser();
    this.#refresh();
    this.#chat.ownId = call.participantId;
    for (const line of [...call.chat, ...secure.lines]) this.#chat.add(line);
  }

  close() {
    this.#abort.abort();
    for (const off of this.#off) off();
    this.#secure.close();
    this.#sink.close();
    this.#idle.stop();
    this.#root.hidden = true;
  }

  #listenToCall() {
    const call = this.#call;
    this.#off = [
      call.on("joined", () => {
        this.#chat.ownId = call.participantId;
        this.#refresh();
      }),
      call.on("participant_joined", (person) => {
        this.#toasts.show("call.joined", { name: person.name });
        this.#refresh();
      }),
      call.on("participant_left", ({ participant, reason }) => {
        this.#toasts.show(reason === "lost" ? "call.lost" : "call.left", { name: participant.name });
        this.#refresh();
      }),
      call.on("participant_updated", (person) => this.#updated(person)),
      call.on("track", (track) => {
        if (track.kind === "audio") this.#sink.add(track.track_id, track.media);
        else this.#tiles.addTrack(track);
      }),
      call.on("track_ended", (track) => {
        this.#sink.remove(track.track_id);
        this.#tiles.removeTrack(track);
      }),
      call.on("speakers", (speakers) => this.#tiles.showSpeakers(speakers)),
      call.on("quality", (reports) => this.#tiles.showQuality(reports)),
      call.on("stats", () => this.#showOwnQuality()),
      call.on("local", () => this.#refresh()),
      call.on("media", (up) => this.#mediaState(up)),
      call.on("mute_requested", ({ source, by }) => {
        if (source !== "microphone") this.#toasts.show("call.video.muted.moderator", {}, { warning: true });
        else this.#toasts.show(by ? "call.muted.by" : "call.muted.moderator", { name: by }, { warning: true });
      }),
      call.on("chat", (line) => this.#said(line)),
      this.#secure.chat.on("line", (line) => this.#said(line)),
      this.#secure.chat.on("restored", (line) => this.#chat.add(line)),
      this.#secure.chat.on("trust", () => this.#showPeople()),
      this.#signaling.on("status", (status) => this.#connection(status)),
    ];
  }

  #listenToUser() {
    const { signal } = this.#abort;
    this.#controls.addEventListener("control", (event) => this.#press(/** @type {CustomEvent<Control>} */ (event).detail), { signal });
    this.#chat.addEventListener("send", (event) => void this.#send(/** @type {CustomEvent<string>} */ (event).detail), { signal });
    this.#people.addEventListener(
      "moderate",
      (event) => {
        const { participantId, anchor } = /** @type {CustomEvent} */ (event).detail;
        this.#moderate(participantId, anchor);
      },
      { signal },
    );
    this.#root.addEventListener(
      "moderate",
      (event) => {
        const tile = this.#tiles.tile(/** @type {CustomEvent<string>} */ (event).detail);
        if (tile) this.#moderate(tile.participantId, tile.anchor);
      },
      { signal },
    );
    byId("panel-close").addEventListener("click", () => this.#show(""), { signal });
    document.addEventListener("keydown", (event) => this.#key(event), { signal });
    document.addEventListener("visibilitychange", () => this.#call.setHidden(document.hidden), { signal });
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === "Escape") {
      if (!closeMenu() && !document.querySelector("dialog[open]") && this.#open) this.#show("");
      return;
    }
    if (isTyping(event) || event.repeat || document.querySelector("dialog[open]")) return;
    if (event.key === "?") return void this.#shortcuts();
    /** @type {Record<string, () => void>} */
    const actions = {
      KeyM: () => this.#press("microphone"),
      KeyV: () => this.#press("camera"),
      KeyS: () => this.#press("screen"),
      KeyH: () => this.#press("hand"),
      KeyC: () => this.#press("chat"),
      KeyG: () => this.#tiles.setSpeakerView(!this.#tiles.speakerView),
    };
    // By place and not by letter: the keys work with an Arabic keyboard as well.
    const action = actions[event.code];
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** @param {Control} control */
  #press(control) {
    if (control === "microphone") void this.#media.toggleMicrophone();
    else if (control === "camera") void this.#media.toggleCamera();
    else if (control === "screen") void this.#media.toggleScreen();
    else if (control === "hand") void this.#raiseHand();
    else if (control === "chat" || control === "people") this.#show(this.#open === control ? "" : control);
    else if (control === "more") this.#more();
    else this.#onLeave();
  }

  async #raiseHand() {
    await this.#call.raiseHand(!this.#call.handRaised).catch(() => {});
    this.#refresh();
  }

  #more() {
    const speaker = this.#tiles.speakerView;
    /** @type {MenuItem[]} */
    const items = [
      { icon: speaker ? "grid" : "speaker", t: speaker ? "call.layout.grid" : "call.layout.speaker", run: () => this.#tiles.setSpeakerView(!speaker) },
      { icon: "settings", t: "call.settings", run: () => this.#devices() },
      { icon: "lock", t: "secure.what", run: () => this.#secure.explain() },
      { icon: "keyboard", t: "call.shortcuts", run: () => this.#shortcuts() },
    ];
    if (matchMedia("(max-width: 719px)").matches) {
      items.unshift(
        { icon: "people", t: "call.people", run: () => this.#press("people") },
        { icon: "hand", t: this.#call.handRaised ? "call.hand.down" : "call.hand.up", run: () => this.#press("hand") },
      );
      if (this.#canShare()) items.unshift({ icon: "screen", t: this.#media.isOn("screen") ? "call.screen.off" : "call.screen.on", run: () => this.#press("screen") });
    }
    toggleMenu(this.#controls.button("more"), items);
  }

  #devices() {
    const pickers = document.createElement("salam-devices");
    pickers.addEventListener("choose", (event) => {
      const { role, deviceId } = /** @type {CustomEvent<{role: DeviceRole, deviceId: string}>} */ (event).detail;
      if (role === "speaker") this.#sink.useSpeaker(deviceId);
      else void this.#media.switchDevice(role);
    });
    openSheet("call.settings", pickers);
  }

  #shortcuts() {
    openShortcuts([
      ["M", "keys.m"],
      ["V", "keys.v"],
      ["S", "keys.s"],
      ["H", "keys.h"],
      ["C", "keys.c"],
      ["G", "keys.g"],
      ["Esc", "keys.esc"],
      ["?", "keys.help"],
    ]);
  }

  /** @param {string} participantId @param {HTMLElement} anchor */
  #moderate(participantId, anchor) {
    const person = this.#call.participants.get(participantId);
    /** @type {MenuItem[]} */
    const items = this.#secure.menuFor(participantId);
    if (!person || !this.#call.moderator) return toggleMenu(anchor, items);
    for (const track of person.tracks ?? []) {
      if (track.muted) continue;
      const run = () => void this.#act("mute", participantId, track.track_id);
      if (track.source === "microphone") items.push({ icon: "mic_off", t: "mod.mute", run });
      if (track.source === "camera") items.push({ icon: "camera_off", t: "mod.mute.video", run });
    }
    if (person.hand_raised) items.push({ icon: "hand", t: "mod.lower", run: () => void this.#act("lower_hand", participantId) });
    items.push({ icon: "close", t: "mod.remove", danger: true, run: () => void this.#act("remove", participantId) });
    toggleMenu(anchor, items);
  }

  /** @param {"mute" | "lower_hand" | "remove"} action @param {string} participantId @param {string} [trackId] */
  async #act(action, participantId, trackId) {
    await this.#call.moderate(action, participantId, trackId).catch((error) => this.#toasts.show("mod.failed", { reason: reasonOf(error) }, { warning: true }));
  }

  /** @param {string} text */
  async #send(text) {
    try {
      await this.#secure.send(text);
    } catch (error) {
      this.#chat.restore(text);
      this.#toasts.show("chat.failed", { reason: this.#secure.reasonOf(error) ?? reasonOf(error) }, { warning: true });
    }
  }

  /** @param {"" | "chat" | "people"} which */
  #show(which) {
    const before = this.#open;
    this.#open = which;
    this.#panel.hidden = which === "";
    this.#root.toggleAttribute("data-panel", which !== "");
    this.#chat.hidden = which !== "chat";
    this.#people.hidden = which !== "people";
    if (which) setText(byId("panel-title"), which === "chat" ? "chat.title" : "call.people");
    this.#controls.set("chat", which === "chat");
    this.#controls.set("people", which === "people");
    if (which === "chat") {
      this.#unread = 0;
      this.#controls.unread = 0;
      this.#chat.toEnd();
      this.#chat.focusField();
    } else if (which === "" && before) {
      // Back to where one came from; on a phone that is in the menu.
      const from = this.#controls.button(before);
      (from.offsetParent ? from : this.#controls.button("more")).focus({ preventScroll: true });
    }
    this.#refresh();
  }

  /** @param {ParticipantInfo} person */
  #updated(person) {
    const tile = this.#tiles.tile(person.participant_id);
    const before = tile?.hasAttribute("data-hand") ?? false;
    if (person.hand_raised && !before && person.participant_id !== this.#call.participantId) this.#toasts.show("call.hand.raised", { name: person.name });
    tile?.toggleAttribute("data-hand", person.hand_raised ?? false);
    this.#refresh();
  }

  #refresh() {
    const call = this.#call;
    this.#tiles.sync();
    this.#controls.set("microphone", this.#media.isOn("microphone"));
    this.#controls.set("camera", this.#media.isOn("camera"));
    this.#controls.set("screen", this.#media.isOn("screen"));
    this.#controls.set("hand", call.handRaised);
    for (const control of /** @type {Control[]} */ (["microphone", "camera", "screen"])) this.#controls.allow(control, call.canPublish);
    this.#controls.button("screen").hidden = !this.#canShare();
    this.#showSharing(this.#media.isOn("screen"));
    const everybody = call.participants.size + 1;
    setText(byId("room-count"), "home.people", { n: everybody });
    this.#alone.hidden = call.participants.size > 0;
    this.#root.toggleAttribute("data-alone", call.participants.size === 0);
    this.#secure.show();
    this.#showPeople();
  }

  #showPeople() {
    if (this.#open !== "people") return;
    const everybody = [...this.#call.participants.values(), this.#self()];
    this.#people.show(everybody.map((person) => ({ ...person, trust: this.#secure.wordsFor(person.participant_id) })), this.#call.moderator);
  }

  /** @param {boolean} on */
  #showSharing(on) {
    // Shown anew it would lose the focus.
    if (on !== this.#sharing.hidden) return;
    this.#root.toggleAttribute("data-sharing", on);
    if (!on) return this.#sharing.hide();
    this.#sharing.show({ t: "call.screen.own", sign: "screen", action: { t: "call.screen.off", run: () => void this.#media.stopScreen() } });
  }

  /** @returns {ParticipantInfo & {own: true}} */
  #self() {
    const { participantId, name, handRaised, moderator } = this.#call;
    const muted = !this.#media.isOn("microphone");
    return { participant_id: participantId, name, hand_raised: handRaised, moderator, tracks: [{ track_id: "", kind: "audio", source: "microphone", muted }], own: true };
  }

  #showOwnQuality() {
    const { link } = this.#call.stats;
    const reported = this.#call.quality.get(this.#call.participantId);
    // The server and this page see different halves of the way: the worse view is the true one.
    const own = { participant_id: this.#call.participantId, score: link.score, reason: link.reason, rtt_ms: link.rttMs, loss_percent: link.lossPercent };
    this.#tiles.showQuality([reported && reported.score < own.score ? reported : own]);
  }

  /** @param {SignalingStatus} status */
  #connection(status) {
    this.#tiles.qualityKnown = status.state === "open" && this.#call.mediaConnected;
    if (status.state === "open") {
      this.#banner.hide();
      if (this.#lost) this.#toasts.show("call.back");
      this.#lost = null;
      return;
    }
    if (status.state !== "reconnecting") return;
    this.#lost ??= { sinceMs: performance.now(), drain: status.cause === "drain" };
    // Who speaks is what the server says, and it says nothing now.
    this.#tiles.showSpeakers([]);
    this.#banner.show({
      t: this.#lostWords(status, this.#lost),
      more: ["call.reconnecting.try", { n: Math.max(1, status.attempt) }],
      busy: true,
      action: { t: "call.reconnecting.now", run: () => this.#signaling.retryNow() },
    });
  }

  /** @param {SignalingStatus} status @param {{sinceMs: number, drain: boolean}} lost @returns {Key} */
  #lostWords({ cause }, { sinceMs, drain }) {
    // Nobody keeps a place for longer than that.
    const keptMs = (this.#signaling.welcome?.resume_grace_s ?? 0) * 1_000;
    if (performance.now() - sinceMs > keptMs) return "call.reconnecting.long";
    if (drain) return "call.reconnecting.drain";
    return cause === "offline" ? "call.reconnecting.offline" : "call.reconnecting";
  }

  /** @param {boolean} up */
  #mediaState(up) {
    this.#tiles.qualityKnown = up && this.#signaling.status.state === "open";
    if (this.#signaling.status.state !== "open") return;
    if (up) this.#banner.hide();
    else this.#banner.show({ t: "call.media.lost", busy: true });
  }

  /** @param {boolean} blocked */
  #soundBlocked(blocked) {
    if (!blocked) return this.#banner.hide();
    this.#banner.show({ t: "call.sound.blocked", action: { t: "call.sound.enable", run: () => void this.#sink.resume() } });
  }

  /** @param {ShownLine} line */
  #said(line) {
    this.#chat.add(line);
    if (this.#open === "chat" || line.participant_id === this.#call.participantId) return;
    this.#controls.unread = ++this.#unread;
  }

  #makeAlone() {
    const copy = h("button", { class: "button primary", type: "button" }, icon("copy"), h("span", { t: "call.alone.copy" }));
    // Whoever follows it is in the same kind of call.
    const link = `${location.origin}${location.pathname}${this.#call.encryption ? "?e2ee=1" : ""}`;
    copy.addEventListener("click", async () => {
      await navigator.clipboard?.writeText(link).catch(() => {});
      this.#toasts.show("call.alone.copied");
    });
    this.#alone.replaceChildren(h("strong", { t: "call.alone.title" }), h("span", { t: "call.alone.hint" }), h("code", { dir: "ltr" }, link.replace(/^https?:\/\//, "")), copy);
    setLabel(this.#alone, "call.alone.title");
  }

  #canShare() {
    return typeof navigator.mediaDevices?.getDisplayMedia === "function";
  }

  #mayHide() {
    const busy = this.#open !== "" || this.#call.participants.size === 0 || !this.#banner.hidden;
    if (busy || document.querySelector("dialog[open], .menu, .control:focus-visible, salam-controls:hover")) return false;
    // Hiding makes room for the tiles, which moves their buttons: not while one is about to be pressed, as those of a person who
    // was lost are likely to be.
    return !document.querySelector(".tile-button:is(:hover, :focus-visible), salam-tile[data-away]:hover");
  }
}
