import assert from "node:assert/strict";
import test from "node:test";
import { linkQuality, receivedBy, uplink } from "../../../web/sdk/stats.js";

const good = { connected: true, rttMs: 20, uplinkLossPercent: 0, downlinkLossPercent: 0 };

test("the score names the worst thing about the connection", () => {
  assert.deepEqual(linkQuality(good), { rttMs: 20, lossPercent: 0, score: 3, reason: "good" });
  assert.equal(linkQuality({ ...good, uplinkLossPercent: 5 }).reason, "uplink_loss");
  assert.equal(linkQuality({ ...good, downlinkLossPercent: 20 }).reason, "downlink_loss");
  assert.equal(linkQuality({ ...good, downlinkLossPercent: 20 }).score, 1);
  assert.deepEqual(linkQuality({ ...good, rttMs: 400 }), { rttMs: 400, lossPercent: 0, score: 2, reason: "high_rtt" });
  assert.equal(linkQuality({ ...good, rttMs: 900, uplinkLossPercent: 4 }).reason, "high_rtt");
  assert.equal(linkQuality({ ...good, connected: false }).score, 0);
});

test("rows are found by mid and never hold anything but numbers", () => {
  const report = new Map([
    ["c", { type: "codec", mimeType: "video/VP8" }],
    ["a", { type: "inbound-rtp", mid: "0", totalAudioEnergy: 0.5 }],
    ["v", { type: "inbound-rtp", mid: "1", codecId: "c", frameWidth: 640, frameHeight: 360, framesDecoded: Number.NaN, jitter: 0.01 }],
  ]);
  assert.equal(receivedBy(report, "0")?.audio_energy, 0.5);
  const video = receivedBy(report, "1");
  assert.deepEqual([video?.height, video?.frames_decoded, video?.jitter_ms, video?.codec], [360, 0, 10, "video/VP8"]);
  assert.equal(receivedBy(report, "2"), undefined);
});

test("the uplink's worst stream counts", () => {
  const report = new Map([
    ["p", { type: "candidate-pair", nominated: true, state: "succeeded", currentRoundTripTime: 0.05 }],
    ["q", { type: "remote-inbound-rtp", fractionLost: 0.02 }],
    ["f", { type: "remote-inbound-rtp", fractionLost: 0.08 }],
  ]);
  assert.deepEqual(uplink(report), { rttMs: 50, lossPercent: 8 });
});
