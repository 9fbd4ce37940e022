import assert from "node:assert/strict";
import test from "node:test";
import { LayerRequests, SIMULCAST, shownHeight, worthAsking } from "../../../web/sdk/layers.js";

test("the encodings go from the lowest to the highest", () => {
  assert.deepEqual(SIMULCAST.map((encoding) => encoding.rid), ["q", "h", "f"]);
  for (const [lower, higher] of [[0, 1], [1, 2]]) {
    assert.ok(SIMULCAST[lower].maxBitrate < SIMULCAST[higher].maxBitrate);
    assert.ok(SIMULCAST[lower].scaleResolutionDownBy > SIMULCAST[higher].scaleResolutionDownBy);
  }
});

test("the shown height counts device pixels of the picture and not of the box", () => {
  assert.equal(shownHeight({ width: 320, height: 180, pixelRatio: 1 }), 180);
  assert.equal(shownHeight({ width: 320, height: 180, pixelRatio: 3 }), 540);
  assert.equal(shownHeight({ width: 320, height: 600, pixelRatio: 1 }), 180);
  assert.equal(shownHeight({ width: 320, height: 600, pixelRatio: 1, fit: "cover" }), 600);
  assert.equal(shownHeight({ width: 0, height: 600, pixelRatio: 2 }), 0);
});

test("small changes are not worth asking, appearing and vanishing are", () => {
  assert.ok(worthAsking(undefined, 0));
  assert.ok(!worthAsking(200, 205));
  assert.ok(worthAsking(200, 260));
  assert.ok(worthAsking(200, 0));
  assert.ok(worthAsking(0, 1));
  assert.ok(!worthAsking(0, 0));
});

test("requests wait for the layout to settle, and say only what changed", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const sent = [];
  const requests = new LayerRequests((...request) => sent.push(request));
  requests.want("a", 100);
  requests.want("a", 300);
  requests.want("b", 200);
  assert.deepEqual(sent, []);
  t.mock.timers.tick(1_000);
  assert.deepEqual(sent.splice(0), [["a", 300], ["b", 200]]);
  requests.want("a", 310);
  t.mock.timers.tick(1_000);
  assert.deepEqual(sent, []);
  requests.setHidden(true);
  t.mock.timers.tick(1_000);
  assert.deepEqual(sent.splice(0), [["a", 0], ["b", 0]]);
  requests.forget("b");
  requests.setHidden(false);
  t.mock.timers.tick(1_000);
  assert.deepEqual(sent.splice(0), [["a", 310]]);
  requests.repeat();
  t.mock.timers.tick(1_000);
  assert.deepEqual(sent.splice(0), [["a", 310]]);
  requests.want("a", 900);
  requests.stop();
  t.mock.timers.tick(1_000);
  assert.deepEqual(sent, []);
});
