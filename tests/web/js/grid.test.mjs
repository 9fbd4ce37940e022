import assert from "node:assert/strict";
import test from "node:test";
import { fitFor, solveGrid, solveSpeaker } from "../../../web/ui/grid.js";

const BOXES = [
  { width: 360, height: 640 },
  { width: 390, height: 844 },
  { width: 1440, height: 900 },
  { width: 1920, height: 200 },
];

/** @param {{x: number, y: number, width: number, height: number}[]} rects */
function check(rects, { width, height }, count) {
  assert.equal(rects.length, count);
  for (const rect of rects) {
    assert.ok(rect.width > 0 && rect.height > 0);
    assert.ok(rect.x >= -0.01 && rect.y >= -0.01, "inside at the start");
    assert.ok(rect.x + rect.width <= width + 0.01 && rect.y + rect.height <= height + 0.01, "inside at the end");
  }
  for (const [i, a] of rects.entries()) {
    for (const b of rects.slice(i + 1)) {
      const apart = a.x + a.width <= b.x + 0.01 || b.x + b.width <= a.x + 0.01 || a.y + a.height <= b.y + 0.01 || b.y + b.height <= a.y + 0.01;
      assert.ok(apart, "no two tiles overlap");
    }
  }
}

test("tiles are inside, apart and of one size, whatever the box and the number", () => {
  for (const box of BOXES) {
    for (let count = 1; count <= 30; count++) {
      const rects = solveGrid({ count, ...box, gap: 8 });
      check(rects, box, count);
      assert.equal(new Set(rects.map((rect) => `${rect.width.toFixed(3)}x${rect.height.toFixed(3)}`)).size, 1);
    }
  }
});

test("no other number of columns gives larger tiles", () => {
  for (const box of BOXES) {
    for (let count = 1; count <= 16; count++) {
      const [tile] = solveGrid({ count, ...box, gap: 8 });
      for (let columns = 1; columns <= count; columns++) {
        const rows = Math.ceil(count / columns);
        const width = Math.min((box.width - 8 * (columns - 1)) / columns, ((box.height - 8 * (rows - 1)) / rows) * (16 / 9));
        const height = Math.min((box.height - 8 * (rows - 1)) / rows, width / (4 / 3));
        if (width <= 0 || height <= 0) continue;
        assert.ok(tile.width * tile.height >= width * height - 0.01, `${count} in ${box.width}x${box.height}: ${columns} columns`);
      }
    }
  }
});

test("a camera's picture always fills a grid tile", () => {
  for (const box of BOXES) {
    for (let count = 1; count <= 16; count++) {
      const [tile] = solveGrid({ count, ...box, gap: 8 });
      assert.equal(fitFor(tile.width / tile.height, 16 / 9), "cover");
    }
  }
});

test("a portrait picture in a wide tile is not cut", () => assert.equal(fitFor(16 / 9, 9 / 16), "contain"));

test("nothing to place and no place give nothing", () => {
  assert.deepEqual(solveGrid({ count: 0, width: 100, height: 100, gap: 8 }), []);
  assert.deepEqual(solveGrid({ count: 3, width: 0, height: 100, gap: 8 }), []);
});

test("the speaker is larger than all others, who keep beside it", () => {
  for (const box of BOXES.slice(0, 3)) {
    for (let count = 2; count <= 12; count++) {
      const rects = solveSpeaker({ count, large: 1, ...box, gap: 8 });
      check(rects, box, count);
      const [main, ...others] = rects;
      for (const other of others) assert.ok(main.width * main.height > 2 * other.width * other.height);
    }
  }
});

test("those beside the speaker stay large enough to be known", () => {
  for (const box of [{ width: 374, height: 720 }, { width: 1416, height: 752 }]) {
    for (let count = 2; count <= 16; count++) {
      const [, ...others] = solveSpeaker({ count, large: 1, ...box, gap: 8 });
      for (const other of others) assert.ok(other.width >= 80 && other.height >= 56, `${count} in ${box.width}x${box.height}: ${other.width}x${other.height}`);
    }
  }
});

test("when everybody is large the speaker view is the grid", () => {
  const box = { width: 800, height: 600, gap: 8 };
  assert.deepEqual(solveSpeaker({ count: 3, large: 3, ...box }), solveGrid({ count: 3, ...box }));
});
