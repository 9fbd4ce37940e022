/** @typedef {{x: number, y: number, width: number, height: number}} Rect */

// What cameras deliver: between these two a camera's picture fills its tile with at most a quarter of it cut away.
const MIN_ASPECT = 4 / 3;
const MAX_ASPECT = 16 / 9;
// The strip beside the speaker: a fifth shows who is there, and leaves the rest to whom one looks at.
const STRIP_SHARE = 0.2;
const STRIP_MIN = 96;
const STRIP_MAX = 220;
// Smaller than this a tile tells neither who it is nor how they are: the strip gets another line then, up to this share of the box.
const LEAST_WIDTH = 84;
const LEAST_HEIGHT = 60;
const STRIPS_SHARE = 0.4;

/**
 * Places `count` tiles in a box so that each is as large as possible, with the last row centred.
 *
 * @param {{count: number, width: number, height: number, gap: number, minAspect?: number, maxAspect?: number}} box  in CSS pixels
 * @returns {Rect[]}
 */
export function solveGrid({ count, width, height, gap, minAspect = MIN_ASPECT, maxAspect = MAX_ASPECT }) {
  if (count <= 0 || width <= 0 || height <= 0) return [];
  let best = { area: 0, columns: 1, tileWidth: 0, tileHeight: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const cellWidth = (width - gap * (columns - 1)) / columns;
    const cellHeight = (height - gap * (rows - 1)) / rows;
    if (cellWidth <= 0 || cellHeight <= 0) continue;
    const tileWidth = Math.min(cellWidth, cellHeight * maxAspect);
    const tileHeight = Math.min(cellHeight, tileWidth / minAspect);
    const area = tileWidth * tileHeight;
    if (area > best.area) best = { area, columns, tileWidth, tileHeight };
  }
  return place(count, best, width, height, gap);
}

/**
 * One large tile for whoever matters now, the others in a strip of as many lines as they need: below it in a tall box, beside it in a
 * wide one.
 *
 * @param {{count: number, large: number, width: number, height: number, gap: number}} box  `large`: how many of the first tiles are large
 * @returns {Rect[]}
 */
export function solveSpeaker({ count, large, width, height, gap }) {
  const small = count - large;
  if (small <= 0 || large <= 0) return solveGrid({ count, width, height, gap });
  const wide = width > height;
  const across = wide ? width : height;
  const along = wide ? height : width;
  const perLine = Math.max(1, Math.floor((along + gap) / ((wide ? LEAST_HEIGHT : LEAST_WIDTH) + gap)));
  const lines = Math.ceil(small / perLine);
  const line = wide ? LEAST_HEIGHT * MAX_ASPECT : LEAST_WIDTH / MIN_ASPECT;
  const strip = lines > 1 ? Math.min(across * STRIPS_SHARE, lines * (line + gap) - gap) : Math.min(STRIP_MAX, Math.max(STRIP_MIN, across * STRIP_SHARE));
  const main = wide ? { width: width - strip - gap, height } : { width, height: height - strip - gap };
  const rects = solveGrid({ count: large, ...main, gap, minAspect: 0.5, maxAspect: 2.4 });
  if (lines > 1) {
    const others = solveGrid({ count: small, width: wide ? strip : width, height: wide ? height : strip, gap });
    for (const rect of others) rects.push(wide ? { ...rect, x: rect.x + main.width + gap } : { ...rect, y: rect.y + main.height + gap });
    return rects;
  }
  const fit = (along - gap * (small - 1)) / small;
  const tileWidth = wide ? strip : Math.max(0, Math.min(strip * MAX_ASPECT, fit));
  const tileHeight = wide ? Math.max(0, Math.min(strip / MAX_ASPECT, fit)) : strip;
  const used = (wide ? tileHeight : tileWidth) * small + gap * (small - 1);
  let at = (along - used) / 2;
  for (let index = 0; index < small; index++) {
    if (wide) rects.push({ x: main.width + gap, y: at, width: tileWidth, height: tileHeight });
    else rects.push({ x: at, y: main.height + gap, width: tileWidth, height: tileHeight });
    at += (wide ? tileHeight : tileWidth) + gap;
  }
  return rects;
}

/** @param {number} count @param {{columns: number, tileWidth: number, tileHeight: number}} tile @param {number} width @param {number} height @param {number} gap */
function place(count, { columns, tileWidth, tileHeight }, width, height, gap) {
  const rows = Math.ceil(count / columns);
  const top = (height - rows * tileHeight - (rows - 1) * gap) / 2;
  return Array.from({ length: count }, (_, index) => {
    const row = Math.floor(index / columns);
    const inRow = row === rows - 1 ? count - row * columns : columns;
    const left = (width - inRow * tileWidth - (inRow - 1) * gap) / 2;
    return { x: left + (index - row * columns) * (tileWidth + gap), y: top + row * (tileHeight + gap), width: tileWidth, height: tileHeight };
  });
}

/**
 * Whether a video may fill its tile: only when at most a quarter of it is cut away, the step between 16:9 and 4:3.
 *
 * @param {number} tileAspect
 * @param {number} videoAspect
 * @returns {"cover" | "contain"}
 */
export function fitFor(tileAspect, videoAspect) {
  const ratio = tileAspect / videoAspect;
  return Math.max(ratio, 1 / ratio) <= 1.34 ? "cover" : "contain";
}
