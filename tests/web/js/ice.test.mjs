import assert from "node:assert/strict";
import { test } from "node:test";
import { mediaPath, reconfigure, rtcConfiguration, sameServers } from "../../../web/sdk/ice.js";

const TURN = [{ urls: ["turn:turn.example"], username: "1:a", credential: "c" }];

/** @param {Record<string, any>} local  the local candidate of the selected pair */
function report(local) {
  return new Map([
    ["T", { type: "transport", selectedCandidatePairId: "P" }],
    ["Q", { type: "candidate-pair", state: "succeeded", nominated: true, localCandidateId: "other" }],
    ["P", { type: "candidate-pair", state: "succeeded", localCandidateId: "L" }],
    ["L", { type: "local-candidate", ...local }],
    ["other", { type: "local-candidate", candidateType: "prflx", protocol: "udp" }],
  ]);
}

test("the way of media in one word", () => {
  assert.equal(mediaPath(report({ candidateType: "host", protocol: "udp" })).label, "host");
  assert.equal(mediaPath(report({ candidateType: "srflx", protocol: "udp" })).label, "srflx");
  assert.equal(mediaPath(report({ candidateType: "host", protocol: "tcp" })).label, "tcp");
  for (const relayProtocol of ["udp", "tcp", "tls"]) {
    assert.deepEqual(mediaPath(report({ candidateType: "relay", protocol: "udp", relayProtocol })), {
      kind: "relay",
      protocol: relayProtocol,
      label: `relay-${relayProtocol}`,
    });
  }
});

test("without a report of the transport the nominated pair counts, and without a pair there is no way", () => {
  const plain = report({});
  plain.delete("T");
  assert.equal(mediaPath(plain).label, "prflx");
  assert.equal(mediaPath(new Map([["T", { type: "transport" }]])), null);
  assert.equal(mediaPath(new Map([["T", { type: "transport", selectedCandidatePairId: "gone" }]])), null);
});

test("a relay alone when that is asked for", () => {
  assert.deepEqual(rtcConfiguration(TURN), { bundlePolicy: "max-bundle", iceServers: TURN, iceTransportPolicy: "all" });
  assert.equal(rtcConfiguration(TURN, { relayOnly: true }).iceTransportPolicy, "relay");
});

test("the same servers with newer credentials are others", () => {
  assert.ok(sameServers(TURN, structuredClone(TURN)));
  assert.ok(!sameServers(TURN, [{ ...TURN[0], username: "2:a" }]));
  assert.ok(!sameServers(TURN, []));
});

test("new credentials want a restart only where a relay carries the media", async () => {
  const given = [];
  const pc = (local) => ({ connectionState: "connected", setConfiguration: (to) => given.push(to), getStats: async () => report(local) });
  assert.equal(await reconfigure(pc({ candidateType: "relay", protocol: "udp", relayProtocol: "udp" }), rtcConfiguration(TURN)), true);
  assert.equal(await reconfigure(pc({ candidateType: "host", protocol: "udp" }), rtcConfiguration(TURN)), false);
  assert.equal(given.length, 2);
  assert.equal(await reconfigure({ ...pc({}), connectionState: "closed" }, rtcConfiguration(TURN)), false);
  assert.equal(given.length, 2);
});
