/**
 * What a device does, as steps inside of a transaction, to be called together with an application's own reads and writes.
 *
 * `now` is always in Unix seconds. A step that rejects has changed nothing, except that a message whose content is malformed counts as
 * read if the transaction is committed all the same.
 */
import { encodeContent, parseContent } from "./content.js";
import { equal } from "./encoding.js";
import { DecryptionFailed, LimitReached, NoSession, UntrustedIdentity } from "./errors.js";
import { acceptFirst, checkUnseen, findSecrets, refill } from "./device_prekeys.js";
import { initiate, respond } from "./handshake.js";
import { begin, sendingSession, settle } from "./lines.js";
import { acceptIdentity, knownList, learn, setVerified, trustedPeer } from "./peers.js";
import { PreKeyMessage, TYPE_PREKEY, messageType } from "./prekey_message.js";
import { Workspace } from "./workspace.js";

/** @import { DeviceCertificate, DeviceList } from "./certificates.js" */
/** @import { Content } from "./content.js" */
/** @import { Bytes } from "./encoding.js" */
/** @import { LocalDevice } from "./handshake.js" */
/** @import { Limits, Policy } from "./limits.js" */
/** @import { Bundle } from "./prekeys.js" */
/** @import { SessionRef } from "./records.js" */
/** @import { Session } from "./session.js" */
/** @import { Transaction } from "./store.js" */
/** @import { Random } from "./suite.js" */
/** @typedef {{userId: string, deviceId: number}} Address */
/** @typedef {Address & {message: Bytes}} Outgoing  may go out once the transaction that made it is committed */
/**
 * What one device said. `signing` is the key by which the session knows it; `started`: this message began a session. A reset as
 * `content` says that the other side lost its state: what it was sent lately may have to be sent again.
 *
 * @typedef {Address & {content: Content, signing: Bytes, started: boolean}} Received
 */

/** The steps of one device. */
export class DeviceSteps {
  /** @type {Workspace | null} */ #space = null;
  #random;

  /** @param {LocalDevice} local @param {Policy} policy @param {Limits} limits @param {Random} random */
  constructor(local, policy, limits, random) {
    this.local = local;
    this.policy = policy;
    this.limits = limits;
    this.#random = random;
  }

