import assert from "node:assert/strict";
import { test } from "node:test";
import { keepSession, takeKeptSession } from "../../../web/sdk/kept_session.js";

class Store {
  items = new Map();
  getItem(key) {
    return this.items.get(key) ?? null;
  }
  setItem(key, value) {
    this.items.set(key, value);
  }
  removeItem(key) {
    this.items.delete(key);
  }
}

const SESSION = { resume: "id.secret", graceS: 30, room: "blue", stream: "", name: "Amal", handRaised: true, camera: { on: true, device: "c" }, microphone: null };

test("what was kept is taken once", () => {
  const store = new Store();
  keepSession(SESSION, store, 1_000);
  assert.deepEqual(takeKeptSession({ room: "blue" }, store, 31_000), SESSION);
  assert.equal(store.items.size, 0);
  assert.equal(takeKeptSession({ room: "blue" }, store, 2_000), null);
});

test("what is too old, of another place or damaged is thrown away", () => {
  const store = new Store();
  /** @param {object} wanted @param {number} nowMs */
  const refused = (wanted, nowMs) => {
    assert.equal(takeKeptSession(wanted, store, nowMs), null);
    assert.equal(store.items.size, 0);
  };
  for (const [wanted, nowMs] of [
    [{ room: "blue" }, 31_001],
    [{ room: "blue" }, 999],
    [{ room: "red" }, 2_000],
    [{ stream: "blue" }, 2_000],
  ]) {
    keepSession(SESSION, store, 1_000);
    refused(wanted, nowMs);
  }
  keepSession({ ...SESSION, resume: "" }, store, 1_000);
  refused({ room: "blue" }, 2_000);
  for (const text of ["", "{", "null", "[]", "7", '{"savedAtMs":"x"}', '{"savedAtMs":1000,"room":"blue","stream":""}']) {
    store.items.set("salam.session", text);
    refused({ room: "blue" }, 2_000);
  }
});

test("without a storage a page goes on", () => {
  const forbidden = new Proxy({}, { get: () => () => { throw new Error("forbidden"); } });
  keepSession(SESSION, forbidden, 0);
  assert.equal(takeKeptSession({ room: "blue" }, forbidden, 0), null);
});
