/** Runs safety.json, see tests/e2ee/kat/make_safety.py. */
import { fromHex } from "/web/sdk/e2ee/encoding.js";
import { SafetyCode, checkCode, safetyNumber } from "/web/sdk/e2ee/safety_number.js";
import { refusal, runCases, same } from "./check.js";

const known = ({ user, account, peer, peer_account: peerAccount }) => {
  return { userId: user, account: fromHex(account), peerId: peer, peerAccount: fromHex(peerAccount) };
};

const checks = {
  async number(kat) {
    const { userId, account, peerId, peerAccount } = known(kat);
    same(await safetyNumber(userId, account, peerId, peerAccount), kat.number, "the number");
    same(await safetyNumber(peerId, peerAccount, userId, account), kat.number, "the number of the other side");
  },

  async code(kat) {
    const code = new SafetyCode(known(kat)).encode();
    same(code, kat.encoded, "the code");
    same(SafetyCode.parse(code).encode(), kat.encoded, "the code written again");
    for (const check of kat.checked) {
      const attempt = () => checkCode(code, known(check));
      if (check.error === null) attempt();
      else same(await refusal(attempt), check.error, "the error");
    }
  },

  code_refused: async (kat) => same(await refusal(() => SafetyCode.parse(fromHex(kat.encoded))), kat.error, "the error"),
};

export const run = ({ cases }) => runCases(cases, (kat) => checks[kat.type](kat));
