import { mediaPath } from "./ice.js";
import { linkQuality, receivedBy, sent, uplink } from "./stats.js";

/** @import { SentStats, TrackStats, LinkQuality } from "./stats.js" */
/** @import { Call } from "./call.js" */

// Twice a second: fresh enough for a test that polls, cheap enough for a room of many tracks.
const SAMPLE_MS = 500;

/** Samples a call's statistics in the background, so that the newest state can be read at any time. */
export class CallStats {
  /** @type {TrackStats[]} */ tracks = [];
  /** @type {SentStats[]} */ sent = [];
  /** @type {LinkQuality} */ link = { rttMs: 0, lossPercent: 0, score: 3, reason: "good" };
  /** How media gets to the server and from it, see `mediaPath`; empty while it does not. */
  publishPath = "";
  subscribePath = "";
  /** @type {Map<string, {lost: number, packets: number}>} */ #before = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #call;
  #onSample;

  /** @param {Call} call @param {() => void} [onSample] */
  constructor(call, onSample = () => {}) {
    this.#call = call;
    this.#onSample = onSample;
    this.#later();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #later() {
    this.#timer = setTimeout(async () => {
      await this.#sample().catch(() => {});
      if (this.#timer !== undefined) this.#later();
    }, SAMPLE_MS);
  }

  async #sample() {
    const { publisher, subscriber } = this.#call;
    const [up, down] = await Promise.all([publisher?.pc.getStats(), subscriber?.pc.getStats()]);
    this.publishPath = (up && mediaPath(up)?.label) ?? "";
    this.subscribePath = (down && mediaPath(down)?.label) ?? "";
    const own = up ? uplink(up) : { rttMs: 0, lossPercent: 0 };
    const mids = new Map(publisher?.pc.getTransceivers().map((transceiver) => [transceiver.mid, transceiver]));
    this.sent = up && publisher ? sent(up, (mid) => publisher.sourceOfTransceiver(mids.get(mid)) ?? "") : [];
    let lost = 0;
    let packets = 0;
    this.tracks = [];
    for (const track of subscriber?.tracks.values() ?? []) {
      const row = down && receivedBy(down, track.mid);
      const info = this.#call.trackInfo(track.track_id);
      if (row) {
        const before = this.#before.get(track.track_id) ?? { lost: 0, packets: 0 };
        lost += Math.max(0, row.packets_lost - before.lost);
        packets += Math.max(0, row.packets - before.packets);
        this.#before.set(track.track_id, { lost: row.packets_lost, packets: row.packets });
      }
      this.tracks.push({
        participant: track.participant_id,
        name: this.#call.participants.get(track.participant_id)?.name ?? "",
        track_id: track.track_id,
        source: track.source,
        kind: track.kind,
        muted: info?.muted ?? false,
        layer: this.#call.layers.get(track.track_id) ?? "",
        ...(row ?? NOTHING),
      });
    }
    for (const id of this.#before.keys()) if (!subscriber?.tracks.has(id)) this.#before.delete(id);
    this.link = linkQuality({
      connected: this.#call.mediaConnected,
      rttMs: Math.max(own.rttMs, down ? uplink(down).rttMs : 0),
      uplinkLossPercent: own.lossPercent,
      downlinkLossPercent: packets + lost > 0 ? (100 * lost) / (packets + lost) : 0,
    });
    this.#onSample();
  }
}

const NOTHING = Object.freeze({
  width: 0,
  height: 0,
  frames_decoded: 0,
  frames_per_second: 0,
  freezes: 0,
  freeze_seconds: 0,
  audio_energy: 0,
  codec: "",
  bytes: 0,
  packets_lost: 0,
  jitter_ms: 0,
});