  /** See `Device.learn`; here a changed account key is returned (`refused`), for the note of it has to be committed. @param {Transaction} tx @param {string} userId @param {DeviceList} deviceList @param {DeviceCertificate[]} certificates */
  learn(tx, userId, deviceList, certificates) {
    return learn(this.#workspace(tx), userId, deviceList, certificates, this.limits);
  }

  /** @param {Transaction} tx @param {string} userId @param {Bytes} account */
  async acceptIdentity(tx, userId, account) {
    const own = this.local.certificate;
    if (userId === own.userId) throw new UntrustedIdentity("the own account key is not changed", { trusted: own.account, met: account });
    await acceptIdentity(this.#workspace(tx), userId, account);
  }

  /** @param {Transaction} tx @param {string} userId @param {Bytes} account @param {boolean} verified */
  setVerified(tx, userId, account, verified) {
    return setVerified(this.#workspace(tx), userId, account, verified);
  }

  /** What is known of a user, or null. @param {Transaction} tx @param {string} userId */
  peer(tx, userId) {
    return this.#workspace(tx).peer(userId);
  }

  /** The newest device list of a user, or null. @param {Transaction} tx @param {string} userId */
  deviceList(tx, userId) {
    return knownList(this.#workspace(tx), userId);
  }

  /** The verified certificate of a device, also of one that was removed, under the user's trusted account key; or null. @param {Transaction} tx @param {string} userId @param {number} deviceId */
  certificate(tx, userId, deviceId) {
    return this.#workspace(tx).certificate(userId, deviceId);
  }

  /** The verified certificate of a device that is on the user's newest list, or null. @param {Transaction} tx @param {string} userId @param {number} deviceId */
  async presentCertificate(tx, userId, deviceId) {
    const space = this.#workspace(tx);
    const peer = await space.peer(userId);
    return peer?.devices.includes(deviceId) ? space.certificate(userId, deviceId) : null;
  }

  /** See `Device.publish` (null for both counts) and `Device.replenish`. @param {Transaction} tx @param {{oneTimeLeft: number | null, kemOnceLeft: number | null, now: number}} left */
  refill(tx, { oneTimeLeft, kemOnceLeft, now }) {
    return refill(tx, this.local, this.limits, { oneTimeLeft, kemOnceLeft, random: this.#random, now });
  }

  /**
   * All devices that get what is said to a user: those of its list, and the other ones of our own user.
   *
   * @param {Transaction} tx
   * @param {string} userId
   * @returns {Promise<Address[]>} rejects with `NoSession` where no list is known, and `UntrustedIdentity` while the account key is in
   *   doubt, or where this device is no longer on the list of its own user
   */
  async recipients(tx, userId) {
    const space = this.#workspace(tx);
    const own = this.local.certificate;
    const siblings = (await trustedPeer(space, own.userId)).devices;
    if (!siblings.includes(own.deviceId)) throw new UntrustedIdentity("this device is no longer on the list of its user");
    const others = siblings.filter((deviceId) => deviceId !== own.deviceId).map((deviceId) => ({ userId: own.userId, deviceId }));
    if (userId === own.userId) return others;
    return [...(await trustedPeer(space, userId)).devices.map((deviceId) => ({ userId, deviceId })), ...others];
  }

  /** Which of `recipients` have no session to send with; rejects with what that does. @param {Transaction} tx @param {string} userId @param {number} now */
  async needsBundles(tx, userId, now) {
    const missing = [];
    for (const address of await this.recipients(tx, userId)) if (!(await this.#sending(tx, address, now))) missing.push(address);
    return missing;
  }

  /** See `Device.start`. @param {Transaction} tx @param {Bundle} bundle @param {number} now */
  async start(tx, bundle, now) {
    if (await this.#sending(tx, bundle.certificate, now)) return false;
    await this.#begin(tx, bundle, { reset: false, now });
    return true;
  }

  /** See `Device.reset`. @param {Transaction} tx @param {Bundle} bundle @param {number} now */
  async reset(tx, bundle, now) {
    const { userId, deviceId } = bundle.certificate;
    const { lastReset } = await this.#workspace(tx).line(userId, deviceId);
    const ago = Math.floor(now) - lastReset;
    if (lastReset && ago >= 0 && ago < this.limits.resetIntervalS) {
      throw new LimitReached(`a device is sent one reset in ${this.limits.resetIntervalS} s (resetIntervalS)`);
    }
    const session = await this.#begin(tx, bundle, { reset: true, now });
    return this.#encrypt(tx, session, encodeContent({ kind: "reset" }));
  }

  /** See `Device.encrypt`. @param {Transaction} tx @param {string} userId @param {Content} content @param {{now: number, skipMissing?: boolean}} options */
  async encrypt(tx, userId, content, { now, skipMissing = false }) {
    const encoded = encodeContent(content);
    const sessions = [];
    for (const address of await this.recipients(tx, userId)) sessions.push(await this.#sending(tx, address, now));
    const there = sessions.filter((session) => session !== null);
    if (there.length < sessions.length && !(skipMissing && there.length)) {
      throw new NoSession(`${sessions.length - there.length} of ${sessions.length} devices have no session; start them (needsBundles)`);
    }
    const outgoing = [];
    for (const session of there) outgoing.push(await this.#encrypt(tx, session, encoded));
    return outgoing;
  }

  /**
   * One message for one device, which must be on its user's list.
   *
   * @param {Transaction} tx
   * @param {Address} to
   * @param {Content} content
   * @param {number} now
   * @returns {Promise<Outgoing>} rejects with `NoSession` and `UntrustedIdentity` as `encrypt` does
   */
  async encryptTo(tx, to, content, now) {
    const listed = await this.recipients(tx, to.userId);
    if (!listed.some(({ userId, deviceId }) => userId === to.userId && deviceId === to.deviceId)) {
      throw new NoSession("that device is not on the known list of its user");
    }
    const session = await this.#sending(tx, to, now);
    if (!session) throw new NoSession("that device has no session; start one");
    return this.#encrypt(tx, session, encodeContent(content));
  }

  /** See `Device.decrypt`. @param {Transaction} tx @param {Address} from @param {Bytes} message @param {number} now @returns {Promise<Received>} */
  async decrypt(tx, from, message, now) {
    const space = this.#workspace(tx);
    if (messageType(message) === TYPE_PREKEY) return this.#readFirst(space, from, message, now);
    const { refs } = await space.line(from.userId, from.deviceId);
    if (!refs.length) throw new NoSession("there is no session with the sender");
    for (const ref of refs) {
      const session = await space.session(from.userId, from.deviceId, ref);
      let content;
      try {
        content = await session.decrypt(message, { now });
      } catch (error) {
        if (error instanceof DecryptionFailed) continue;
        throw error;
      }
      return this.#received(space, session, ref, content, now);
    }
    throw new DecryptionFailed("no session with the sender opens the message");
  }

  /** A message of type 2: of a session that is there, or the begin of one. @param {Workspace} space @param {Address} from @param {Bytes} message @param {number} now */
  async #readFirst(space, { userId, deviceId }, message, now) {
    const first = PreKeyMessage.parse(message);
    const certificate = await this.presentCertificate(space.tx, userId, deviceId);
    if (!certificate || !equal(certificate.signing, first.signing)) {
      const keys = { trusted: certificate?.signing ?? null, met: first.signing };
      throw new UntrustedIdentity("a first message is not from a device that is known", keys);
    }
    const { refs } = await space.line(userId, deviceId);
    const ref = refs.find(({ baseKey, initiated }) => !initiated && equal(baseKey, first.baseKey));
    if (ref) {
      const session = await space.session(userId, deviceId, ref);
      return this.#received(space, session, ref, await session.decrypt(message, { now }), now);
    }
    await checkUnseen(space.tx, first);
    const secrets = await findSecrets(space.tx, first, this.limits, now);
    const session = await respond(this.local, certificate, first, secrets, this.policy, { now, limits: this.limits });
    const content = await session.decrypt(message, { now });
    parseContent(content);
    await acceptFirst(space.tx, first);
    return this.#received(space, session, { baseKey: first.baseKey, initiated: false, reset: false, retired: 0 }, content, now, true);
  }

  /** @param {Workspace} space @param {Session} session @param {SessionRef} ref @param {Bytes} data @param {number} now @param {boolean} [started] */
  async #received(space, session, ref, data, now, started = false) {
    space.used(session);
    const content = parseContent(data);
    await settle(space, session, ref, this.limits, { reset: content.kind === "reset", now });
    return { userId: session.peerUser, deviceId: session.peerDevice, content, signing: session.peerSigning, started };
  }

  /** @param {Transaction} tx @param {Bundle} bundle @param {{reset: boolean, now: number}} options */
  async #begin(tx, bundle, { reset, now }) {
    const { userId, deviceId, signing, encoded } = bundle.certificate;
    const listed = await this.recipients(tx, userId);
    const known = await this.#workspace(tx).certificate(userId, deviceId);
    if (!known || !listed.some((each) => each.userId === userId && each.deviceId === deviceId) || !equal(known.encoded, encoded)) {
      throw new UntrustedIdentity("the bundle is not that of a device on the known list of its user", { trusted: known?.signing ?? null, met: signing });
    }
    const session = await initiate(this.local, bundle, this.policy, { now, random: this.#random, limits: this.limits });
    await begin(this.#workspace(tx), session, { reset, now });
    return session;
  }

  /** @param {Transaction} tx @param {Address} address @param {number} now */
  #sending(tx, { userId, deviceId }, now) {
    return sendingSession(this.#workspace(tx), userId, deviceId, this.limits, now);
  }

  /** @param {Transaction} tx @param {Session} session @param {Bytes} encoded @returns {Promise<Outgoing>} */
  async #encrypt(tx, session, encoded) {
    const message = await session.encrypt(encoded, { random: this.#random });
    this.#workspace(tx).used(session);
    return { userId: session.peerUser, deviceId: session.peerDevice, message };
  }

  /** One for each transaction, whoever calls the steps in it. @param {Transaction} tx */
  #workspace(tx) {
    if (this.#space?.tx !== tx) this.#space = new Workspace(tx, this.limits);
    return this.#space;
  }
}
