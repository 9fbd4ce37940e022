/**
 * An EventTarget whose events are known by name and detail, so that a listener gets the detail and is easy to take off again.
 *
 * @template {object} Events  event name to detail
 */
export class Emitter extends EventTarget {
  /**
   * Listens to one kind of event.
   *
   * @template {keyof Events & string} K
   * @param {K} type
   * @param {(detail: Events[K]) => void} listener
   * @returns {() => void} takes the listener off
   */
  on(type, listener) {
    const handler = (/** @type {Event} */ event) => listener(/** @type {CustomEvent} */ (event).detail);
    this.addEventListener(type, handler);
    return () => this.removeEventListener(type, handler);
  }

  /**
   * Tells all listeners of `type`.
   *
   * @template {keyof Events & string} K
   * @param {K} type
   * @param {Events[K]} detail
   */
  emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
