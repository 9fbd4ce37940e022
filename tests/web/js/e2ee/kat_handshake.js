/** Runs handshake.json, see tests/e2ee/kat/make_handshake.py. */
import { deviceKeySignature, issueCertificate } from "/web/sdk/e2ee/certificates.js";
import { fromHex } from "/web/sdk/e2ee/encoding.js";
import { PreKeyMessage, initiate, respond } from "/web/sdk/e2ee/handshake.js";
import { makePolicy } from "/web/sdk/e2ee/limits.js";
import { Bundle } from "/web/sdk/e2ee/prekeys.js";
import { agreementPair, encapsulate, kemPair, signingPair } from "/web/sdk/e2ee/suite.js";
import { edited, refusal, replay, runCases, same } from "./check.js";

async function local(side, suites = null) {
  const [account, signing] = [await signingPair(fromHex(side.account_seed)), await signingPair(fromHex(side.signing_seed))];
  const agreement = await agreementPair(fromHex(side.agreement_seed));
  const certificate = await issueCertificate(account, {
    userId: side.user,
    deviceId: side.device,
    signingPublic: signing.public,
    agreementPublic: agreement.public,
    deviceSignature: await deviceKeySignature(signing, side.user, side.device, agreement.public),
    created: side.created,
    suites: suites ?? side.suites,
  });
  if (!suites) same(certificate.encoded, side.certificate, "the certificate");
  return { certificate, signing, agreement };
}

async function secretsOf(kat, without = null) {
  const seed = (kind) => (kat[kind] && kind !== without ? fromHex(kat[kind].seed) : null);
  const [signed, oneTime, kem] = [seed("signed_prekey"), seed("one_time_prekey"), seed("kem_prekey")];
  return {
    signed: await agreementPair(signed),
    oneTime: oneTime ? await agreementPair(oneTime) : null,
    kem: kem ? await kemPair(kem) : null,
  };
}

const policyOf = ({ policy }) => makePolicy({ minSuite: policy.min_suite, requireOneTime: policy.require_one_time });

async function begin(kat, alice, bundle, policy, random) {
  const parsed = Bundle.parse(bundle);
  same(parsed.encode(), bundle, "the bundle written again");
  const recorded = async (publicKey) => {
    // It checks the key; its own draw is of no use here.
    await encapsulate(publicKey);
    same(publicKey, (await kemPair(fromHex(kat.kem_prekey.seed))).public, "the KEM key");
    return { secret: fromHex(kat.kem.secret), ciphertext: fromHex(kat.kem.ciphertext) };
  };
  return initiate(alice, parsed, policy, { now: kat.now, random, encapsulate: recorded });
}

async function agreed(kat) {
  const [alice, bob] = [await local(kat.initiator), await local(kat.responder)];
  const { random, done } = replay(kat.random);
  const mine = await begin(kat, alice, fromHex(kat.bundle), policyOf(kat), random);
  same(mine.transcript, kat.transcript, "T");
  const message = fromHex(kat.message);
  same(await mine.encrypt(fromHex(kat.content), { random }), kat.message, "the first message");
  done();
  const first = PreKeyMessage.parse(message);
  same(await first.fingerprint(), kat.fingerprint, "the fingerprint");
  const theirs = await respond(bob, alice.certificate, first, await secretsOf(kat), policyOf(kat), { now: kat.now });
  same(await theirs.decrypt(message, { now: kat.now }), kat.content, "the content");
  const reply = await theirs.encrypt(fromHex(kat.reply_content), replay(kat.reply_random));
  same(reply, kat.reply, "the reply");
  same(await mine.decrypt(reply, { now: kat.now }), kat.reply_content, "the reply's content");
}

async function refused(kat, of) {
  const altered = edited(of[kat.target], kat.edit);
  const attempt = async () => {
    if (kat.target === "bundle") {
      await begin(of, await local(of.initiator), altered, policyOf(kat), replay(of.random).random);
      return;
    }
    const peer = (await local(of.initiator, kat.initiator_suites)).certificate;
    const bob = await local(of.responder, kat.responder_suites);
    const session = await respond(bob, peer, PreKeyMessage.parse(altered), await secretsOf(of, kat.without), policyOf(kat), of);
    await session.decrypt(altered, of);
  };
  same(await refusal(attempt), kat.error, "the error");
}

export async function run({ cases }) {
  const named = new Map(cases.map((kat) => [kat.name, kat]));
  return runCases(cases, (kat) => (kat.of ? refused(kat, named.get(kat.of)) : agreed(kat)));
}
