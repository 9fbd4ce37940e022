import assert from "node:assert/strict";
import { test } from "node:test";
import { toBase64 } from "../../../web/sdk/base64.js";
import { memoryStore } from "../../../web/sdk/e2ee/store.js";
import { MAX_HELD, MAX_HELD_OF_ONE, SecureHeld } from "../../../web/sdk/secure_held.js";
import { SecureLog } from "../../../web/sdk/secure_log.js";

/** @param {number} number @param {string} [userId] */
const message = (number, userId = "ben") => ({
  number,
  participant_id: `${userId} here`,
  user_id: userId,
  device_id: 1,
  message: toBase64(new TextEncoder().encode(`${userId} ${number}`)),
});

/** @param {SecureHeld} held @param {ReturnType<typeof memoryStore>} device @param {ReturnType<typeof message>[]} messages */
const add = (held, device, ...messages) =>
  device.run(async (tx) => {
    const kept = [];
    for (const one of messages) kept.push(await held.add(tx, one, "Ben"));
    return kept;
  });

/** @param {SecureHeld} held @param {ReturnType<typeof memoryStore>} device @param {string} [userId] */
const numbers = async (held, device, userId = "ben") => (await device.run((tx) => held.of(tx, userId))).map(({ number }) => number);

test("what waits is there for the next page, as it came and in that order, once", async () => {
  const [device, held] = [memoryStore(), new SecureHeld("me")];
  await held.open(device);
  assert.deepEqual(await add(held, device, message(3), message(1), message(2, "eve")), [true, true, true]);
  assert.deepEqual(await add(held, device, message(3)), [true]);
  const again = new SecureHeld("me");
  await again.open(device);
  assert.deepEqual([again.count, again.waiting("ben"), again.waiting("eve"), again.waiting("ada")], [3, 2, 1, 0]);
  const [first] = await device.run((tx) => again.of(tx, "ben"));
  assert.deepEqual(first, { ...message(3), name: "Ben", order: 1 });
  assert.deepEqual(await numbers(again, device), [3, 1]);
  assert.deepEqual(await numbers(new SecureHeld("somebody else"), device), []);
});

test("what is read or refused waits no longer, unless that fails", async () => {
  const [device, held] = [memoryStore(), new SecureHeld("me")];
  await held.open(device);
  await add(held, device, message(1), message(2));
  await device.run((tx) => held.remove(tx, message(1)));
  await device.run((tx) => held.remove(tx, message(1)));
  const failed = device.run(async (tx) => {
    await held.remove(tx, message(2));
    await held.add(tx, message(9), "Ben");
    throw new Error("no");
  });
  await assert.rejects(failed);
  assert.deepEqual([held.count, await numbers(held, device)], [1, [2]]);
});

test("there are bounds, for one and for all", async () => {
  const [device, held] = [memoryStore(), new SecureHeld("me")];
  await held.open(device);
  const many = Array.from({ length: MAX_HELD_OF_ONE }, (_, number) => message(number));
  assert.ok((await add(held, device, ...many)).every((kept) => kept));
  assert.deepEqual(await add(held, device, message(MAX_HELD_OF_ONE), message(0), message(0, "eve")), [false, true, true]);
  for (let user = 1; user < MAX_HELD / MAX_HELD_OF_ONE; user += 1) {
    await add(held, device, ...many.map(({ number }) => message(number, `user ${user}`)));
  }
  assert.equal(held.count, MAX_HELD);
  assert.deepEqual(await add(held, device, message(0, "zoe")), [false]);
});

test("a page that enters anew takes it along, and the end of the visit ends it", async () => {
  const [device, before, after] = [memoryStore(), new SecureHeld("me"), new SecureHeld("me again")];
  await before.open(device);
  await add(before, device, message(1));
  await after.open(device, before);
  await add(after, device, message(2));
  assert.deepEqual([await numbers(before, device), await numbers(after, device), after.count], [[], [1, 2], 2]);
  const log = new SecureLog("me again");
  await log.open(/** @type {any} */ (device));
  await log.forget(/** @type {any} */ (device));
  assert.deepEqual(await numbers(after, device), []);
});
