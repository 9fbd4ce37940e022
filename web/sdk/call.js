import { CallStats } from "./call_stats.js";
import { CallEncryption } from "./e2ee/call_encryption.js";
import { Emitter } from "./emitter.js";
import { rtcConfiguration, sameServers } from "./ice.js";
import { LayerRequests } from "./layers.js";
import { Publisher } from "./publisher.js";
import { Subscriber } from "./subscriber.js";

/** @import { CallKeySource } from "./e2ee/call_encryption.js" */
/** @import { Signaling } from "./signaling.js" */
/** @import { RemoteTrack } from "./subscriber.js" */
/** @import { ChatLine, IceServer, Joined, ParticipantInfo, QualityReport, Source, SpeakerLevel, SubscribeOffer, TrackInfo, Welcome } from "./messages.js" */
/**
 * @typedef {object} CallEvents
 * @property {Joined} joined  entered the room, at first or again
 * @property {ParticipantInfo} participant_joined
 * @property {{participant: ParticipantInfo, reason: string}} participant_left
 * @property {ParticipantInfo} participant_updated
 * @property {RemoteTrack} track
 * @property {RemoteTrack} track_ended
 * @property {SpeakerLevel[]} speakers
 * @property {QualityReport[]} quality
 * @property {ChatLine} chat
 * @property {{source: Source, by: string}} mute_requested
 * @property {{reason: string}} removed  `gone`: while the connection was lost, so that nobody could say why
 * @property {{source: Source}} local  an own track was published, muted, replaced or stopped
 * @property {boolean} media  whether both media connections stand
 * @property {Error} failed  the room could not be entered again
 * @property {null} stats
 */

// What a chat panel can sensibly hold; the server keeps fewer.
const MAX_CHAT_LINES = 500;

/**
 * One participant in one room: who is there, their tracks, the own tracks, chat and moderation.
 *
 * After a lost connection the session is taken over where possible; otherwise the room is entered again and everything that was
 * published is published again, without the user's help.
 *
 * @extends {Emitter<CallEvents>}
 */
export class Call extends Emitter {
  /** @type {Map<string, ParticipantInfo>} */ participants = new Map();
  /** @type {Map<string, string>} */ layers = new Map();
  /** @type {Map<string, QualityReport>} */ quality = new Map();
  /** @type {ChatLine[]} */ chat = [];
  /** @type {Map<Source, {track: MediaStreamTrack | null, muted: boolean}>} */ local = new Map();
  /** @type {Publisher | null} */ publisher = null;
  /** @type {Subscriber | null} */ subscriber = null;
  /** @type {CallEncryption | null} */ encryption = null;
  participantId = "";
  moderator = false;
  canPublish = true;
  handRaised = false;
  mediaConnected = true;
  /** @type {(() => void)[]} */ #off = [];
  #signaling;
  #codec;
  #relayOnly;
  /** @type {IceServer[]} */ #iceServers = [];
  #layerRequests;
  #room = "";
  #name = "";
  #ended = false;
  // The server says it unasked after a resumed hello, and only to those who are still in a room.
  #stillSeated = false;
  // A fresh connection of a participant that the server knows already: the offers so far were for the one before.
  #offerWanted = false;

