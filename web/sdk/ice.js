/** @import { IceServer } from "./messages.js" */
/** @typedef {{kind: "host" | "srflx" | "prflx" | "relay", protocol: "udp" | "tcp" | "tls", label: string}} MediaPath */

/**
 * The configuration of a call's peer connections.
 *
 * @param {IceServer[]} iceServers
 * @param {{relayOnly?: boolean}} [options]  `relayOnly`: media goes through a relay or not at all
 * @returns {RTCConfiguration}
 */
export function rtcConfiguration(iceServers, { relayOnly = false } = {}) {
  return { bundlePolicy: "max-bundle", iceServers, iceTransportPolicy: relayOnly ? "relay" : "all" };
}

/** Whether two lists say the same servers with the same credentials. @param {IceServer[]} one @param {IceServer[]} other */
export function sameServers(one, other) {
  return JSON.stringify(one) === JSON.stringify(other);
}

/**
 * The way that media takes from here, from the report of a peer connection; null while there is none.
 *
 * `label` says it in one word: `host`, `srflx`, `prflx`, `relay-udp`, `relay-tcp`, `relay-tls`, or `tcp` for ICE-TCP. The protocol
 * of a relay is the one to the relay.
 *
 * @param {RTCStatsReport} report
 * @returns {MediaPath | null}
 */
export function mediaPath(report) {
  const pair = selectedPair(report);
  const local = pair && report.get(pair.localCandidateId);
  if (!local) return null;
  const kind = local.candidateType;
  const protocol = kind === "relay" ? (local.relayProtocol ?? "udp") : local.protocol;
  return { kind, protocol, label: kind === "relay" ? `relay-${protocol}` : protocol === "tcp" ? "tcp" : kind };
}

/** @param {RTCStatsReport} report @returns {any} */
function selectedPair(report) {
  for (const entry of report.values()) {
    if (entry.type === "transport" && entry.selectedCandidatePairId) return report.get(entry.selectedCandidatePairId);
  }
  // Not every browser reports transports.
  for (const entry of report.values()) {
    if (entry.type === "candidate-pair" && (entry.selected || (entry.nominated && entry.state === "succeeded"))) return entry;
  }
  return undefined;
}

/**
 * Gives a connection other ICE servers. It uses them from its next gathering on.
 *
 * @param {RTCPeerConnection} pc
 * @param {RTCConfiguration} configuration
 * @returns {Promise<boolean>}  whether its relay was asked for with the old credentials, so that only an ICE restart keeps it
 */
export async function reconfigure(pc, configuration) {
  if (pc.connectionState === "closed") return false;
  pc.setConfiguration(configuration);
  return mediaPath(await pc.getStats())?.kind === "relay";
}
