import { openDevice } from "../sdk/devices.js";
import { SalamError, Signaling, socketUrl } from "../sdk/signaling.js";
import "../ui/brand.js";
import { rememberedDevice } from "../ui/device_pickers.js";
import { byId } from "../ui/dom.js";
import { setLabel } from "../ui/i18n.js";
import { icon } from "../ui/icons.js";
import "../ui/lobby.js";
import "../ui/state_screen.js";
import "../ui/switches.js";
import { pageToken, publishDebug } from "./page.js";

/** @import { Call } from "../sdk/call.js" */
/** @import { CallView } from "../ui/call_view.js" */
/** @import { Lobby, LobbyResult } from "../ui/lobby.js" */
/** @import { StateScreen, StateAction } from "../ui/state_screen.js" */
/** @import { Key } from "../ui/strings.js" */
/** @import { IconName } from "../ui/icons.js" */
/** @typedef {{icon: IconName, title: Key, hint: Key, again?: Key}} Ending */

const query = new URLSearchParams(location.search);
const room = decodeURIComponent(location.pathname.split("/")[2] ?? "");
const state = /** @type {StateScreen} */ (byId("state"));
const lobby = /** @type {Lobby} */ (byId("lobby"));
const signaling = new Signaling({ url: socketUrl(), token: pageToken() });

/** @type {Call | null} */
let call = null;
/** @type {CallView | null} */
let view = null;

/** @type {Record<string, Ending>} */
const ENDINGS = {
  left: { icon: "leave", title: "end.left.title", hint: "end.left.hint", again: "end.rejoin" },
  moderator: { icon: "shield", title: "end.removed.title", hint: "end.removed.hint" },
  replaced: { icon: "people", title: "end.replaced.title", hint: "end.replaced.hint", again: "end.replaced.here" },
  room_closed: { icon: "close", title: "end.closed.title", hint: "end.closed.hint" },
  room_full: { icon: "people", title: "end.full.title", hint: "end.full.hint", again: "common.retry" },
  failed: { icon: "warning", title: "end.failed.title", hint: "end.failed.hint", again: "common.retry" },
  denied: { icon: "shield", title: "end.denied.title", hint: "end.denied.hint" },
};

/** @param {string} which @param {string} [reason] */
function end(which, reason = "") {
  signaling.close();
  view?.close();
  view = null;
  lobby.close();
  lobby.hidden = true;
  byId("page-bar").hidden = false;
  const ending = ENDINGS[which] ?? /** @type {Ending} */ (ENDINGS.failed);
  /** @type {StateAction[]} */
  const actions = [{ t: "end.home", run: () => location.assign("/") }];
  if (ending.again) actions.unshift({ t: ending.again, run: () => location.reload(), primary: true });
  state.show({ ...ending, params: { reason }, actions });
}

/** @param {unknown} error */
function endWith(error) {
  const code = error instanceof SalamError ? error.code : "failed";
  const message = error instanceof Error ? error.message : String(error);
  if (code in ENDINGS) end(code, message);
  else if (code.startsWith("token_") || code === "grant_missing") end("denied", message);
  else end("failed", message);
}

/** The call itself comes while one looks at the lobby, so that the lobby comes first. */
function loadCall() {
  return Promise.all([import("../sdk/call.js"), import("../ui/call_view.js")]);
}

/** @param {LobbyResult} person */
async function enter(person) {
  lobby.busy = true;
  const [{ Call }, { CallView }] = await loadCall();
  const codec = query.get("codec") === "h264" ? "h264" : "vp8";
  const joining = new Call({ signaling, codec });
  call = joining;
  joining.on("removed", ({ reason }) => end(reason));
  joining.on("failed", endWith);
  if (person.microphone) await joining.publish("microphone", person.microphone, { muted: !person.microphoneOn });
  if (person.camera) await joining.publish("camera", person.camera, { muted: !person.cameraOn });
  let early = true;
  joining.on("joined", () => {
    if (!early) return;
    early = false;
    // Before any media arrives, so that no track is missed.
    lobby.close();
    lobby.hidden = true;
    state.hide();
    byId("page-bar").hidden = true;
    view = new CallView({ call: joining, signaling, onLeave: leave });
  });
  try {
    await joining.join({ room, name: person.name });
  } catch (error) {
    await joining.leave();
    endWith(error);
  }
}

async function leave() {
  await call?.leave();
  end("left");
}

/** Opens what there is; joining works without. @returns {Promise<LobbyResult>} */
async function withoutLobby() {
  const [camera, microphone] = await Promise.all([
    openDevice("video", rememberedDevice("camera")).catch(() => null),
    openDevice("audio", rememberedDevice("microphone")).catch(() => null),
  ]);
  return { name: query.get("name") ?? "", camera, microphone, cameraOn: camera !== null, microphoneOn: microphone !== null };
}

function greet() {
  if (view) return;
  if (query.get("join") === "1" && query.get("name")) {
    if (!call) void withoutLobby().then(enter);
    return;
  }
  state.hide();
  if (!lobby.hidden) return;
  lobby.hidden = false;
  lobby.start(room, query.get("name") ?? "");
  loadCall().catch(() => {});
}

document.title = room;
setLabel(byId("panel-close"), "common.close").append(icon("close"));
lobby.addEventListener("join", (event) => void enter(/** @type {CustomEvent<LobbyResult>} */ (event).detail));
signaling.on("status", ({ state: now }) => {
  if (view || now !== "reconnecting" || !lobby.hidden) return;
  state.show({ busy: true, title: "end.gone.title", hint: "end.gone.hint", actions: [{ t: "common.retry", run: () => signaling.retryNow() }] });
});
signaling.on("welcome", greet);
signaling.on("refused", endWith);
globalThis.addEventListener("pagehide", () => void call?.leave());
publishDebug(() => ({ page: "room", connection: signaling.status.state, signaling: signaling.status, rtt_ms: signaling.rttMs, joined: view !== null, ...(call?.debug() ?? {}) }));
state.show({ busy: true, title: "end.connecting.title", hint: "end.connecting.hint" });
signaling.connect().catch(() => {});
