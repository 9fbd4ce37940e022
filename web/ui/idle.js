// Long enough to read a label, short enough to get out of the way of a face.
const IDLE_MS = 3_500;

/** Sets `data-idle` on an element while nobody moves, types or has something open. */
export class IdleChrome {
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #abort = new AbortController();
  #root;
  #mayHide;
  #onChange;

  /** @param {HTMLElement} root @param {() => boolean} mayHide @param {() => void} [onChange] */
  constructor(root, mayHide, onChange = () => {}) {
    this.#root = root;
    this.#mayHide = mayHide;
    this.#onChange = onChange;
    const { signal } = this.#abort;
    for (const type of ["pointermove", "pointerdown", "keydown", "focusin"]) document.addEventListener(type, () => this.wake(), { signal, passive: true });
    this.wake();
  }

  wake() {
    this.#set(false);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#mayHide()) this.#set(true);
      else this.wake();
    }, IDLE_MS);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#abort.abort();
    this.#set(false);
  }

  /** @param {boolean} idle */
  #set(idle) {
    if (this.#root.hasAttribute("data-idle") === idle) return;
    this.#root.toggleAttribute("data-idle", idle);
    this.#onChange();
  }
}
