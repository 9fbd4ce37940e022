/** Runs sealed.json, see tests/e2ee/kat/make_sealed.py. */
import { DeviceCertificate } from "/web/sdk/e2ee/certificates.js";
import { fromHex } from "/web/sdk/e2ee/encoding.js";
import { hpkeOpen, hpkeSeal } from "/web/sdk/e2ee/hpke.js";
import { SenderCertificate, openSender, sealSender } from "/web/sdk/e2ee/sealed.js";
import { agreementPair, signingPair } from "/web/sdk/e2ee/suite.js";
import { edited, refusal, replay, runCases, same } from "./check.js";

const recipientOf = (kat) => DeviceCertificate.parse(fromHex(kat.recipient_certificate));
const senderOf = (kat) => SenderCertificate.parse(fromHex(kat.sender_certificate));

async function hpke(kat) {
  const [info, aad] = [fromHex(kat.info), fromHex(kat.aad)];
  const { random } = replay(kat.random);
  same(await hpkeSeal(fromHex(kat.recipient), fromHex(kat.plain), { info, aad, random }), kat.sealed, "the ciphertext");
  const pair = await agreementPair(fromHex(kat.recipient_seed));
  same(await hpkeOpen(pair, fromHex(kat.sealed), { info, aad }), kat.plain, "the plaintext");
}

async function certificate(kat) {
  const server = await signingPair(fromHex(kat.server_seed));
  const issued = SenderCertificate.parse(fromHex(kat.encoded));
  same(issued.userId, kat.user, "the user");
  same(issued.deviceId, kat.device, "the device");
  same(issued.signing, kat.signing, "the key of the device");
  same(Number(issued.expires), kat.expires, "the end of it");
  for (const [now, error] of kat.times) {
    if (error === null) await issued.verify(server.public, { now });
    else same(await refusal(() => issued.verify(server.public, { now })), error, `the error at ${now}`);
  }
}

async function seal(kat) {
  const [own, sender, message] = [recipientOf(kat), senderOf(kat), fromHex(kat.message)];
  const { random, done } = replay(kat.random);
  const sealed = await sealSender(own, sender, message, { random });
  done();
  same(sealed, kat.sealed, "the message");
  const opened = await openSender(own, await agreementPair(fromHex(kat.agreement_seed)), sealed, { server: fromHex(kat.server), now: kat.now });
  same(opened.sender.encoded, kat.sender_certificate, "the sender");
  same(opened.message, kat.message, "the message inside");
}

export function run({ cases }) {
  const named = new Map(cases.map((kat) => [kat.name, kat]));
  const checks = {
    hpke,
    certificate,
    seal,
    async certificate_refused(kat) {
      const attempt = () => SenderCertificate.parse(edited(kat.encoded, kat.edit)).verify(fromHex(kat.server), kat);
      same(await refusal(attempt), kat.error, "the error");
    },
    async seal_refused(kat) {
      same(await refusal(() => sealSender(recipientOf(kat), senderOf(kat), fromHex(kat.message))), kat.error, "the error");
    },
    async open_refused(kat) {
      const sealed = edited((kat.of ? named.get(kat.of) : kat).sealed, kat.edit ?? []);
      const pair = await agreementPair(fromHex(kat.agreement_seed));
      same(await refusal(() => openSender(recipientOf(kat), pair, sealed, { server: fromHex(kat.server), now: kat.now })), kat.error, "the error");
    },
  };
  return runCases(cases, (kat) => checks[kat.type](kat));
}
