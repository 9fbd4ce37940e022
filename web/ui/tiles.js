import "./stage.js";
import "./tile.js";

/** @import { Call } from "../sdk/call.js" */
/** @import { RemoteTrack } from "../sdk/subscriber.js" */
/** @import { ParticipantInfo, QualityReport, SpeakerLevel } from "../sdk/messages.js" */
/** @import { Stage } from "./stage.js" */
/** @import { Tile } from "./tile.js" */

const OWN = "own";

/** Keeps one tile per person and per shared screen, and decides which of them are large. */
export class Tiles {
  /** @type {Map<string, Tile>} */ #tiles = new Map();
  /** @type {Map<string, number>} */ #heights = new Map();
  /** @type {Map<string, string>} */ #videoTracks = new Map();
  /** @type {Set<string>} */ #pinned = new Set();
  #speaker = "";
  #speakerView = false;
  #qualityKnown = true;
  #call;
  #stage;

  /** @param {Call} call @param {Stage} stage */
  constructor(call, stage) {
    this.#call = call;
    this.#stage = stage;
    stage.addEventListener("pin", (event) => this.togglePin(/** @type {CustomEvent} */ (event).detail));
  }

  get speakerView() {
    return this.#speakerView;
  }

  get count() {
    return this.#tiles.size;
  }

  /** @param {boolean} on */
  setSpeakerView(on) {
    this.#speakerView = on;
    this.arrange();
  }

  /** @param {string} key */
  tile(key) {
    return this.#tiles.get(key);
  }

  /** Brings all tiles in line with who is in the room. */
  sync() {
    const people = [...this.#call.participants.values()];
    const keys = new Set([OWN]);
    for (const person of people) {
      keys.add(person.participant_id);
      this.#showPerson(person);
      const screen = person.tracks?.find((track) => track.source === "screen");
      if (!screen) continue;
      const key = `${person.participant_id}/screen`;
      keys.add(key);
      this.#get(key, person.participant_id).update({ name: person.name, screen: true, videoMuted: screen.muted ?? false });
    }
    for (const key of [...this.#tiles.keys()]) {
      if (keys.has(key)) continue;
      this.#tiles.delete(key);
      this.#pinned.delete(key);
      this.#heights.delete(key);
      this.#videoTracks.delete(key);
    }
    this.showOwn();
    this.arrange();
  }

  showOwn() {
    const { local, name, handRaised } = this.#call;
    const camera = local.get("camera");
    const microphone = local.get("microphone");
    const tile = this.#get(OWN, this.#call.participantId);
    tile.participantId = this.#call.participantId;
    tile.update({ name, own: true, muted: !microphone || microphone.muted, hand: handRaised, videoMuted: !camera?.track || camera.muted });
    tile.showVideo(camera?.track ?? null);
  }

  /** @param {RemoteTrack} track */
  addTrack(track) {
    if (track.kind !== "video") return;
    const key = track.source === "screen" ? `${track.participant_id}/screen` : track.participant_id;
    const person = this.#call.participants.get(track.participant_id);
    const tile = this.#get(key, track.participant_id);
    tile.update({ name: person?.name ?? "", screen: track.source === "screen" });
    this.#videoTracks.set(key, track.track_id);
    tile.showVideo(track.media);
    const height = this.#heights.get(key);
    if (height !== undefined) this.#call.setShownHeight(track.track_id, height);
    this.sync();
  }

  /** @param {RemoteTrack} track */
  removeTrack(track) {
    for (const [key, id] of this.#videoTracks) {
      if (id !== track.track_id) continue;
      this.#videoTracks.delete(key);
      this.#tiles.get(key)?.showVideo(null);
    }
    this.sync();
  }

  /** @param {SpeakerLevel[]} speakers  loudest first */
  showSpeakers(speakers) {
    const now = new Set(speakers.map((speaker) => speaker.participant_id));
    for (const tile of this.#tiles.values()) tile.speaking = now.has(tile.participantId) && !tile.key.endsWith("/screen");
    const loudest = speakers.find((speaker) => speaker.participant_id !== this.#call.participantId);
    if (!loudest || loudest.participant_id === this.#speaker) return;
    this.#speaker = loudest.participant_id;
    if (this.#speakerView) this.arrange();
  }

  /** @param {QualityReport[]} reports */
  showQuality(reports) {
    for (const report of reports) this.#tiles.get(report.participant_id === this.#call.participantId ? OWN : report.participant_id)?.showQuality(report);
  }

  /** Whether anything is heard of how the others' connections are. @param {boolean} known */
  set qualityKnown(known) {
    this.#qualityKnown = known;
    for (const tile of this.#tiles.values()) tile.qualityKnown = known;
  }

  /** @param {string} key */
  togglePin(key) {
    if (!this.#pinned.delete(key)) this.#pinned.add(key);
    for (const [at, tile] of this.#tiles) tile.pinned = this.#pinned.has(at);
    this.arrange();
  }

  arrange() {
    const keys = [...this.#tiles.keys()].filter((key) => key !== OWN);
    keys.push(OWN);
    const large = this.#large(keys);
    const ordered = [...large, ...keys.filter((key) => !large.includes(key))];
    this.#stage.show(ordered.flatMap((key) => this.#tiles.get(key) ?? []), large.length === keys.length ? 0 : large.length);
  }

  /** @param {string[]} keys  oneself last @returns {string[]} */
  #large(keys) {
    const pinned = keys.filter((key) => this.#pinned.has(key));
    if (pinned.length > 0) return pinned;
    const screens = keys.filter((key) => key.endsWith("/screen"));
    if (screens.length > 0) return screens;
    if (!this.#speakerView || keys.length < 2) return [];
    return [keys.includes(this.#speaker) ? this.#speaker : /** @type {string} */ (keys[0])];
  }

  /** @param {ParticipantInfo} person */
  #showPerson(person) {
    const camera = person.tracks?.find((track) => track.source === "camera");
    const microphone = person.tracks?.find((track) => track.source === "microphone");
    const tile = this.#get(person.participant_id, person.participant_id);
    tile.update({
      name: person.name,
      muted: !microphone || (microphone.muted ?? false),
      hand: person.hand_raised ?? false,
      away: !(person.connected ?? true),
      videoMuted: !camera || (camera.muted ?? false),
    });
    tile.moderatable = this.#call.moderator;
  }

  /** @param {string} key @param {string} participantId */
  #get(key, participantId) {
    let tile = this.#tiles.get(key);
    if (tile) return tile;
    tile = /** @type {Tile} */ (document.createElement("salam-tile"));
    tile.key = key;
    tile.participantId = participantId;
    tile.qualityKnown = this.#qualityKnown;
    tile.addEventListener("shown", (event) => {
      const height = /** @type {CustomEvent<number>} */ (event).detail;
      this.#heights.set(key, height);
      const trackId = this.#videoTracks.get(key);
      if (trackId) this.#call.setShownHeight(trackId, height);
    });
    this.#tiles.set(key, tile);
    return tile;
  }
}
