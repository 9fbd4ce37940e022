import { solveGrid, solveSpeaker } from "./grid.js";

/** @import { Rect } from "./grid.js" */
/** @import { Tile } from "./tile.js" */

const GAP = 8;
const MOVE_MS = 180;

/**
 * `<salam-stage>`: lays out tiles, moving them by transforms only, so that eight of them move without a repaint.
 */
export class Stage extends HTMLElement {
  /** @type {Tile[]} */ #tiles = [];
  #large = 0;
  #observer = new ResizeObserver(() => this.layout(false));
  #frame = 0;

  connectedCallback() {
    this.#observer.observe(this);
  }

  disconnectedCallback() {
    this.#observer.disconnect();
    cancelAnimationFrame(this.#frame);
  }

  /**
   * Shows these tiles, in order; the first `large` of them large, or all alike when that is 0.
   *
   * @param {Tile[]} tiles
   * @param {number} [large]
   */
  show(tiles, large = 0) {
    const gone = this.#tiles.filter((tile) => !tiles.includes(tile));
    for (const tile of gone) tile.remove();
    for (const tile of tiles) if (tile.parentElement !== this) this.append(tile);
    this.#tiles = [...tiles];
    this.#large = Math.min(large, tiles.length);
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.layout(true));
  }

  /** @param {boolean} animate */
  layout(animate) {
    const { clientWidth: width, clientHeight: height } = this;
    const count = this.#tiles.length;
    const rects = this.#large > 0 ? solveSpeaker({ count, large: this.#large, width, height, gap: GAP }) : solveGrid({ count, width, height, gap: GAP });
    const mirrored = getComputedStyle(this).direction === "rtl";
    const still = !animate || matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.#tiles.forEach((tile, index) => {
      const rect = rects[index];
      if (!rect) return;
      const x = mirrored ? width - rect.x - rect.width : rect.x;
      this.#move(tile, { ...rect, x }, still);
    });
  }

  /** @param {Tile} tile @param {Rect} to @param {boolean} still */
  #move(tile, to, still) {
    const from = tile.rect;
    tile.place(to);
    if (still || !from || (from.x === to.x && from.y === to.y && from.width === to.width && from.height === to.height)) return;
    const start = `translate(${from.x}px, ${from.y}px) scale(${from.width / to.width}, ${from.height / to.height})`;
    tile.animate([{ transform: start }, { transform: `translate(${to.x}px, ${to.y}px)` }], { duration: MOVE_MS, easing: "ease-out" });
  }
}

customElements.define("salam-stage", Stage);
