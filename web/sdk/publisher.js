import { CallEncryption } from "./e2ee/call_encryption.js";
import { reconfigure } from "./ice.js";
import { SIMULCAST } from "./layers.js";
import { Recovery } from "./recovery.js";

/** @import { Signaling } from "./signaling.js" */
/** @import { PublishAnswer, PublishedTrack, Source } from "./messages.js" */
/** @typedef {{transceiver: RTCRtpTransceiver, muted: boolean, active: boolean, trackId: string}} Slot */

// Readable text at 1080p and moderate motion.
const SCREEN_MAX_BPS = 2_500_000;
// Opus speech is transparent near 32 kbit/s; a shared tab's sound is music as often as speech.
const AUDIO_MAX_BPS = { microphone: 40_000, screen_audio: 96_000 };

/** The connection on which the own tracks go out: the client offers, the server answers. One m-line per source, kept for reuse. */
export class Publisher {
  /** @type {Map<Source, Slot>} */ #slots = new Map();
  /** @type {Promise<void>} */ #turn = Promise.resolve();
  #signaling;
  #codec;
  #encryption;
  #recovery;

  /** @param {{signaling: Signaling, codec: "vp8" | "h264", configuration: RTCConfiguration, encryption?: CallEncryption | null}} options */
  constructor({ signaling, codec, configuration, encryption = null }) {
    this.#signaling = signaling;
    this.#codec = codec;
    this.#encryption = encryption;
    this.pc = new RTCPeerConnection(configuration);
    this.#recovery = new Recovery(this.pc, () => this.restart());
  }

  /**
   * Starts sending a track, or replaces the one that the source sends already (no negotiation then).
   *
   * @param {Source} source
   * @param {MediaStreamTrack} track
   * @param {{muted?: boolean}} [options]
   */
  async publish(source, track, { muted = false } = {}) {
    const slot = this.#slots.get(source);
    if (slot?.active) {
      await slot.transceiver.sender.replaceTrack(track);
      return;
    }
    if (slot) {
      await slot.transceiver.sender.replaceTrack(track);
      slot.transceiver.direction = "sendonly";
      slot.active = true;
      slot.muted = muted;
    } else {
      this.#slots.set(source, { transceiver: this.#add(source, track), muted, active: true, trackId: "" });
    }
    await this.negotiate();
  }

  /** Stops sending a source for good. @param {Source} source */
  async unpublish(source) {
    const slot = this.#slots.get(source);
    if (!slot?.active) return;
    slot.active = false;
    slot.trackId = "";
    slot.transceiver.direction = "inactive";
    await slot.transceiver.sender.replaceTrack(null);
    await this.negotiate();
  }

  /**
   * Tells the room that a source is muted or not, and changes what is sent for it.
   *
   * @param {Source} source
   * @param {boolean} muted
   * @param {MediaStreamTrack | null} track  what to send from now on; null releases the device
   */
  async setMuted(source, muted, track) {
    const slot = this.#slots.get(source);
    if (!slot?.active) return;
    slot.muted = muted;
    await slot.transceiver.sender.replaceTrack(track);
    if (slot.trackId) await this.#signaling.request("mute", { track_id: slot.trackId, muted }).catch(ignoreLost);
  }

  /** The server's id of the track of a source; empty while there is none. @param {Source} source */
  trackId(source) {
    return this.#slots.get(source)?.trackId ?? "";
  }

