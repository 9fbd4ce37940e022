/** The participants of a room as end-to-end encryption knows them: whose device they are, and whether it is to be trusted. */
import { DeviceCertificate } from "./e2ee/certificates.js";
import { equal } from "./e2ee/encoding.js";
import { E2EEError, UntrustedIdentity } from "./e2ee/errors.js";
import { safetyNumber } from "./e2ee/safety_number.js";

/** @import { Device } from "./e2ee/device.js" */
/** @import { Bytes } from "./e2ee/encoding.js" */
/** @import { ParticipantInfo } from "./messages.js" */
/** @import { ParticipantDevice, SecureWire } from "./secure_wire.js" */
/**
 * `waiting`: being looked at; `none`: no keys, so nothing encrypted can be read there; `ready`; `changed`: another account key than the
 * one known, nothing is sent until a person accepts it; `invalid`: keys that do not hold together.
 *
 * @typedef {"waiting" | "none" | "ready" | "changed" | "invalid"} TrustState
 */
/**
 * @typedef {object} Trust
 * @property {TrustState} state
 * @property {string} userId
 * @property {number} deviceId
 * @property {number} revision  which keys of the participant this is about
 * @property {boolean} verified  a person compared the safety number
 * @property {Bytes | null} offered  the account key that was met instead of the known one
 */

/** @type {Trust} */
const NOBODY = Object.freeze({ state: "none", userId: "", deviceId: 0, revision: 0, verified: false, offered: null });

/** Keeps one `Trust` for each participant. */
export class SecurePeers {
  /** @type {Map<string, Trust>} */ #known = new Map();
  /** @type {Map<string, ((ready: boolean) => void)[]>} */ #waiting = new Map();
  #device;
  #wire;
  #changed;

  /** @param {{device: Device, wire: SecureWire, onChange: (participantId: string) => void}} options */
  constructor({ device, wire, onChange }) {
    this.#device = device;
    this.#wire = wire;
    this.#changed = onChange;
  }

  /** @param {string} participantId */
  get(participantId) {
    return this.#known.get(participantId) ?? NOBODY;
  }

  /** Brings what is known in line with who is here. @param {Iterable<ParticipantInfo>} participants */
  async follow(participants) {
    const here = [...participants];
    for (const id of [...this.#known.keys()]) if (!here.some(({ participant_id }) => participant_id === id)) this.forget(id);
    /** @type {string[]} */
    const fresh = [];
    for (const { participant_id: id, keys_revision: revision = 0 } of here) {
      const before = this.#known.get(id);
      if (before && before.revision === revision) continue;
      this.#set(id, { ...(before ?? NOBODY), state: revision ? "waiting" : "none", revision });
      if (revision) fresh.push(id);
    }
    if (fresh.length) await this.look(fresh);
  }

  /** Asks for the devices of participants and judges them. @param {string[]} participantIds */
  async look(participantIds) {
    const found = await this.#wire.devices(participantIds);
    for (const id of participantIds) {
      const shown = found.find(({ participantId }) => participantId === id);
      if (!this.#known.has(id)) continue;
      this.#set(id, shown ? await this.#judge(shown) : { ...NOBODY, revision: this.get(id).revision });
    }
  }

  /** @param {string} participantId */
  forget(participantId) {
    this.#known.delete(participantId);
    this.#answer(participantId, false);
    this.#changed(participantId);
  }

  /** Whether the participant can be written to, once that is known; a stranger's key may have to be accepted first. False when they leave. @param {string} participantId @returns {Promise<boolean>} */
  whenReady(participantId) {
    if (this.get(participantId).state === "ready") return Promise.resolve(true);
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(participantId) ?? [];
      waiting.push(resolve);
      this.#waiting.set(participantId, waiting);
    });
  }

  /** A person accepts the key that was met instead of the known one. @param {string} participantId */
  async accept(participantId) {
    const { userId, offered } = this.get(participantId);
    if (!offered) return;
    await this.#device.acceptIdentity(userId, offered);
    await this.look([participantId]);
  }

  /** A person compared the safety number, or takes that back. @param {string} participantId @param {boolean} verified */
  async verify(participantId, verified) {
    const { userId } = this.get(participantId);
    const peer = await this.#device.peer(userId);
    if (!peer) return;
    await this.#device.setVerified(userId, peer.account, verified);
    this.#set(participantId, { ...this.get(participantId), verified });
  }

  /** The 60 digits to compare: under the new key, where one was met. Empty without keys. @param {string} participantId */
  async number(participantId) {
    const { userId, offered } = this.get(participantId);
    const peer = userId ? await this.#device.peer(userId) : null;
    if (!peer) return "";
    return safetyNumber(this.#device.userId, this.#device.certificate.account, userId, offered ?? peer.account);
  }

  debug() {
    return [...this.#known].map(([participant, { state, userId, deviceId, verified }]) => ({ participant, state, user_id: userId, device_id: deviceId, verified }));
  }

  close() {
    for (const id of [...this.#waiting.keys()]) this.#answer(id, false);
    this.#known.clear();
  }

  /** @param {ParticipantDevice} shown @returns {Promise<Trust>} */
  async #judge({ userId, deviceId, revision, deviceList, certificates }) {
    const trust = { ...NOBODY, userId, deviceId, revision };
    try {
      await this.#device.learn(userId, deviceList, certificates);
      const listed = (await this.#device.devicesOf(userId))?.certificates.find((certificate) => certificate.deviceId === deviceId);
      // What the server says is the device must be one that the account says is its own.
      const isOwn = listed && equal(listed.encoded, DeviceCertificate.parse(certificates[0] ?? new Uint8Array(0)).encoded);
      const peer = await this.#device.peer(userId);
      return { ...trust, state: isOwn ? "ready" : "invalid", verified: peer?.verified ?? false };
    } catch (error) {
      const peer = error instanceof UntrustedIdentity ? await this.#device.peer(userId) : null;
      if (peer?.offered) return { ...trust, state: "changed", offered: peer.offered };
      if (error instanceof E2EEError) return { ...trust, state: "invalid" };
      throw error;
    }
  }

  /** @param {string} participantId @param {Trust} trust */
  #set(participantId, trust) {
    this.#known.set(participantId, trust);
    if (trust.state === "ready") this.#answer(participantId, true);
    this.#changed(participantId);
  }

  /** @param {string} participantId @param {boolean} ready */
  #answer(participantId, ready) {
    const waiting = this.#waiting.get(participantId) ?? [];
    this.#waiting.delete(participantId);
    for (const resolve of waiting) resolve(ready);
  }
}
