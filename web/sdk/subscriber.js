import { Emitter } from "./emitter.js";
import { reconfigure } from "./ice.js";
import { Recovery } from "./recovery.js";

/** @import { CallEncryption } from "./e2ee/call_encryption.js" */
/** @import { Signaling } from "./signaling.js" */
/** @import { SubscribedTrack, SubscribeOffer } from "./messages.js" */
/** @typedef {SubscribedTrack & {media: MediaStreamTrack}} RemoteTrack */
/** @typedef {{track: RemoteTrack, ended: RemoteTrack, connection: RTCPeerConnection}} SubscriberEvents */

/**
 * The connection on which everybody else's tracks come in: the server offers, the client answers. Only the newest offer counts.
 *
 * @extends {Emitter<SubscriberEvents>}
 */
export class Subscriber extends Emitter {
  /** @type {Map<string, RemoteTrack>} */ tracks = new Map();
  /** @type {SubscribeOffer | null} */ #waiting = null;
  #busy = false;
  #revision = -1;
  #signaling;
  #configuration;
  #encryption;
  #closed = false;

  /** @param {{signaling: Signaling, configuration: RTCConfiguration, encryption?: CallEncryption | null}} options */
  constructor({ signaling, configuration, encryption = null }) {
    super();
    this.#signaling = signaling;
    this.#configuration = configuration;
    this.#encryption = encryption;
    this.pc = this.#connection();
    this.recovery = new Recovery(this.pc, () => this.restart());
  }

  /** @param {SubscribeOffer} offer */
  async accept(offer) {
    if (!this.#waiting || offer.revision >= this.#waiting.revision) this.#waiting = offer;
    if (this.#busy) return;
    this.#busy = true;
    try {
      while (this.#waiting && !this.#closed) {
        const next = this.#waiting;
        this.#waiting = null;
        if (next.revision >= this.#revision) await this.#answer(next);
      }
    } finally {
      this.#busy = false;
    }
  }

  /** Asks the server for an offer with new ICE credentials. */
  restart() {
    this.#signaling.request("restart_ice").catch(() => {});
  }

  /** Uses other ICE servers from now on; a relay is asked for anew. @param {RTCConfiguration} configuration */
  async reconfigure(configuration) {
    this.#configuration = configuration;
    if (await reconfigure(this.pc, configuration)) this.restart();
  }

  networkChanged() {
    this.recovery.now();
  }

  close() {
    this.#closed = true;
    this.recovery.stop();
    this.#encryption?.release(this.pc);
    this.pc.close();
    for (const track of [...this.tracks.values()]) this.#end(track);
  }

  #connection() {
    return new RTCPeerConnection(this.#configuration);
  }

  /** @param {SubscribeOffer} offer */
  async #answer(offer) {
    try {
      await this.pc.setRemoteDescription({ type: "offer", sdp: offer.sdp });
    } catch {
      // The server lost the old connection (it was restarted, say) and describes a new one.
      this.recovery.stop();
      this.#encryption?.release(this.pc);
      this.pc.close();
      for (const track of [...this.tracks.values()]) this.#end(track);
      this.pc = this.#connection();
      this.recovery = new Recovery(this.pc, () => this.restart());
      this.emit("connection", this.pc);
      await this.pc.setRemoteDescription({ type: "offer", sdp: offer.sdp });
    }
    this.#protect(offer.tracks ?? []);
    await this.pc.setLocalDescription(await this.pc.createAnswer());
    this.#revision = offer.revision;
    const answered = this.#signaling.request("subscribe_answer", { revision: offer.revision, sdp: this.pc.localDescription?.sdp });
    this.#match(offer.tracks ?? []);
    // A lost answer is offered again by the server.
    await answered.catch(() => {});
  }

  /** Before the answer, so that no frame passes by the decryption. @param {SubscribedTrack[]} offered */
  #protect(offered) {
    for (const { mid, receiver } of this.pc.getTransceivers()) {
      const track = offered.find((known) => known.mid === mid) ?? null;
      this.#encryption?.protectReceiver(receiver, track, receiver.track.kind === "audio" ? "opus" : "vp8");
    }
  }

  /** @param {SubscribedTrack[]} offered */
  #match(offered) {
    const current = new Map(offered.map((track) => [track.track_id, track]));
    for (const track of [...this.tracks.values()]) {
      if (current.get(track.track_id)?.mid !== track.mid) this.#end(track);
    }
    for (const transceiver of this.pc.getTransceivers()) {
      const info = offered.find((track) => track.mid === transceiver.mid);
      if (!info || this.tracks.has(info.track_id)) continue;
      const track = { ...info, media: transceiver.receiver.track };
      this.tracks.set(info.track_id, track);
      this.emit("track", track);
    }
  }

  /** @param {RemoteTrack} track */
  #end(track) {
    this.tracks.delete(track.track_id);
    this.emit("ended", track);
  }
}
