/**
 * What WebCrypto does not check about Ed25519 (RFC 8032): browsers accept a forged signature under a public key of small order, and may
 * differ about keys of mixed order.
 *
 * Everything here is arithmetic on public data, so its time need not be constant. No secret ever comes here.
 */

const P = 2n ** 255n - 19n;
/** The order of the base point. */
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const D = modulo(-121665n * power(121666n, P - 2n));
const SQRT_MINUS_ONE = power(2n, (P - 1n) / 4n);
// A session verifies under the same few keys again and again, and a check costs some milliseconds.
const MAX_REMEMBERED = 4_096;

/** Keys that were found valid, by their bytes. @type {Set<string>} */
const valid = new Set();

/** @param {bigint} value */
function modulo(value) {
  const rest = value % P;
  return rest < 0n ? rest + P : rest;
}

/** @param {bigint} base @param {bigint} exponent */
function power(base, exponent) {
  let result = 1n;
  for (let square = base, left = exponent; left > 0n; left >>= 1n, square = (square * square) % P) {
    if (left & 1n) result = (result * square) % P;
  }
  return result;
}

/** @param {Uint8Array} bytes @returns {bigint} little-endian */
function number(bytes) {
  let value = 0n;
  for (let index = bytes.length - 1; index >= 0; index -= 1) value = (value << 8n) | BigInt(bytes[index]);
  return value;
}

/** The coordinate y of an encoded point, without the sign of x. @param {Uint8Array} point */
const coordinate = (point) => number(point) & (2n ** 255n - 1n);

// The coordinates y of the eight points whose order divides 8: (0, 1), (0, -1), (±sqrt(-1), 0) and the four of order 8.
const ORDER_EIGHT = 2707385501144840649318225287225658788936804267575313519463743609750303402022n;
const SMALL_ORDER = new Set([0n, 1n, P - 1n, ORDER_EIGHT, P - ORDER_EIGHT]);

/** Whether an encoded point is one of small order, in whatever form. @param {Uint8Array} point  32 bytes */
export function hasSmallOrder(point) {
  return SMALL_ORDER.has(coordinate(point) % P);
}

/** Whether `scalar` is below the group order, as the second half of a signature must be. @param {Uint8Array} scalar  32 bytes */
export function isReduced(scalar) {
  return number(scalar) < L;
}

/** Whether the encoding is the one form of its y. @param {Uint8Array} point  32 bytes */
function isCanonical(point) {
  return coordinate(point) < P;
}

/** The coordinate x of a point on the curve, null where there is none. @param {bigint} y @param {bigint} sign */
function recover(y, sign) {
  const square = modulo(y * y);
  const u = modulo(square - 1n);
  const v = modulo(D * square + 1n);
  // RFC 8032 section 5.1.3: the candidate root of u/v.
  let x = modulo(u * power(v, 3n) * power(modulo(u * power(v, 7n)), (P - 5n) / 8n));
  const check = modulo(v * x * x);
  if (check === modulo(-u)) x = modulo(x * SQRT_MINUS_ONE);
  else if (check !== u) return null;
  return (x & 1n) === sign ? x : modulo(-x);
}

/** @typedef {[bigint, bigint, bigint, bigint]} Point  extended coordinates X, Y, Z, T */

/** RFC 8032 section 5.1.4. @param {Point} one @param {Point} other @returns {Point} */
function add([x1, y1, z1, t1], [x2, y2, z2, t2]) {
  const a = modulo((y1 - x1) * (y2 - x2));
  const b = modulo((y1 + x1) * (y2 + x2));
  const c = modulo(2n * t1 * t2 * D);
  const d = modulo(2n * z1 * z2);
  const [e, f, g, h] = [b - a, d - c, d + c, b + a];
  return [modulo(e * f), modulo(g * h), modulo(f * g), modulo(e * h)];
}

/** Whether the point has the order of the base point: the order times it is the neutral element. @param {bigint} x @param {bigint} y */
function inMainSubgroup(x, y) {
  /** @type {Point} */
  let result = [0n, 1n, 1n, 0n];
  /** @type {Point} */
  let doubled = [x, y, 1n, modulo(x * y)];
  for (let left = L; left > 0n; left >>= 1n, doubled = add(doubled, doubled)) {
    if (left & 1n) result = add(result, doubled);
  }
  return result[0] === 0n && result[1] === result[2];
}

/**
 * Whether 32 bytes are a public key: the one form of a point of the curve, in its main subgroup, and not of small order.
 *
 * @param {Uint8Array} point
 */
export function isValidPoint(point) {
  if (point.length !== 32 || !isCanonical(point) || hasSmallOrder(point)) return false;
  const name = String.fromCharCode(...point);
  if (valid.has(name)) return true;
  const y = coordinate(point);
  const x = recover(y, BigInt(point[31] >> 7));
  if (x === null || !inMainSubgroup(x, y)) return false;
  if (valid.size >= MAX_REMEMBERED) valid.clear();
  valid.add(name);
  return true;
}
