/** Runs group.json, see tests/e2ee/kat/make_group.py. */
import { DeviceCertificate, NO_HASH } from "/web/sdk/e2ee/certificates.js";
import { encodeContent, parseContent } from "/web/sdk/e2ee/content.js";
import { fromHex, hex, utf8 } from "/web/sdk/e2ee/encoding.js";
import { SenderKeyGroup } from "/web/sdk/e2ee/group.js";
import { Operation, signOperation } from "/web/sdk/e2ee/group_operation.js";
import { GroupState } from "/web/sdk/e2ee/group_state.js";
import { signingPair } from "/web/sdk/e2ee/suite.js";
import { refusal, replay, runCases, same } from "./check.js";

const KINDS = ["", "create", "add", "remove", "role", "renew", "rekey"];
const ROLES = ["member", "admin"];
const addressOf = ([userId, deviceId]) => ({ userId, deviceId });
const memberOf = ([userId, account, role]) => ({ userId, account: fromHex(account), role: ROLES[role] });
const described = ({ userId, account, role }) => [userId, hex(account), ROLES.indexOf(role)];
/** In the order of UTF-8, as Python sorts. */
const sorted = (entries, nameOf) => entries.toSorted((one, other) => (hex(utf8(nameOf(one))) < hex(utf8(nameOf(other))) ? -1 : 1));

class Run {
  constructor({ devices, cases }) {
    this.devices = devices;
    this.certificates = new Map(devices.map((one) => [`${one.device}/${one.user}`, DeviceCertificate.parse(fromHex(one.certificate))]));
    this.chainCase = cases.find((kat) => kat.case === "chain");
    this.operations = this.chainCase.operations.map(({ operation }) => fromHex(operation));
    this.resolve = (userId, deviceId) => this.certificates.get(`${deviceId}/${userId}`) ?? null;
  }

  async chain(kat) {
    for (const certificate of this.certificates.values()) await certificate.verify();
    let [state, previous] = [null, NO_HASH];
    for (const [epoch, one] of kat.operations.entries()) {
      const [signerUser, signerDevice] = one.signer;
      const signer = this.devices.find(({ user, device }) => user === signerUser && device === signerDevice);
      const place = { groupId: fromHex(kat.group_id), epoch, prevHash: previous, signerUser, signerDevice, time: one.time };
      const change = { kind: KINDS[one.op], members: one.members.map(memberOf), users: one.users };
      const operation = await signOperation(await signingPair(fromHex(signer.signing_seed)), { ...place, ...change });
      same(operation.encoded, one.operation, `operation ${epoch}`);
      state = await (state ? state.apply(operation, this.resolve) : GroupState.create(operation, this.resolve));
      previous = state.hash;
      same(previous, one.hash, `the hash of ${epoch}`);
      const members = sorted([...state.members.values()].map(described), ([user]) => user);
      same(members, one.members_after, `the members after ${epoch}`);
      same(GroupState.fromRecord(state.toRecord()).toRecord(), state.toRecord(), "the record");
    }
  }

  async operationRefused(kat) {
    const attempt = async () => {
      const operation = Operation.parse(fromHex(kat.operation));
      if (!kat.after) return GroupState.create(operation, this.resolve);
      const state = await GroupState.replay(this.operations.slice(0, kat.after), this.resolve);
      return state.apply(operation, this.resolve);
    };
    same(await refusal(attempt), kat.error, "the error");
  }

  join(kat) {
    return SenderKeyGroup.join(this.resolve(...kat.own), this.operations.slice(0, kat.after), this.resolve);
  }

  async send(kat) {
    const group = await this.join(kat);
    let prepared = [];
    for (const step of kat.steps) {
      if (step.do === "apply") {
        await group.apply(fromHex(step.operation), this.resolve);
      } else if (step.do === "prepare") {
        prepared = await this.prepare(group, step);
      } else if (step.do === "mark") {
        group.markDistributed(prepared);
      } else if (step.error) {
        same(await refusal(() => group.encrypt(fromHex(step.content), { now: step.now })), step.error, "the error");
      } else {
        const { random, done } = replay(step.random);
        same(await group.encrypt(fromHex(step.content), { now: step.now, random }), step.message, "the message");
        done();
      }
    }
  }

  async prepare(group, step) {
    const { random, done } = replay(step.random);
    const certificates = step.devices.map(([user, device]) => this.resolve(user, device));
    const prepared = await group.prepareSend(certificates, { now: step.now, random });
    done();
    const to = sorted(prepared, ({ userId, deviceId }) => `${userId}\0${String(deviceId).padStart(10, "0")}`);
    same(to.map(({ userId, deviceId }) => [userId, deviceId]), step.to, "the receivers");
    same([...new Set(prepared.map(({ content }) => hex(encodeContent(content))))], step.content ? [step.content] : [], "the key");
    same(sorted(group.withheld, (user) => user), step.withheld, "who is left out");
    return prepared;
  }

  async read(kat) {
    let group = await this.join(kat);
    const take = async (step) => {
      if (step.do === "apply") await group.apply(fromHex(step.operation), this.resolve);
      else if (step.do === "receive_key") await group.receiveKey(addressOf(step.from), parseContent(fromHex(step.content)));
      else return group.decrypt(addressOf(step.from), fromHex(step.message), { now: step.now });
      return new Uint8Array(0);
    };
    const stored = new Map();
    const store = () => {
      const changes = group.drainChanges();
      for (const { name, record } of changes) {
        if (record) stored.set(hex(name), record);
        else stored.delete(hex(name));
      }
      return changes.length;
    };
    store();
    for (const step of kat.steps) {
      if (step.error) {
        same(await refusal(() => take(step)), step.error, `the error of ${step.do}`);
        same(store(), 0, "the number of changes");
      } else {
        same(await take(step), step.result ?? "", "the content");
        store();
        // From here on with what a store would have given back.
        const records = [...stored].map(([name, record]) => ({ name: fromHex(name), record }));
        group = await SenderKeyGroup.fromRecords(this.resolve(...kat.own), records);
      }
    }
  }
}

export function run(data) {
  const group = new Run(data);
  const checks = { chain: "chain", operation_refused: "operationRefused", send: "send", read: "read" };
  return runCases(data.cases, (kat) => group[checks[kat.case]](kat));
}
