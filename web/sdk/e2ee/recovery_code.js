/**
 * Recovery codes: 256 random bits that a person writes down (the profile's section 10).
 *
 * 52 characters of Crockford's base 32: the 256 bits, then the first 4 bits of their SHA-256, by which a slip of the pen is noticed.
 */
import { fixed, fromHex, hex } from "./encoding.js";
import { MalformedMessage } from "./errors.js";
import { KEY_BYTES, sha256, systemRandom } from "./suite.js";

/** @import { Bytes } from "./encoding.js" */
/** @import { Random } from "./suite.js" */

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
export const CODE_CHARACTERS = 52;
const CHECK_BITS = 4n;
// Crockford: letters that look like digits are read as those, and U is left out for what it would spell.
const LOOKALIKES = new Map([["O", "0"], ["I", "1"], ["L", "1"]]);

/** @param {Bytes} secret */
const checkOf = async (secret) => BigInt((await sha256(secret))[0] >> (8 - Number(CHECK_BITS)));

/** A new recovery code, to be shown once; draws 32 bytes. @param {Random} [random] */
export function drawCode(random = systemRandom) {
  return formatCode(random(KEY_BYTES));
}

/** 32 bytes as 13 groups of four characters; `MalformedMessage` for another length. @param {Bytes} secret */
export async function formatCode(secret) {
  let bits = (BigInt(`0x${hex(fixed(secret, KEY_BYTES))}`) << CHECK_BITS) | (await checkOf(secret));
  let characters = "";
  for (let place = 0; place < CODE_CHARACTERS; place += 1, bits >>= 5n) characters = ALPHABET[Number(bits & 31n)] + characters;
  return (characters.match(/.{4}/g) ?? []).join("-");
}

/**
 * The 32 bytes of a code as somebody typed it: any case, any grouping, O for 0, I and L for 1.
 *
 * @param {string} code
 * @returns {Promise<Bytes>} rejects with `MalformedMessage` for a wrong length, a character that no code has, or a check that is wrong:
 *   it was mistyped
 */
export async function parseCode(code) {
  const characters = [...code.replace(/[- \t\r\n]/g, "").toUpperCase()];
  if (characters.length !== CODE_CHARACTERS) {
    throw new MalformedMessage(`a recovery code has ${CODE_CHARACTERS} characters, not ${characters.length}`);
  }
  let bits = 0n;
  for (const [place, character] of characters.entries()) {
    const value = ALPHABET.indexOf(LOOKALIKES.get(character) ?? character);
    if (value < 0) throw new MalformedMessage(`character ${place + 1} of the recovery code is none that a code has`);
    bits = (bits << 5n) | BigInt(value);
  }
  const secret = fromHex((bits >> CHECK_BITS).toString(16).padStart(2 * KEY_BYTES, "0"));
  if ((bits & ((1n << CHECK_BITS) - 1n)) !== (await checkOf(secret))) {
    throw new MalformedMessage("the recovery code was mistyped: its check is wrong");
  }
  return secret;
}
