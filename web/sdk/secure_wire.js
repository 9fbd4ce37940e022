/** The requests of end-to-end encryption, in bytes instead of base64. */
import { fromBase64, toBase64 } from "./base64.js";
import { DeviceCertificate } from "./e2ee/certificates.js";
import { Bundle, KemPreKey, OneTimePreKey, SignedPreKey, parsePrekey } from "./e2ee/prekeys.js";

/** @import { Bytes } from "./e2ee/encoding.js" */
/** @import { DeviceList } from "./e2ee/certificates.js" */
/** @import { PreKeyUpload } from "./e2ee/device_prekeys.js" */
/** @import { Devices, KeyBundles, KeysPublished, SecureSent } from "./messages.js" */
/** @import { Signaling } from "./signaling.js" */
/** @typedef {{certificate: DeviceCertificate, deviceList: DeviceList | null, prekeys: PreKeyUpload}} Publication */
/** @typedef {{participantId: string, userId: string, deviceId: number, revision: number, deviceList: Bytes, certificates: Bytes[]}} ParticipantDevice */
/** @typedef {{participantId: string, deviceId: number, message: Bytes}} Envelope */
/** @typedef {{participant_id: string, device_id: number, reason: "gone" | "device" | "full"}} Refused */

// The server takes as many participants, or messages, in one request.
const MAX_ASKED = 16;
const MAX_MESSAGES = 256;
// Far below the largest frame that the server takes, with base64 and all.
const MAX_BYTES = 256 * 1_024;

/** @template T @param {T[]} items @param {number} size @returns {T[][]} */
function chunks(items, size) {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) => items.slice(index * size, (index + 1) * size));
}

/** @param {Envelope[]} envelopes @returns {Envelope[][]} */
function loads(envelopes) {
  /** @type {Envelope[][]} */
  const found = [];
  let size = 0;
  for (const envelope of envelopes) {
    const last = found.at(-1);
    size += envelope.message.length;
    if (!last || last.length >= MAX_MESSAGES || size > MAX_BYTES) {
      found.push([envelope]);
      size = envelope.message.length;
    } else {
      last.push(envelope);
    }
  }
  return found;
}

/** @param {PreKeyUpload} prekeys */
function prekeyFields({ signed, kemLast, oneTime, kemOnce }) {
  return {
    ...(signed && { signed_prekey: toBase64(signed.encode()) }),
    ...(kemLast && { kem_prekey: toBase64(kemLast.encode()) }),
    one_time_prekeys: oneTime.map((prekey) => toBase64(prekey.encode())),
    kem_one_time_prekeys: kemOnce.map((prekey) => toBase64(prekey.encode())),
  };
}

/** See the module; everything is held over a lost connection, for the server and the receiving device recognise repetitions. */
export class SecureWire {
  #signaling;

  /** @param {Signaling} signaling */
  constructor(signaling) {
    this.#signaling = signaling;
  }

  /** @param {Publication} publication @param {DeviceCertificate[]} others  of the same account @returns {Promise<KeysPublished>} */
  publish({ certificate, deviceList, prekeys }, others) {
    return this.#signaling.request("publish_keys", {
      device_id: certificate.deviceId,
      certificate: toBase64(certificate.encoded),
      device_list: toBase64(/** @type {{encoded: Bytes}} */ (deviceList).encoded),
      other_certificates: others.map(({ encoded }) => toBase64(encoded)),
      ...prekeyFields(prekeys),
    });
  }

  /** Adds prekeys to those on offer; without any it only asks how many there are, and for what waits. @param {number} deviceId @param {PreKeyUpload | null} prekeys @returns {Promise<KeysPublished>} */
  replenish(deviceId, prekeys) {
    return this.#signaling.request("publish_keys", { device_id: deviceId, ...(prekeys && prekeyFields(prekeys)) });
  }

  /** @param {string[]} participantIds @returns {Promise<ParticipantDevice[]>} */
  async devices(participantIds) {
    const found = [];
    for (const participant_ids of chunks(participantIds, MAX_ASKED)) {
      /** @type {Devices} */
      const { devices = [] } = await this.#signaling.request("fetch_devices", { participant_ids }, { hold: true });
      for (const each of devices) {
        const certificates = each.certificates.map(fromBase64);
        const { participant_id: participantId, user_id: userId, device_id: deviceId, revision } = each;
        found.push({ participantId, userId, deviceId, revision, deviceList: fromBase64(each.device_list), certificates });
      }
    }
    return found;
  }

  /** @param {string[]} participantIds @returns {Promise<Map<string, Bytes>>} whole bundles by participant; what is malformed is left out */
  async bundles(participantIds) {
    const found = new Map();
    for (const participant_ids of chunks(participantIds, MAX_ASKED)) {
      /** @type {KeyBundles} */
      const { bundles = [] } = await this.#signaling.request("fetch_bundles", { participant_ids }, { hold: true });
      for (const { participant_id, certificate, signed_prekey, one_time_prekey, kem_prekey, kem_once = false } of bundles) {
        try {
          const parts = {
            certificate: DeviceCertificate.parse(fromBase64(certificate)),
            signed: parsePrekey(SignedPreKey, fromBase64(signed_prekey)),
            oneTime: one_time_prekey ? parsePrekey(OneTimePreKey, fromBase64(one_time_prekey)) : null,
            kem: kem_prekey ? parsePrekey(KemPreKey, fromBase64(kem_prekey)) : null,
          };
          found.set(participant_id, new Bundle({ ...parts, kemOnce: kem_once }).encode());
        } catch {
          // Whoever publishes nonsense is not written to, and hinders nobody else.
        }
      }
    }
    return found;
  }

  /** @param {Envelope[]} envelopes @param {"chat" | "keys"} purpose @returns {Promise<Refused[]>} */
  async send(envelopes, purpose) {
    const sent = loads(envelopes).map(async (load) => {
      const messages = load.map(({ participantId, deviceId, message }) => ({ participant_id: participantId, device_id: deviceId, message: toBase64(message) }));
      /** @type {SecureSent} */
      const { refused = [] } = await this.#signaling.request("send_secure", { purpose, messages }, { hold: true });
      return refused;
    });
    return (await Promise.all(sent)).flat();
  }

  /** Everything up to that number was read and kept. @param {number} number */
  take(number) {
    return this.#signaling.request("take_secure", { number });
  }
}
