/**
 * How much a passphrase is worth, told from below: against a backup that a server keeps, guesses can be tried for years unseen.
 *
 * No dictionary: letters in a row count as words of a list of 2,048, wherever they come from, and what repeats or counts up is worth
 * next to nothing. So five random words pass, and so do eleven random characters of all kinds; a word with a year does not.
 */
import { fromUtf8, utf8 } from "./encoding.js";
import { KdfParamsRefused } from "./errors.js";

// At 256 MiB and 0.7 s a try, a thousand large accelerators that try a hundred a second each need about 180 years for half of 2^50.
export const MIN_PASSPHRASE_BITS = 50;
// A word of a list of 2,048; the letters after the eighth of a run at the rate of running text.
const WORD_BITS = 11;
const WORD_LETTERS = 8;
const TEXT_BITS = 1.5;
const LETTER_BITS = Math.log2(26);
const DIGIT_BITS = Math.log2(10);
const SIGN_BITS = Math.log2(33);
// A character that repeats its neighbour or follows it (aaa, 123, cba), and a piece that was there before.
const PREDICTED_BITS = 1;
const PIECES = /[\p{L}\p{Nl}\p{No}]+|\p{Nd}+|\s+|[^\p{L}\p{N}\s]+/gu;

/** The passphrase after NFKC, in UTF-8; `MalformedMessage` for text that UTF-8 cannot carry. @param {string} passphrase */
export function normalized(passphrase) {
  return utf8(passphrase.normalize("NFKC"));
}

/** @param {string} piece @param {number} each */
function runBits(piece, each) {
  const points = Array.from(piece, (character) => /** @type {number} */ (character.codePointAt(0)));
  return points.reduce((bits, point, index) => {
    return bits + (index > 0 && Math.abs(point - points[index - 1]) <= 1 ? PREDICTED_BITS : each);
  }, 0);
}

/** @param {string} piece */
function pieceBits(piece) {
  if (/^\s/u.test(piece)) return 0;
  if (/^\p{Nd}/u.test(piece)) return runBits(piece, DIGIT_BITS);
  if (!/^\p{L}+$/u.test(piece)) return runBits(piece, SIGN_BITS);
  return Math.min(runBits(piece, LETTER_BITS), WORD_BITS + TEXT_BITS * Math.max([...piece].length - WORD_LETTERS, 0));
}

/** A low estimate of the bits of randomness in a passphrase. @param {string} passphrase */
export function entropyBits(passphrase) {
  const seen = new Set();
  let bits = 0;
  for (const [piece] of fromUtf8(normalized(passphrase), "a passphrase").matchAll(PIECES)) {
    const folded = piece.toLowerCase();
    bits += seen.has(folded) ? Math.min(PREDICTED_BITS, pieceBits(piece)) : pieceBits(piece);
    seen.add(folded);
  }
  return bits;
}

/** `KdfParamsRefused` with the code `weak_passphrase` for one that a patient guesser would find. @param {string} passphrase */
export function checkPassphrase(passphrase) {
  const bits = entropyBits(passphrase);
  if (bits < MIN_PASSPHRASE_BITS) {
    throw new KdfParamsRefused(
      `the passphrase is worth about ${Math.round(bits)} bits and needs ${MIN_PASSPHRASE_BITS}: ` +
        "take five or more random words, or the recovery code",
      "weak_passphrase",
    );
  }
}
