/** @import { QualityReason } from "./messages.js" */
/**
 * What the statistics of a peer connection mean, as plain numbers.
 *
 * @typedef {{participant: string, name: string, track_id: string, source: string, kind: string, muted: boolean, width: number,
 *   height: number, frames_decoded: number, frames_per_second: number, freezes: number, freeze_seconds: number, audio_energy: number,
 *   layer: string, codec: string, bytes: number, packets_lost: number, jitter_ms: number}} TrackStats
 * @typedef {{source: string, rid: string, kind: string, width: number, height: number, frames_encoded: number,
 *   frames_per_second: number, bytes: number, limited_by: string, codec: string}} SentStats
 * @typedef {{rttMs: number, lossPercent: number, score: number, reason: QualityReason}} LinkQuality
 */

// Talk becomes hard to interleave from about 300 ms there and back, and pictures visibly break from a few percent of loss
// (ITU-T G.114 for delay; for loss the point where retransmission no longer hides it in one round trip).
const RTT_FAIR_MS = 300;
const RTT_POOR_MS = 700;
const LOSS_FAIR_PERCENT = 3;
const LOSS_POOR_PERCENT = 10;

/** @param {any} entry @returns {number} */
const at = (entry) => (typeof entry === "number" && Number.isFinite(entry) ? entry : 0);

/**
 * One received track's row from the subscribe connection's report.
 *
 * @param {RTCStatsReport} report
 * @param {string} mid
 */
export function receivedBy(report, mid) {
  for (const entry of report.values()) {
    if (entry.type !== "inbound-rtp" || entry.mid !== mid) continue;
    return {
      width: at(entry.frameWidth),
      height: at(entry.frameHeight),
      frames_decoded: at(entry.framesDecoded),
      frames_per_second: at(entry.framesPerSecond),
      freezes: at(entry.freezeCount),
      freeze_seconds: at(entry.totalFreezesDuration),
      audio_energy: at(entry.totalAudioEnergy),
      codec: report.get(entry.codecId)?.mimeType ?? "",
      bytes: at(entry.bytesReceived),
      packets_lost: at(entry.packetsLost),
      packets: at(entry.packetsReceived),
      jitter_ms: at(entry.jitter) * 1000,
    };
  }
  return undefined;
}

/**
 * What is sent, one row per encoding.
 *
 * @param {RTCStatsReport} report
 * @param {(mid: string) => string} sourceOf
 * @returns {SentStats[]}
 */
export function sent(report, sourceOf) {
  /** @type {SentStats[]} */
  const rows = [];
  for (const entry of report.values()) {
    if (entry.type !== "outbound-rtp") continue;
    rows.push({
      source: sourceOf(entry.mid),
      rid: entry.rid ?? "",
      kind: entry.kind,
      width: at(entry.frameWidth),
      height: at(entry.frameHeight),
      frames_encoded: at(entry.framesEncoded),
      frames_per_second: at(entry.framesPerSecond),
      bytes: at(entry.bytesSent),
      limited_by: entry.qualityLimitationReason ?? "none",
      codec: report.get(entry.codecId)?.mimeType ?? "",
    });
  }
  return rows;
}

/**
 * Round trip and loss of the own uplink, from what the server reports back.
 *
 * @param {RTCStatsReport} report  of the publish connection
 */
export function uplink(report) {
  let rttMs = 0;
  let lossPercent = 0;
  for (const entry of report.values()) {
    if (entry.type === "candidate-pair" && entry.nominated && entry.state === "succeeded") rttMs = Math.max(rttMs, at(entry.currentRoundTripTime) * 1000);
    if (entry.type === "remote-inbound-rtp") lossPercent = Math.max(lossPercent, at(entry.fractionLost) * 100);
  }
  return { rttMs, lossPercent };
}

/**
 * A score as the server gives them: 3 good, 2 fair, 1 poor, 0 lost.
 *
 * @param {{connected: boolean, rttMs: number, uplinkLossPercent: number, downlinkLossPercent: number}} link
 * @returns {LinkQuality}
 */
export function linkQuality({ connected, rttMs, uplinkLossPercent, downlinkLossPercent }) {
  const lossPercent = Math.max(uplinkLossPercent, downlinkLossPercent);
  if (!connected) return { rttMs, lossPercent, score: 0, reason: "lost" };
  const lossReason = uplinkLossPercent >= downlinkLossPercent ? "uplink_loss" : "downlink_loss";
  if (lossPercent >= LOSS_POOR_PERCENT) return { rttMs, lossPercent, score: 1, reason: lossReason };
  if (rttMs >= RTT_POOR_MS) return { rttMs, lossPercent, score: 1, reason: "high_rtt" };
  if (lossPercent >= LOSS_FAIR_PERCENT) return { rttMs, lossPercent, score: 2, reason: lossReason };
  if (rttMs >= RTT_FAIR_MS) return { rttMs, lossPercent, score: 2, reason: "high_rtt" };
  return { rttMs, lossPercent, score: 3, reason: "good" };
}
