/**
 * What a device does, as steps inside of a transaction.
 *
 * `Device` runs one or several of these in one `Store.run`. Whoever builds on a device (groups, sealed sender, calls, the application
 * itself) calls them in a transaction of its own, so that its records and the device's are written together or not at all: for example
 * the pairwise messages that carry a sender key, and the note that they are on their way.
 *
 * Steps take turns: await one before the next. `now` is always in Unix seconds. When a step rejects, let the transaction fail, but for
 * `decrypt`, which has then changed nothing.
 */
import { encodeContent, parseContent } from "./content.js";
import { acceptFirst, checkUnseen, findSecrets, refillPrekeys } from "./device_prekeys.js";
import { equal } from "./encoding.js";
import { DecryptionFailed, LimitReached, NoSession, UntrustedIdentity } from "./errors.js";
import { PreKeyMessage, initiate, respond } from "./handshake.js";
import { beginLine, sendingSession, settleLine } from "./lines.js";
import { acceptAccount, knownList, learnList, noteVerified, trustedPeer } from "./peers.js";
import { TYPE_PREKEY, messageType } from "./prekey_message.js";
import { SessionCache, Workspace } from "./workspace.js";

/** @import { DeviceCertificate, DeviceList } from "./certificates.js" */
/** @import { Content } from "./content.js" */
/** @import { Bytes } from "./encoding.js" */
/** @import { E2EEError } from "./errors.js" */
/** @import { Address } from "./group_records.js" */
/** @import { LocalDevice } from "./handshake.js" */
/** @import { Limits, Policy } from "./limits.js" */
/** @import { Bundle } from "./prekeys.js" */
/** @import { Peer, SessionRef } from "./records.js" */
/** @import { Session } from "./session.js" */
/** @import { Transaction } from "./transaction.js" */
/** @import { Random } from "./suite.js" */
/** @typedef {Address & {message: Bytes}} Outgoing  a message of type 1 or 2 for one device; it may go out once its transaction is committed */
/**
 * @typedef {Address & {content: Content, signing: Bytes, started: boolean, refused: E2EEError | null}} Received  what one device said;
 *   `signing` is the key by which the session knows that device, `started`: this message began a session. A reset as content says that the
 *   other side lost its state: what it was sent lately may have to be sent again. `refused`: why the sender key or the operations in
 *   `content` do not count; the message itself is read all the same.
 */
/**
 * @typedef {object} Follower  what is built on a device's sessions and has to change with them, in the same transaction
 * @property {(tx: Transaction, received: Received) => Promise<E2EEError | null>} received  a message was read; the error, which is not
 *   thrown, says why its content does not count
 * @property {(tx: Transaction, userId: string, gone: number[]) => Promise<void>} devicesLeft  these devices of the user are no longer known
 */

/** The steps of one device. */
export class DeviceSteps {
  #cache = new SessionCache();
  /** @type {Workspace | null} */ #space = null;
  /** @type {Follower | null} */ #follower = null;

  /**
   * @param {LocalDevice} local
   * @param {Policy} policy
   * @param {Limits} limits
   * @param {Random} random  another than the browser's only in tests
   */
  constructor(local, policy, limits, random) {
    this.local = local;
    this.policy = policy;
    this.limits = limits;
    this.random = random;
    const { userId, deviceId } = local.certificate;
    /** This device's own address. */
    this.own = { userId, deviceId };
  }

  /** One for each transaction, whoever calls the steps in it. @param {Transaction} tx */
  #workspace(tx) {
    if (this.#space?.tx !== tx) this.#space = new Workspace(tx, this.#cache, this.limits);
    return this.#space;
  }

  /** Lets `follower`, the only one, take part in every transaction from now on. @param {Follower} follower */
  follow(follower) {
    this.#follower = follower;
  }

