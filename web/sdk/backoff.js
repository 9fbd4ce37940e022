// Half a second is hardly noticed after a short break; 15 s is the longest that a person watching a banner waits willingly.
const BASE_MS = 500;
const CAP_MS = 15_000;

/** Growing waits between attempts, spread out so that a server that comes back is not met by everybody at once. */
export class Backoff {
  /** @param {{baseMs?: number, capMs?: number, random?: () => number}} [options] */
  constructor({ baseMs = BASE_MS, capMs = CAP_MS, random = Math.random } = {}) {
    this.baseMs = baseMs;
    this.capMs = capMs;
    this.random = random;
    this.attempt = 0;
  }

  /** The wait before the next attempt in ms: between half and all of the doubled ceiling. */
  next() {
    const ceiling = Math.min(this.capMs, this.baseMs * 2 ** Math.min(this.attempt, 16));
    this.attempt += 1;
    return Math.round(ceiling * (0.5 + 0.5 * this.random()));
  }

  /** An attempt worked: start small again. */
  reset() {
    this.attempt = 0;
  }
}
