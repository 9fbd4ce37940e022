import assert from "node:assert/strict";
import { test } from "node:test";
import { startsAnew } from "../../../web/sdk/player.js";

const STATES = ["offline", "starting", "live", "interrupted", "ended"];
const PLAYERS = ["idle", "loading", "playing", "paused", "stalled", "retrying", "failed"];

test("a broadcast that begins is played, also while the buffer of the one before still plays", () => {
  for (const before of STATES.filter((state) => state !== "live")) for (const player of PLAYERS) assert.equal(startsAnew(before, "live", player), true, `${before} ${player}`);
});

test("a viewer count that changes does not start it over", () => {
  for (const player of PLAYERS.filter((state) => state !== "idle")) assert.equal(startsAnew("live", "live", player), false, player);
  assert.equal(startsAnew("live", "live", "idle"), true);
});

test("nothing is started that is not live", () => {
  for (const before of STATES) for (const now of STATES.filter((state) => state !== "live")) for (const player of PLAYERS) assert.equal(startsAnew(before, now, player), false);
});
