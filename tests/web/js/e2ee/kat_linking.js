/** Runs linking.json, see tests/e2ee/kat/make_linking.py. */
import { DeviceList } from "/web/sdk/e2ee/certificates.js";
import { fromHex, hex } from "/web/sdk/e2ee/encoding.js";
import { NewDevice, PrimaryDevice } from "/web/sdk/e2ee/linking.js";
import { agreementPair, signingPair } from "/web/sdk/e2ee/suite.js";
import { edited, refusal, replay, runCases, same } from "./check.js";

/** Every refusal of a step: the error is the recorded one, and the side is where it was. */
async function refuse(kat, step, side, read, message) {
  const refusals = kat.refused.filter((one) => one.step === step);
  if (!refusals.length) throw new Error(`step ${step} has no refusals`);
  const before = side.state;
  for (const one of refusals) {
    const altered = one.message === undefined ? edited(hex(message), one.edit) : fromHex(one.message);
    same(await refusal(() => read(altered)), one.error, `the error of ${one.name}`);
    same(side.state, before, `the state after ${one.name}`);
  }
}

async function link(kat) {
  const [account, signing] = [await signingPair(fromHex(kat.account_seed)), await signingPair(fromHex(kat.signing_seed))];
  const agreement = await agreementPair(fromHex(kat.agreement_seed));
  const [newDraws, primaryDraws] = [replay(kat.new_random), replay(kat.primary_random)];
  const fresh = await NewDevice.create({ signing, agreement, suites: kat.suites, random: newDraws.random });
  const primary = new PrimaryDevice(account, { userId: kat.user, deviceId: kat.device, random: primaryDraws.random });
  same(fresh.offer, kat.offer, "the offer");
  const proposal = await primary.propose(fresh.offer);
  same(proposal, kat.proposal, "the proposal");
  await refuse(kat, 2, fresh, (message) => fresh.propose(message), proposal);
  const accept = await fresh.propose(proposal);
  same(accept, kat.accept, "the answer");
  same([fresh.userId, fresh.deviceId, hex(fresh.account)], [kat.user, kat.device, hex(account.public)], "what was proposed");
  await refuse(kat, 3, primary, (message) => primary.accept(message), accept);
  await primary.accept(accept);
  same([primary.code, fresh.code], [kat.code, kat.code], "the digits");
  primary.confirm();
  fresh.confirm();
  same((await primary.certificate({ created: kat.created })).encoded, kat.certificate, "the certificate");
  const devices = DeviceList.parse(fromHex(kat.devices));
  const complete = await primary.complete(devices);
  same(complete, kat.complete, "the last message");
  await refuse(kat, 4, fresh, (message) => fresh.complete(message), complete);
  const linked = await fresh.complete(complete);
  same(linked.certificate.encoded, kat.certificate, "the certificate that came");
  same(linked.devices.encoded, kat.devices, "the list that came");
  same([fresh.state, primary.state], ["linked", "linked"], "the states");
  newDraws.done();
  primaryDraws.done();
}

async function offerRefused(kat) {
  const primary = new PrimaryDevice(await signingPair(new Uint8Array(32)), { userId: "alice", deviceId: 2 });
  same(await refusal(() => primary.propose(fromHex(kat.offer))), kat.error, "the error");
  same(primary.state, "started", "the state");
}

export const run = ({ cases }) => runCases(cases, (kat) => (kat.type === "link" ? link(kat) : offerRefused(kat)));
