/** Runs the test vectors of Wycheproof on the primitives as this browser and the checks around it give them. */
import { hasSmallOrder } from "/web/sdk/e2ee/edwards.js";
import { concat, fromHex, hex } from "/web/sdk/e2ee/encoding.js";
import * as suite from "/web/sdk/e2ee/suite.js";
import { refusal, runCases, same } from "./check.js";

const CHECKS = {
  /** Every accepted case has the shared secret; what gives an all-zero one is refused. */
  async x25519(test) {
    const zero = /^0*$/.test(test.shared);
    const attempt = () => suite.agree(fromHex(test.private), fromHex(test.public));
    if (zero) same(await refusal(attempt), "invalid_key", "the error");
    else same(await attempt(), test.shared, "the secret");
  },

  async ed25519(test, group) {
    const [key, signature] = [fromHex(group.publicKey.pk), fromHex(test.sig)];
    const accepted = signature.length === suite.SIGNATURE_BYTES && (await suite.verifyRaw(key, signature, fromHex(test.msg)));
    same(accepted, test.result === "valid", "whether it verifies");
  },

  /** The profile has one size of each; the others are not its business. */
  async aes_gcm(test, group) {
    if (group.keySize !== 256 || group.ivSize !== 96 || group.tagSize !== 128) return;
    const [key, iv, aad] = [fromHex(test.key), fromHex(test.iv), fromHex(test.aad)];
    const sealed = fromHex(test.ct + test.tag);
    if (test.result === "valid") {
      same(await suite.seal(key, iv, fromHex(test.msg), aad), sealed, "the ciphertext");
      same(await suite.openSealed(key, iv, sealed, aad), test.msg, "the plaintext");
    } else {
      same(await refusal(() => suite.openSealed(key, iv, sealed, aad)), "decryption_failed", "the error");
    }
  },

  async hkdf_sha256(test) {
    const attempt = () => suite.hkdf(fromHex(test.salt), fromHex(test.ikm), fromHex(test.info), test.size);
    if (test.result === "valid") {
      same(await attempt(), test.okm, "the key");
      return;
    }
    // More than 255 blocks: the browser refuses, and no layout of the profile asks for it.
    const refused = await attempt().then(
      () => false,
      (error) => error instanceof DOMException,
    );
    same(refused, true, "whether it is refused");
  },

  async hmac_sha256(test, group) {
    const mac = await (await suite.hmacSha256(fromHex(test.key)))(fromHex(test.msg));
    same(hex(mac).startsWith(test.tag) && test.tag.length === group.tagSize / 4, test.result === "valid", "whether it is right");
  },

  async mlkem_768(test) {
    const attempt = async () => {
      const pair = await suite.kemPair(fromHex(test.seed));
      if (test.ek) same(pair.public, test.ek, "the public key");
      return suite.decapsulate(pair.secret, fromHex(test.c));
    };
    if (test.result === "valid") same(await attempt(), test.K, "the secret");
    else same(await refusal(attempt), "invalid_key", "the error");
  },

  /** The browser draws for itself: a good key is shown by coming back, a bad one is refused. */
  async mlkem_768_encaps(test) {
    if (test.result === "valid") {
      const { secret, ciphertext } = await suite.encapsulate(fromHex(test.ek));
      same([secret.length, ciphertext.length], [32, suite.KEM_CIPHERTEXT_BYTES], "the lengths");
    } else {
      same(await refusal(() => suite.encapsulate(fromHex(test.ek))), "invalid_key", "the error");
    }
  },
};

export async function run({ testGroups }, name) {
  const tests = testGroups.flatMap((group) => group.tests.map((test) => ({ name: `${test.tcId} ${test.comment ?? ""}`, test, group })));
  return runCases(tests, ({ test, group }) => CHECKS[name](test, group));
}

/**
 * Forgeries that a bare browser accepts: under a public key of small order everybody can sign.
 *
 * The points are the fourteen encodings that libsodium knows, given by the test.
 *
 * @param {{points: string[]}} data
 */
export async function runSmallOrder({ points }) {
  const message = new TextEncoder().encode("anything at all");
  const seed = new Uint8Array(32).fill(7);
  const pair = await suite.signingPair(seed);
  const good = await suite.sign(pair, "spk", message);
  const order = fromHex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
  return runCases(
    points.map((point) => ({ name: point, point: fromHex(point) })),
    async ({ point }) => {
      same(hasSmallOrder(point), true, "whether the order is small");
      const forged = concat(point, new Uint8Array(32));
      for (const r of points) {
        same(await suite.verifyRaw(point, concat(fromHex(r), new Uint8Array(32)), message), false, "a forgery");
      }
      same(await refusal(() => suite.verify(point, "spk", message, forged)), "invalid_key", "the error of the key");
      same(await refusal(() => suite.verify(pair.public, "spk", message, forged)), "bad_signature", "the error of R");
      same(await refusal(() => suite.checkSigningKey(point)), "invalid_key", "the error where the key enters");
      const high = concat(good.slice(0, 32), order);
      same(await refusal(() => suite.verify(pair.public, "spk", message, high)), "bad_signature", "the error of S");
      await suite.verify(pair.public, "spk", message, good);
    },
  );
}
