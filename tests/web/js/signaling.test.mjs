import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Backoff } from "../../../web/sdk/backoff.js";
import { Signaling, socketUrl } from "../../../web/sdk/signaling.js";

/** A socket without a network: what the client sends is read, what the server says is put in. */
class Wire {
  static OPEN = 1;
  /** @type {Wire[]} */ static all = [];
  readyState = 0;
  sent = [];
  constructor(url, protocol) {
    Object.assign(this, { url, protocol });
    Wire.all.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close(code) {
    this.readyState = 3;
    this.closedWith = code;
  }
  open() {
    this.readyState = 1;
    this.onopen();
  }
  say(message) {
    this.onmessage({ data: typeof message === "string" ? message : JSON.stringify(message) });
  }
  last(type) {
    return this.sent.findLast((message) => message.t === type);
  }
  welcome(more = {}) {
    this.open();
    this.say({ t: "welcome", re: this.last("hello").id, session_id: "s", resume: "secret", ...more });
  }
}

beforeEach(() => {
  Wire.all = [];
  globalThis.WebSocket = Wire;
});

/** @param {import("node:test").TestContext} t */
async function connected(t) {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const signaling = new Signaling({ url: "ws://x/ws", token: "tok", backoff: new Backoff({ random: () => 1 }) });
  t.after(() => signaling.close());
  const welcome = signaling.connect();
  Wire.all[0].welcome();
  await welcome;
  return { signaling, wire: Wire.all[0] };
}

test("the address follows the page's", () => {
  assert.equal(socketUrl({ protocol: "https:", host: "a.b" }), "wss://a.b/ws");
  assert.equal(socketUrl({ protocol: "http:", host: "localhost:8080" }), "ws://localhost:8080/ws");
});

test("hello comes first and carries the token", async (t) => {
  const { signaling, wire } = await connected(t);
  assert.equal(wire.protocol, "salam.v1.json");
  assert.deepEqual([wire.sent[0].t, wire.sent[0].token], ["hello", "tok"]);
  assert.equal(signaling.status.state, "open");
});

test("the session of the page before is asked for", async (t) => {
  const signaling = new Signaling({ url: "ws://x/ws", resume: "before" });
  t.after(() => signaling.close());
  const welcome = signaling.connect();
  assert.equal(signaling.resumeSecret, "before");
  Wire.all[0].welcome({ resumed: true });
  await welcome;
  assert.equal(Wire.all[0].sent[0].resume, "before");
  assert.equal(signaling.resumeSecret, "secret");
});

test("a reply finds its request, an error rejects it with the server's code", async (t) => {
  const { signaling, wire } = await connected(t);
  const join = signaling.request("join", { room: "r", name: "n" });
  wire.say({ t: "joined", re: wire.last("join").id, room: "r", participant_id: "p" });
  assert.equal((await join).participant_id, "p");
  const mute = signaling.request("mute", { track_id: "t", muted: true });
  wire.say({ t: "error", re: wire.last("mute").id, code: "unknown_track", message: "no such track" });
  await assert.rejects(mute, { code: "unknown_track", message: "no such track" });
});

test("events come by name, nonsense is passed over", async (t) => {
  const { signaling, wire } = await connected(t);
  const heard = [];
  signaling.on("speakers", (event) => heard.push(event.speakers));
  for (const nonsense of ["", "{", "null", "[]", "7", '{"t":5}', '{"re":"x","t":"done"}', '{"t":"done","re":99}']) wire.say(nonsense);
  wire.say({ t: "speakers", speakers: [{ participant_id: "a", level_dbov: -20 }] });
  assert.deepEqual(heard, [[{ participant_id: "a", level_dbov: -20 }]]);
});

test("a lost connection is resumed; held requests go again, others fail", async (t) => {
  const { signaling, wire } = await connected(t);
  const chat = signaling.request("chat", { chat_id: "c", text: "hi" }, { hold: true });
  const hand = signaling.request("raise_hand", { raised: true });
  wire.onclose();
  await assert.rejects(hand, { code: "connection_lost", retryable: true });
  assert.deepEqual([signaling.status.state, signaling.status.retryInMs], ["reconnecting", 500]);
  await assert.rejects(signaling.request("mute", {}), { code: "connection_lost" });
  t.mock.timers.tick(500);
  const again = Wire.all[1];
  again.welcome({ resumed: true });
  assert.equal(again.sent[0].resume, "secret");
  assert.deepEqual([again.last("chat").chat_id, again.last("chat").text], ["c", "hi"]);
  again.say({ t: "done", re: again.last("chat").id });
  assert.equal((await chat).t, "done");
});

test("a silent connection is given up after a ping without an answer", async (t) => {
  const { signaling, wire } = await connected(t);
  assert.equal(wire.last("ping").t, "ping");
  t.mock.timers.tick(4_000);
  await Promise.resolve().then(() => {});
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(signaling.status.state, "reconnecting");
});

test("a server that drains says when to come back", async (t) => {
  const { signaling, wire } = await connected(t);
  wire.say({ t: "drain", retry_after_s: 3 });
  assert.equal(signaling.status.cause, "drain");
  assert.ok(signaling.status.retryInMs >= 3_000 && signaling.status.retryInMs <= 3_300);
});

test("a refused token ends it for good", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const signaling = new Signaling({ url: "ws://x/ws" });
  const connecting = signaling.connect();
  Wire.all[0].open();
  Wire.all[0].say({ t: "error", re: Wire.all[0].sent[0].id, code: "token_expired", message: "expired" });
  await assert.rejects(connecting, { code: "token_expired" });
  assert.equal(signaling.status.state, "closed");
  t.mock.timers.tick(60_000);
  assert.equal(Wire.all.length, 1);
});

test("closing says so and fails what is unanswered", async (t) => {
  const { signaling, wire } = await connected(t);
  const join = signaling.request("join", {});
  signaling.close();
  await assert.rejects(join, { code: "closed" });
  assert.equal(wire.closedWith, 1000);
  await assert.rejects(signaling.request("ping"), { code: "closed" });
});
