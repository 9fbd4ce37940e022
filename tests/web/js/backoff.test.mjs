import assert from "node:assert/strict";
import test from "node:test";
import { Backoff } from "../../../web/sdk/backoff.js";

test("waits double up to the cap and start small again", () => {
  const backoff = new Backoff({ baseMs: 500, capMs: 15_000, random: () => 1 });
  assert.deepEqual(Array.from({ length: 7 }, () => backoff.next()), [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000]);
  backoff.reset();
  assert.equal(backoff.next(), 500);
});

test("waits are spread over the upper half", () => {
  assert.equal(new Backoff({ baseMs: 1_000, random: () => 0 }).next(), 500);
  assert.equal(new Backoff({ baseMs: 1_000, random: () => 0.5 }).next(), 750);
});

test("thousands of attempts stay at the cap", () => {
  const backoff = new Backoff({ random: () => 1 });
  for (let attempt = 0; attempt < 5_000; attempt++) assert.ok(backoff.next() <= 15_000);
});