  /**
   * See `Device.learn`; here a changed account key is returned (`refused`), for the note of it has to be committed.
   *
   * @param {Transaction} tx
   * @param {string} userId
   * @param {DeviceList} deviceList
   * @param {DeviceCertificate[]} certificates
   */
  async learn(tx, userId, deviceList, certificates) {
    const learned = await learnList(this.#workspace(tx), userId, deviceList, certificates, this.limits);
    if (learned.removed.length) await this.#follower?.devicesLeft(tx, userId, learned.removed);
    return learned;
  }

  /** See `Device.acceptIdentity`. @param {Transaction} tx @param {string} userId @param {Bytes} account */
  async acceptIdentity(tx, userId, account) {
    if (userId === this.own.userId) {
      const keys = { trusted: this.local.certificate.account, met: account };
      throw new UntrustedIdentity("the own account key is not changed", keys);
    }
    const gone = await acceptAccount(this.#workspace(tx), userId, account);
    if (gone.length) await this.#follower?.devicesLeft(tx, userId, gone);
  }

  /** See `Device.setVerified`. @param {Transaction} tx @param {string} userId @param {Bytes} account @param {boolean} verified */
  setVerified(tx, userId, account, verified) {
    return noteVerified(this.#workspace(tx), userId, account, verified);
  }

  /** What is known of a user, or null. @param {Transaction} tx @param {string} userId */
  peer(tx, userId) {
    return this.#workspace(tx).peer(userId);
  }

  /** The newest device list of a user, or null. @param {Transaction} tx @param {string} userId */
  deviceList(tx, userId) {
    return knownList(this.#workspace(tx), userId, this.limits);
  }

  /**
   * The verified certificates of all devices on the newest list of a user; none of a stranger.
   *
   * @param {Transaction} tx
   * @param {string} userId
   */
  async certificates(tx, userId) {
    const found = [];
    for (const deviceId of (await this.peer(tx, userId))?.devices ?? []) {
      const certificate = await this.certificate(tx, userId, deviceId);
      if (certificate) found.push(certificate);
    }
    return found;
  }

  /**
   * The verified certificate of a device, also of one that was removed, under the user's trusted account key; or null.
   *
   * With `presentCertificate` these are the two answers that a group wants of its `Resolver`.
   *
   * @param {Transaction} tx
   * @param {string} userId
   * @param {number} deviceId
   */
  certificate(tx, userId, deviceId) {
    return this.#workspace(tx).certificate(userId, deviceId);
  }

  /**
   * The verified certificate of a device that is on the user's newest list, or null.
   *
   * @param {Transaction} tx
   * @param {string} userId
   * @param {number} deviceId
   */
  async presentCertificate(tx, userId, deviceId) {
    const peer = await this.peer(tx, userId);
    return peer?.devices.includes(deviceId) ? this.certificate(tx, userId, deviceId) : null;
  }

  /**
   * See `Device.publish` (null for both counts) and `Device.replenish`.
   *
   * @param {Transaction} tx
   * @param {{oneTimeLeft: number | null, kemOnceLeft: number | null, now: number}} options
   */
  refill(tx, options) {
    return refillPrekeys(tx, this.local, this.limits, { ...options, random: this.random });
  }

  /**
   * What is known of a user to whom something is to be sent.
   *
   * @param {Transaction} tx
   * @param {string} userId
   * @returns {Promise<Peer>} rejects with `NoSession` where no list is known, and `UntrustedIdentity` while the account key is in doubt, or,
   *   for the own user, where this device is no longer on its list
   */
  async trusted(tx, userId) {
    const peer = await trustedPeer(this.#workspace(tx), userId);
    if (userId === this.own.userId && !peer.devices.includes(this.own.deviceId)) {
      throw new UntrustedIdentity("this device is no longer on the list of its user");
    }
    return peer;
  }

  /**
   * All devices that get what is said to a user: those of its list, and the other ones of our own user.
   *
   * @param {Transaction} tx
   * @param {string} userId
   * @returns {Promise<Address[]>} rejects as `trusted`
   */
  async recipients(tx, userId) {
    const siblings = (await this.trusted(tx, this.own.userId)).devices;
    const found = siblings.filter((deviceId) => deviceId !== this.own.deviceId).map((deviceId) => ({ userId: this.own.userId, deviceId }));
    if (userId === this.own.userId) return found;
    return [...(await this.trusted(tx, userId)).devices.map((deviceId) => ({ userId, deviceId })), ...found];
  }

  /** Which of `recipients` have no session to send with. @param {Transaction} tx @param {string} userId @param {number} now */
  async needsBundles(tx, userId, now) {
    return this.withoutSession(tx, await this.recipients(tx, userId), now);
  }

  /** Which of these devices have no session to send with. @param {Transaction} tx @param {Address[]} addresses @param {number} now */
  async withoutSession(tx, addresses, now) {
    const missing = [];
    for (const address of addresses) {
      if (!(await this.#sending(tx, address, now))) missing.push(address);
    }
    return missing;
  }

  /**
   * Begins a session with the device of a bundle, unless there is one to send with.
   *
   * @param {Transaction} tx
   * @param {Bundle} bundle
   * @param {number} now
   * @returns {Promise<boolean>} whether it did; rejects with `UntrustedIdentity` for a certificate that is not the one on the user's known
   *   list, or while the user's account key is in doubt, `NoSession` where no list is known, and as `initiate` does
   */
  async start(tx, bundle, now) {
    if (await this.#sending(tx, bundle.certificate, now)) return false;
    await this.#begin(tx, bundle, { reset: false, now });
    return true;
  }

  /**
   * Begins anew with a device whose messages cannot be read any more, and tells it so; `LimitReached` too soon after the last.
   *
   * @param {Transaction} tx
   * @param {Bundle} bundle
   * @param {number} now
   */
  async reset(tx, bundle, now) {
    const { userId, deviceId } = bundle.certificate;
    const { lastReset } = await this.#workspace(tx).line(userId, deviceId);
    const passed = Math.floor(now) - lastReset;
    const { resetIntervalS } = this.limits;
    if (lastReset && passed >= 0 && passed < resetIntervalS) {
      throw new LimitReached(`a device is sent one reset in ${resetIntervalS} s (resetIntervalS)`);
    }
    const session = await this.#begin(tx, bundle, { reset: true, now });
    return this.#encrypt(tx, session, encodeContent({ kind: "reset" }));
  }

  /**
   * See `Device.encrypt`.
   *
   * @param {Transaction} tx
   * @param {string} userId
   * @param {Content} content
   * @param {{now: number, skipMissing?: boolean}} options
   * @returns {Promise<Outgoing[]>}
   */
  async encrypt(tx, userId, content, { now, skipMissing = false }) {
    const encoded = encodeContent(content);
    const addresses = await this.recipients(tx, userId);
    const there = [];
    for (const address of addresses) {
      const session = await this.#sending(tx, address, now);
      if (session) there.push(session);
    }
    const missing = addresses.length - there.length;
    if (missing && !(skipMissing && there.length)) {
      throw new NoSession(`${missing} of ${addresses.length} devices have no session; start them (needsBundles)`);
    }
    const sent = [];
    for (const session of there) sent.push(await this.#encrypt(tx, session, encoded));
    return sent;
  }

  /**
   * One message for one device, which must be on its user's list; rejects as `encrypt` does.
   *
   * @param {Transaction} tx
   * @param {Address} address
   * @param {Content} content
   * @param {number} now
   */
  async encryptTo(tx, address, content, now) {
    const listed = await this.recipients(tx, address.userId);
    if (!listed.some(({ userId, deviceId }) => userId === address.userId && deviceId === address.deviceId)) {
      throw new NoSession("that device is not on the known list of its user");
    }
    const session = await this.#sending(tx, address, now);
    if (!session) throw new NoSession("that device has no session; start one");
    return this.#encrypt(tx, session, encodeContent(content));
  }

  /**
   * See `Device.decrypt`.
   *
   * @param {Transaction} tx
   * @param {Address} from
   * @param {Uint8Array} message
   * @param {number} now
   * @returns {Promise<Received>}
   */
  async decrypt(tx, from, message, now) {
    const received = await this.#read(tx, from, message, now);
    return { ...received, refused: (await this.#follower?.received(tx, received)) ?? null };
  }

  /** @param {Transaction} tx @param {Address} from @param {Uint8Array} message @param {number} now */
  async #read(tx, { userId, deviceId }, message, now) {
    const space = this.#workspace(tx);
    if (messageType(message) === TYPE_PREKEY) return this.#readFirst(space, { userId, deviceId }, message, now);
    const { refs } = await space.line(userId, deviceId);
    if (!refs.length) throw new NoSession("there is no session with the sender");
    for (const ref of refs) {
      const session = await space.session(userId, deviceId, ref);
      try {
        const content = await session.decrypt(message, { now });
        return await this.#received(space, session, ref, content, { now, started: false });
      } catch (error) {
        if (!(error instanceof DecryptionFailed)) throw error;
      }
    }
    throw new DecryptionFailed("no session with the sender opens the message");
  }

  /**
   * A message of type 2: of a session that is there, or the begin of one.
   *
   * @param {Workspace} space
   * @param {Address} from
   * @param {Uint8Array} message
   * @param {number} now
   */
  async #readFirst(space, { userId, deviceId }, message, now) {
    const first = PreKeyMessage.parse(message);
    const certificate = await this.presentCertificate(space.tx, userId, deviceId);
    if (!certificate || !equal(certificate.signing, first.signing)) {
      const keys = { trusted: certificate?.signing ?? null, met: first.signing };
      throw new UntrustedIdentity("a first message is not from a device that is known", keys);
    }
    const { refs } = await space.line(userId, deviceId);
    const known = refs.find((ref) => !ref.initiated && equal(ref.baseKey, first.baseKey));
    if (known) {
      const session = await space.session(userId, deviceId, known);
      return this.#received(space, session, known, await session.decrypt(message, { now }), { now, started: false });
    }
    await checkUnseen(space.tx, first);
    const secrets = await findSecrets(space.tx, first, this.limits, now);
    const session = await respond(this.local, certificate, first, secrets, this.policy, { now, limits: this.limits });
    const content = await session.decrypt(message, { now });
    parseContent(content);
    await acceptFirst(space.tx, first);
    space.add(session);
    const ref = { baseKey: first.baseKey, initiated: false, reset: false, retired: 0 };
    return this.#received(space, session, ref, content, { now, started: true });
  }

  /**
   * @param {Workspace} space
   * @param {Session} session
   * @param {SessionRef} ref
   * @param {Bytes} content
   * @param {{now: number, started: boolean}} options
   * @returns {Promise<Received>}
   */
  async #received(space, session, ref, content, { now, started }) {
    space.used(session);
    const parsed = parseContent(content);
    await settleLine(space, session, ref, this.limits, { reset: parsed.kind === "reset", now });
    return { userId: session.peerUser, deviceId: session.peerDevice, content: parsed, signing: session.peerSigning, started, refused: null };
  }

  /** @param {Transaction} tx @param {Bundle} bundle @param {{reset: boolean, now: number}} options */
  async #begin(tx, bundle, { reset, now }) {
    const [space, { certificate }] = [this.#workspace(tx), bundle];
    const { userId, deviceId } = certificate;
    const listed = await this.recipients(tx, userId);
    if (!listed.some((address) => address.userId === userId && address.deviceId === deviceId)) {
      throw new UntrustedIdentity("the bundle is not that of a device on the known list of its user", { met: certificate.signing });
    }
    const known = await space.certificate(userId, deviceId);
    if (!known || !equal(known.encoded, certificate.encoded)) {
      throw new UntrustedIdentity("the bundle holds another certificate than the one that is known", { met: certificate.signing });
    }
    const session = await initiate(this.local, bundle, this.policy, { now, random: this.random, limits: this.limits });
    await beginLine(space, session, { reset, now });
    return session;
  }

  /** @param {Transaction} tx @param {Address} address @param {number} now */
  #sending(tx, { userId, deviceId }, now) {
    return sendingSession(this.#workspace(tx), userId, deviceId, this.limits, now);
  }

  /** @param {Transaction} tx @param {Session} session @param {Bytes} encoded @returns {Promise<Outgoing>} */
  async #encrypt(tx, session, encoded) {
    const message = await session.encrypt(encoded, { random: this.random });
    this.#workspace(tx).used(session);
    return { userId: session.peerUser, deviceId: session.peerDevice, message };
  }
}