  /**
   * @param {{signaling: Signaling, codec?: "vp8" | "h264", relayOnly?: boolean}} options  `relayOnly`: media goes through one of the
   *   server's relays or not at all, for whoever hides their address, and for tests
   */
  constructor({ signaling, codec = "vp8", relayOnly = false }) {
    super();
    this.#signaling = signaling;
    this.#codec = codec;
    this.#relayOnly = relayOnly;
    this.#layerRequests = new LayerRequests((trackId, height) => {
      signaling.request("set_layer", { track_id: trackId, height: Math.min(height, 8640) }).catch(() => {});
    });
    this.stats = new CallStats(this, () => this.emit("stats", null));
    this.#listen();
  }

  get room() {
    return this.#room;
  }

  get name() {
    return this.#name;
  }

  /**
   * Encrypts everything that is sent end to end, and plays nothing that does not come encrypted from the key of whom it is said to be.
   *
   * To be called before `join`. Without the others' keys nothing of them is seen or heard; nothing falls back to the clear.
   *
   * @param {{keys: CallKeySource}} options  throws a DOMException named `NotSupportedError` where the browser cannot, and
   *   `InvalidStateError` in a call that has begun
   */
  enableEncryption({ keys }) {
    if (this.publisher || this.encryption) throw new DOMException("encryption is switched on once, before joining", "InvalidStateError");
    this.encryption = new CallEncryption({ keys, onFailed: () => this.emit("failed", new Error("the encryption of the call stopped")) });
  }

  /**
   * Enters a room.
   *
   * @param {{room: string, name: string}} options
   * @returns {Promise<Joined>} rejects with SalamError: `room_full`, a token's code, ...
   */
  async join({ room, name }) {
    this.#room = room;
    this.#name = name;
    // Held over a reconnection: the server answers somebody who has entered already with the room as it is.
    const joined = await this.#signaling.request("join", { room, name }, { hold: true });
    this.#enter(joined);
    return joined;
  }

  /** @param {Source} source @param {MediaStreamTrack | null} track  null: published muted, without a device @param {{muted?: boolean}} [options] */
  async publish(source, track, { muted = false } = {}) {
    const before = this.local.get(source);
    this.local.set(source, { track, muted });
    if (before?.track && before.track !== track) before.track.stop();
    if (track) {
      if (track.kind === "audio") track.enabled = !muted;
      if (this.publisher && this.canPublish) await this.publisher.publish(source, track, { muted });
    }
    this.emit("local", { source });
  }

  /** @param {Source} source */
  async unpublish(source) {
    this.local.get(source)?.track?.stop();
    this.local.delete(source);
    this.emit("local", { source });
    await this.publisher?.unpublish(source);
  }

  /**
   * Mutes or unmutes an own source. A muted camera is released, so that its light goes out; a microphone stays open to be quick.
   *
   * @param {Source} source
   * @param {boolean} muted
   * @param {MediaStreamTrack} [fresh]  the newly opened camera when unmuting one
   */
  async setMuted(source, muted, fresh) {
    const local = this.local.get(source);
    if (!local) return;
    const track = fresh ?? local.track;
    if (track?.kind === "audio") track.enabled = !muted;
    if (track?.kind === "video" && muted) track.stop();
    const kept = track?.kind === "video" && muted ? null : track;
    this.local.set(source, { track: kept, muted });
    this.emit("local", { source });
    if (fresh && this.publisher?.trackId(source) === "" && this.canPublish) await this.publisher.publish(source, fresh, { muted });
    else await this.publisher?.setMuted(source, muted, kept);
  }

  /** @param {boolean} raised */
  async raiseHand(raised) {
    await this.#signaling.request("raise_hand", { raised });
    this.handRaised = raised;
  }

  /** Sends a line; it survives a reconnection and is never shown twice. @param {string} text */
  sendChat(text) {
    return this.#signaling.request("chat", { chat_id: crypto.randomUUID?.() ?? fallbackId(), text }, { hold: true });
  }

  /** @param {"mute" | "lower_hand" | "remove"} action @param {string} participantId @param {string} [trackId] */
  moderate(action, participantId, trackId = "") {
    return this.#signaling.request("moderate", { action, participant_id: participantId, track_id: trackId });
  }

  /** How high a remote video is shown, in device pixels; 0 stops it. @param {string} trackId @param {number} height */
  setShownHeight(trackId, height) {
    this.#layerRequests.want(trackId, height);
  }

  /** @param {boolean} hidden  the whole page */
  setHidden(hidden) {
    this.#layerRequests.setHidden(hidden);
  }

  /** @param {string} trackId @returns {TrackInfo | undefined} */
  trackInfo(trackId) {
    for (const participant of this.participants.values()) {
      const found = participant.tracks?.find((track) => track.track_id === trackId);
      if (found) return found;
    }
    return undefined;
  }

  /** Leaves the room and stops everything; the signaling connection stays the caller's. */
  async leave() {
    if (this.#ended) return;
    await this.#signaling.request("leave", {}, { timeoutMs: 1_000 }).catch(() => {});
    this.#end();
  }

  /** What the page knows, for tests and support. */
  debug() {
    return {
      room: this.#room,
      participant_id: this.participantId,
      moderator: this.moderator,
      hand_raised: this.handRaised,
      media_connected: this.mediaConnected,
      publish_state: this.publisher?.pc.iceConnectionState ?? "closed",
      subscribe_state: this.subscriber?.pc.iceConnectionState ?? "closed",
      publish_path: this.stats.publishPath,
      subscribe_path: this.stats.subscribePath,
      participants: [...this.participants.values()],
      raised_hands: [...this.participants.values()].filter((participant) => participant.hand_raised).map((participant) => participant.participant_id),
      chat_lines: this.chat.length,
      tracks: this.stats.tracks,
      sent: this.stats.sent,
      local: [...this.local].map(([source, { track, muted }]) => ({ source, muted, live: track?.readyState === "live" })),
      quality: [...this.quality.values()],
      link: this.stats.link,
      encryption: this.encryption?.state ?? null,
    };
  }

  #listen() {
    const server = this.#signaling;
    this.#off = [
      server.on("participant_joined", ({ participant }) => {
        if (participant.participant_id === this.participantId) return;
        this.participants.set(participant.participant_id, participant);
        this.encryption?.keys.joined(participant.participant_id);
        this.emit("participant_joined", participant);
      }),
      server.on("participant_left", ({ participant_id, reason = "left" }) => this.#remove(participant_id, reason)),
      server.on("participant_updated", ({ participant }) => this.#update(participant)),
      server.on("room_state", () => void (this.#stillSeated = true)),
      server.on("ice_servers", ({ ice_servers = [] }) => this.#useIceServers(ice_servers)),
      server.on("subscribe_offer", (offer) => this.#offered(offer)),
      server.on("layer_changed", ({ track_id, rid = "" }) => void this.layers.set(track_id, rid)),
      server.on("speakers", ({ speakers = [] }) => this.emit("speakers", speakers)),
      server.on("quality", ({ reports = [] }) => {
        for (const report of reports) this.quality.set(report.participant_id, report);
        this.emit("quality", reports);
      }),
      server.on("chat_line", ({ line, stream = "" }) => stream === "" && this.#line(line)),
      server.on("mute_requested", ({ track_id, by = "" }) => this.#muteRequested(track_id, by)),
      server.on("removed", ({ reason }) => this.#takenOut(reason)),
      server.on("welcome", (welcome) => void this.#welcomed(welcome)),
    ];
    const changed = () => this.#networkChanged();
    globalThis.addEventListener("online", changed);
    /** @type {any} */
    const connection = /** @type {any} */ (navigator).connection;
    connection?.addEventListener("change", changed);
    this.#off.push(() => {
      globalThis.removeEventListener("online", changed);
      connection?.removeEventListener("change", changed);
    });
  }

  /** @param {ParticipantInfo} participant */
  #update(participant) {
    if (participant.participant_id === this.participantId) {
      this.handRaised = participant.hand_raised ?? false;
      this.moderator = participant.moderator ?? false;
    } else {
      this.participants.set(participant.participant_id, participant);
    }
    this.emit("participant_updated", participant);
  }

  /** @param {string} id @param {string} reason */
  #remove(id, reason) {
    const participant = this.participants.get(id);
    if (!participant) return;
    this.participants.delete(id);
    this.quality.delete(id);
    this.encryption?.keys.left(id);
    this.emit("participant_left", { participant, reason });
  }

  /** @param {ChatLine} line */
  #line(line) {
    if (this.chat.some((known) => known.chat_id === line.chat_id)) return;
    this.chat.push(line);
    if (this.chat.length > MAX_CHAT_LINES) this.chat.shift();
    this.emit("chat", line);
  }

  /** @param {string} trackId @param {string} by */
  #muteRequested(trackId, by) {
    const source = this.publisher?.sourceOf(trackId);
    if (!source) return;
    void this.setMuted(source, true);
    this.emit("mute_requested", { source, by });
  }

  /** @param {SubscribeOffer} offer */
  #offered(offer) {
    if (!this.subscriber) return;
    this.#offerWanted = false;
    this.subscriber.accept(offer).catch(() => this.subscriber?.restart());
  }

  /** @param {Welcome} welcome */
  async #welcomed(welcome) {
    if (this.#ended || !this.participantId) return;
    this.#stillSeated = false;
    try {
      if (welcome.resumed) {
        // What follows the welcome has come when this is answered.
        await this.#signaling.request("ping");
        // Entering again would undo what a moderator did meanwhile.
        if (!this.#stillSeated) return this.#takenOut("gone");
      }
      /** @type {Joined} */
      const joined = await this.#signaling.request("join", { room: this.#room, name: this.#name });
      if (welcome.resumed && joined.participant_id === this.participantId) this.#takeUp(joined);
      else this.#enter(joined);
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "connection_lost") return;
      this.emit("failed", /** @type {Error} */ (error));
    }
  }

  /** @param {string} reason */
  #takenOut(reason) {
    if (this.#ended) return;
    this.#end();
    this.emit("removed", { reason });
  }

  /** Brings what is known of the room in line with what the server says. @param {Joined} joined */
  #adopt(joined) {
    this.participantId = joined.participant_id;
    this.moderator = joined.moderator ?? false;
    this.canPublish = joined.can_publish ?? true;
    const others = new Map((joined.participants ?? []).map((participant) => [participant.participant_id, participant]));
    for (const id of [...this.participants.keys()]) if (!others.has(id)) this.#remove(id, "left");
    this.participants = others;
    this.encryption?.keys.entered(this.participantId, [...others.keys()]);
    for (const line of joined.chat ?? []) this.#line(line);
  }

  /** The session is the old one: media that broke meanwhile is mended, media that flows is left alone. @param {Joined} joined */
  #takeUp(joined) {
    this.#adopt(joined);
    this.#useIceServers(joined.ice_servers ?? []);
    if (!isUp(this.publisher?.pc)) this.publisher?.restart();
    if (this.#offerWanted || !isUp(this.subscriber?.pc)) this.subscriber?.restart();
    this.#layerRequests.repeat();
    this.emit("joined", joined);
  }

  /** @param {Joined} joined */
  #enter(joined) {
    this.#adopt(joined);
    this.#iceServers = joined.ice_servers ?? [];
    this.#connect();
    this.emit("joined", joined);
    // The page before a reload may have been this participant; what was offered to it is of no use here.
    this.#offerWanted = this.#signaling.welcome?.resumed ?? false;
    if (this.#offerWanted) this.subscriber?.restart();
    if (this.handRaised) this.raiseHand(true).catch(() => {});
    void this.#publishAll();
  }

  #configuration() {
    return rtcConfiguration(this.#iceServers, { relayOnly: this.#relayOnly });
  }

  /** The server renews credentials before they expire. @param {IceServer[]} iceServers */
  #useIceServers(iceServers) {
    if (this.#ended || sameServers(iceServers, this.#iceServers)) return;
    this.#iceServers = iceServers;
    for (const side of [this.publisher, this.subscriber]) side?.reconfigure(this.#configuration()).catch(() => {});
  }

  #connect() {
    this.publisher?.close();
    this.subscriber?.close();
    const configuration = this.#configuration();
    const publisher = new Publisher({ signaling: this.#signaling, codec: this.#codec, configuration, encryption: this.encryption });
    const subscriber = new Subscriber({ signaling: this.#signaling, configuration, encryption: this.encryption });
    subscriber.on("track", (track) => this.emit("track", track));
    subscriber.on("ended", (track) => {
      this.#layerRequests.forget(track.track_id);
      this.layers.delete(track.track_id);
      this.emit("track_ended", track);
    });
    subscriber.on("connection", (pc) => pc.addEventListener("iceconnectionstatechange", () => this.#mediaState()));
    publisher.pc.addEventListener("iceconnectionstatechange", () => this.#mediaState());
    subscriber.pc.addEventListener("iceconnectionstatechange", () => this.#mediaState());
    this.publisher = publisher;
    this.subscriber = subscriber;
  }

  async #publishAll() {
    if (!this.canPublish) return;
    for (const [source, { track, muted }] of this.local) {
      if (track) await this.publisher?.publish(source, track, { muted }).catch(() => {});
    }
  }

  #mediaState() {
    const up = isUp(this.publisher?.pc) && isUp(this.subscriber?.pc);
    // Broken media is often the first sign of a broken connection: find out now rather than at the next heartbeat.
    if (!up) void this.#signaling.probe();
    if (up === this.mediaConnected) return;
    this.mediaConnected = up;
    this.emit("media", up);
  }

  #networkChanged() {
    this.publisher?.networkChanged();
    this.subscriber?.networkChanged();
  }

  #end() {
    if (this.#ended) return;
    this.#ended = true;
    for (const off of this.#off) off();
    this.stats.stop();
    this.#layerRequests.stop();
    this.publisher?.close();
    this.subscriber?.close();
    this.encryption?.close();
    for (const { track } of this.local.values()) track?.stop();
    this.local.clear();
    this.participants.clear();
  }
}

/** Whether a connection works, or was not needed yet. @param {RTCPeerConnection | undefined} pc */
function isUp(pc) {
  const state = pc?.iceConnectionState ?? "new";
  return state === "new" || state === "checking" || state === "connected" || state === "completed";
}

/** Pages without a secure context have no randomUUID. */
function fallbackId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
