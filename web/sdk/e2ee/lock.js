/** Runs asynchronous steps one after the other, in the order in which they were asked for. */
export class Lock {
  /** @type {Promise<unknown>} */ #last = Promise.resolve();

  /**
   * @template T
   * @param {() => Promise<T>} step  starts when all earlier ones have ended, well or not
   * @returns {Promise<T>}
   */
  run(step) {
    const done = this.#last.then(step);
    this.#last = done.catch(() => {});
    return done;
  }
}
