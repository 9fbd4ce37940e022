/** Runs ed25519.json, see tests/e2ee/kat/make_ed25519.py. */
import { fromHex } from "/web/sdk/e2ee/encoding.js";
import { checkSigningKey, verify } from "/web/sdk/e2ee/suite.js";
import { refusal, runCases, same } from "./check.js";

async function check({ public: key, body, signature, error }) {
  const [publicKey, signed, parsed] = [key, body, signature].map(fromHex);
  same(await refusal(() => verify(publicKey, "spk", signed, parsed)), error ?? "nothing was refused", "the error");
  const alone = error === "invalid_key" ? error : "nothing was refused";
  same(await refusal(() => checkSigningKey(publicKey)), alone, "the error of the key alone");
}

export const run = ({ cases }) => runCases(cases, check);