  /** The source of an own track. @param {string} trackId @returns {Source | undefined} */
  sourceOf(trackId) {
    for (const [source, slot] of this.#slots) if (slot.trackId === trackId) return source;
    return undefined;
  }

  /** @param {RTCRtpTransceiver | undefined} transceiver @returns {Source | undefined} */
  sourceOfTransceiver(transceiver) {
    for (const [source, slot] of this.#slots) if (slot.transceiver === transceiver) return source;
    return undefined;
  }

  /** New ICE credentials on the same connection, because the path is broken or the network changed. */
  restart() {
    if (this.#slots.size === 0) return;
    this.pc.restartIce();
    this.negotiate().catch(ignoreLost);
  }

  /** Uses other ICE servers from now on; a relay is asked for anew. @param {RTCConfiguration} configuration */
  async reconfigure(configuration) {
    if (await reconfigure(this.pc, configuration)) this.restart();
  }

  networkChanged() {
    this.#recovery.now();
  }

  /** Offers the current state; offers follow one another, never cross. */
  negotiate() {
    const turn = this.#turn.catch(() => {}).then(() => this.#offer());
    this.#turn = turn;
    return turn;
  }

  close() {
    this.#recovery.stop();
    this.#encryption?.release(this.pc);
    this.pc.close();
  }

  async #offer() {
    if (this.pc.signalingState === "closed") return;
    await this.pc.setLocalDescription(await this.pc.createOffer());
    /** @type {PublishedTrack[]} */
    const tracks = [];
    for (const [source, { transceiver, active, muted }] of this.#slots) {
      if (active && transceiver.mid !== null) tracks.push({ mid: transceiver.mid, source, muted });
    }
    /** @type {PublishAnswer} */
    let answer;
    try {
      answer = await this.#signaling.request("publish_offer", { sdp: this.pc.localDescription?.sdp, tracks });
    } catch (error) {
      await this.#rollback();
      throw error;
    }
    if (this.#closed()) return;
    await this.pc.setRemoteDescription({ type: "answer", sdp: answer.sdp });
    for (const slot of this.#slots.values()) {
      if (slot.active && slot.transceiver.mid !== null) slot.trackId = answer.track_ids[slot.transceiver.mid] ?? slot.trackId;
    }
  }

  #closed() {
    return this.pc.signalingState === "closed";
  }

  async #rollback() {
    if (this.pc.signalingState === "have-local-offer") await this.pc.setLocalDescription({ type: "rollback" });
  }

  /** @param {Source} source @param {MediaStreamTrack} track */
  #add(source, track) {
    const streams = [new MediaStream([track])];
    if (track.kind === "audio") {
      const maxBitrate = AUDIO_MAX_BPS[source === "screen_audio" ? "screen_audio" : "microphone"];
      const sendEncodings = [{ maxBitrate, priority: /** @type {const} */ ("high"), networkPriority: /** @type {const} */ ("high") }];
      const transceiver = this.pc.addTransceiver(track, { direction: "sendonly", streams, sendEncodings });
      this.#encryption?.protectSender(transceiver.sender, source, "opus");
      return transceiver;
    }
    const sendEncodings = source === "camera" ? SIMULCAST.map((encoding) => ({ ...encoding })) : [{ maxBitrate: SCREEN_MAX_BPS }];
    const transceiver = this.pc.addTransceiver(track, { direction: "sendonly", streams, sendEncodings });
    this.#preferCodec(transceiver);
    this.#encryption?.protectSender(transceiver.sender, source, this.#codec);
    return transceiver;
  }

  /** @param {RTCRtpTransceiver} transceiver */
  #preferCodec(transceiver) {
    const wanted = `video/${this.#codec}`;
    const known = RTCRtpSender.getCapabilities("video")?.codecs ?? [];
    const all = this.#encryption ? known.filter(({ mimeType }) => CallEncryption.allows(mimeType)) : known;
    const first = all.filter((codec) => codec.mimeType.toLowerCase() === wanted);
    if (first.length === 0 || !("setCodecPreferences" in transceiver)) return;
    transceiver.setCodecPreferences([...first, ...all.filter((codec) => !first.includes(codec))]);
  }
}

/** A request that was on its way when the connection was lost: the session is taken up again and tells its state anew. @param {unknown} error */
function ignoreLost(error) {
  if (!(error instanceof Error) || !("retryable" in error) || !error.retryable) throw error;
}
