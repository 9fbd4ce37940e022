import { Signaling, socketUrl } from "../sdk/signaling.js";
import "../ui/brand.js";
import { byId, h } from "../ui/dom.js";
import { setLabel, setText, translatePage } from "../ui/i18n.js";
import { icon } from "../ui/icons.js";
import "../ui/switches.js";
import { api, isName, pageToken, publishDebug } from "./page.js";

/** @import { Key } from "../ui/strings.js" */
/** @import { StreamState } from "../sdk/messages.js" */
/** @typedef {{stream: string, state: StreamState, viewers: number, started_at: number | null, rungs: {name: string, width: number, height: number}[]}} StreamRow */
/** @typedef {{name: string, version: string, dev: boolean, token_required: boolean, media_port: number, rtmp_port: number, hostname: string}} ServerInfo */

// A viewer looking for a stream that is about to begin should not have to reload.
const REFRESH_MS = 5_000;
// Pleasant, short and hard to mistake when read out on the telephone.
const FIRST = ["amber", "calm", "clear", "early", "golden", "green", "kind", "late", "quiet", "silver", "soft", "warm"];
const SECOND = ["bay", "cedar", "coast", "dawn", "garden", "harbor", "hill", "lake", "meadow", "palm", "river", "valley"];

const form = /** @type {HTMLFormElement} */ (byId("room-form"));
const input = /** @type {HTMLInputElement} */ (byId("room-input"));
const token = new URLSearchParams(location.search).get("token");
const tail = token ? `?token=${encodeURIComponent(token)}` : "";
/** @type {ServerInfo | null} */
let server = null;
/** @type {StreamRow[] | null} */
let streams = null;
let path = "checking";
/** Whether the server did not answer when it was asked last; null: not asked yet. @type {boolean | null} */
let lost = null;

function newRoomName() {
  const [a = 0, b = 0, c = 0] = crypto.getRandomValues(new Uint16Array(3));
  return `${FIRST[a % FIRST.length]}-${SECOND[b % SECOND.length]}-${100 + (c % 900)}`;
}

/** @param {SubmitEvent} event */
function join(event) {
  event.preventDefault();
  const room = input.value.trim().replace(/\s+/g, "-") || input.placeholder;
  if (isName(room)) location.assign(`/room/${room}${tail}`);
  else setText(byId("room-hint"), "home.room.invalid").classList.add("field-problem");
}

/** @param {StreamRow} row */
function streamRow(row) {
  const tallest = Math.max(0, ...row.rungs.map((rung) => rung.height));
  return h(
    "li",
    {},
    h(
      "a",
      { class: "stream-row", href: `/watch/${encodeURIComponent(row.stream)}${tail}` },
      h("span", { class: `state-dot ${row.state}` }),
      h("span", { class: "stream-words" }, h("bdi", { class: "stream-name" }, row.stream), h("small", { t: /** @type {Key} */ (`stream.state.${row.state}`) })),
      tallest > 0 && h("span", { class: "stream-detail", t: ["watch.quality.level", { height: String(tallest) }] }),
      h("span", { class: "stream-detail", t: ["home.viewers", { n: row.viewers }] }),
      icon("arrow"),
    ),
  );
}

/** An address that goes on in the next line at its parts rather than within a word. @param {string} address */
function breakable(address) {
  return address.split(/(?<=\/live\/)|(?=\?)/).flatMap((part) => [part, h("wbr")]);
}

function showNoStreams() {
  const none = byId("no-streams");
  none.hidden = streams !== null && streams.length > 0;
  if (none.hidden) return;
  none.replaceChildren(h("p", { t: streams === null ? "home.live.unknown" : "home.live.none" }));
  if (!server) return;
  const address = `rtmp://${location.hostname}${server.rtmp_port === 1935 ? "" : `:${server.rtmp_port}`}/live/${server.dev ? "demo" : "STREAM?token=TOKEN"}`;
  const copy = h("button", { class: "button small", type: "button", t: "home.copy" });
  copy.addEventListener("click", async () => {
    await navigator.clipboard?.writeText(address).catch(() => {});
    setText(copy, "home.copied");
  });
  none.append(h("p", { class: "hint", t: "home.live.how" }), h("div", { class: "address" }, h("code", { dir: "ltr" }, ...breakable(address)), copy));
}

async function refresh() {
  const [nextStreams, rooms] = await Promise.all([api("/api/v1/streams"), server?.dev ? api("/api/v1/rooms") : null]);
  // Streams that are over stay known to the server for a while; they are not what one comes to see.
  const shown = /** @type {StreamRow[] | null} */ (nextStreams)?.filter((row) => row.state !== "ended" && row.state !== "offline") ?? null;
  // The line below the page and the list tell of one server.
  if (lost !== null && lost !== (shown === null)) void checkPath();
  lost = shown === null;
  const changed = JSON.stringify(shown) !== JSON.stringify(streams) || streams === null;
  streams = shown;
  // A list that is drawn anew loses the focus of whoever is on it.
  if (changed) {
    byId("streams").replaceChildren(...(streams ?? []).map(streamRow));
    showNoStreams();
  }
  const list = byId("rooms");
  const open = /** @type {{room: string, participants: number}[]} */ (rooms ?? []);
  list.hidden = open.length === 0;
  if (open.map((row) => `${row.room}/${row.participants}`).join() === list.dataset.shown) return;
  list.dataset.shown = open.map((row) => `${row.room}/${row.participants}`).join();
  list.replaceChildren(
    h("li", { class: "hint", t: "home.rooms" }),
    ...open.slice(0, 6).map((row) => h("li", {}, h("a", { class: "button small", href: `/room/${encodeURIComponent(row.room)}${tail}` }, h("bdi", {}, row.room), h("small", { t: ["home.people", { n: row.participants }] })))),
  );
}

async function showServer() {
  server = await api("/api/v1/server");
  if (!server) return;
  const words = [h("span", { t: ["home.server.version", { name: server.name, version: server.version, host: server.hostname }] })];
  if (server.token_required && !pageToken()) setText(byId("room-hint"), "home.room.invited");
  if (server.dev) words.push(h("span", { class: "chip", t: "home.dev" }));
  byId("server-name").replaceChildren(...words);
  setText(byId("media-path"), "home.path.media", { port: String(server.media_port) });
}

/** Opens a real signaling connection and measures one ping on it. */
async function checkPath() {
  const line = byId("path");
  setText(line, "home.path.checking");
  const probe = new Signaling({ url: socketUrl(), token: pageToken() });
  const timeout = new Promise((_, reject) => setTimeout(() => reject(new Error("timeout")), 6_000));
  try {
    await Promise.race([probe.connect(), timeout]);
    await probe.probe();
    path = "reachable";
    setText(line, "home.path.signaling", { ms: Math.round(probe.rttMs) });
  } catch (error) {
    const refused = error instanceof Error && error.name === "SalamError";
    path = refused ? "refused" : "unreachable";
    setText(line, refused ? "home.path.refused" : "home.path.unreachable");
  } finally {
    line.dataset.path = path;
    probe.close();
  }
}

translatePage();
byId("room-prefix").textContent = `${location.host}/room/`;
setLabel(input, "home.room.label");
input.placeholder = newRoomName();
input.addEventListener("input", () => setText(byId("room-hint"), "home.room.hint").classList.remove("field-problem"));
form.addEventListener("submit", join);
publishDebug(() => ({ page: "home", server, streams, path }));
void checkPath();
void showServer()
  .then(refresh)
  .finally(() => setInterval(() => !document.hidden && void refresh(), REFRESH_MS));
