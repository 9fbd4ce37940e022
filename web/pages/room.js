import { openDevice } from "../sdk/devices.js";
import { keepSession, takeKeptSession } from "../sdk/kept_session.js";
import { SalamError, Signaling, socketUrl } from "../sdk/signaling.js";
import "../ui/brand.js";
import { rememberedDevice } from "../ui/device_pickers.js";
import { denial } from "../ui/denial.js";
import { byId } from "../ui/dom.js";
import { setLabel } from "../ui/i18n.js";
import { icon } from "../ui/icons.js";
import "../ui/lobby.js";
import { reasonOf } from "../ui/reason.js";
import "../ui/state_screen.js";
import "../ui/switches.js";
import { nameInPath, onPageEnd, pageToken, publishDebug } from "./page.js";

/** @import { Denial } from "../ui/denial.js" */
/** @import { Call } from "../sdk/call.js" */
/** @import { SecureChat } from "../sdk/secure_chat.js" */
/** @import { CallView } from "../ui/call_view.js" */
/** @import { KeptDevice, KeptSession } from "../sdk/kept_session.js" */
/** @import { ParticipantInfo, Source } from "../sdk/messages.js" */
/** @import { Lobby, LobbyResult } from "../ui/lobby.js" */
/** @import { StateScreen, StateAction } from "../ui/state_screen.js" */
/** @import { Value } from "../ui/i18n.js" */
/** @import { Key } from "../ui/strings.js" */
/** @import { IconName } from "../ui/icons.js" */
/** @typedef {{icon: IconName, title: Key, hint: Key, again?: Key}} Ending */

// A server that answers, but not with the modules, is no matter of waiting.
const MODULE_ATTEMPTS = 4;
const MODULE_WAIT_MS = 1_500;

const query = new URLSearchParams(location.search);
const room = nameInPath();
// A link to an encrypted call says so, for everybody who follows it.
const wantsEncryption = query.get("e2ee") === "1";
const state = /** @type {StateScreen} */ (byId("state"));
const lobby = /** @type {Lobby} */ (byId("lobby"));
/** What this tab was before it was reloaded within the call. @type {KeptSession | null} */
let kept = takeKeptSession({ room });
const signaling = new Signaling({ url: socketUrl(), token: pageToken(), resume: kept?.resume });

/** Who the server still takes this tab for, after a reload. @type {ParticipantInfo | null} */
let seat = null;
let over = false;
// A second welcome, after a connection lost on the way in, must not begin the way in again.
let entering = false;
/** @type {Call | null} */
let call = null;
/** @type {CallView | null} */
let view = null;
/** @type {SecureChat | null} */
let secure = null;

/** @type {Record<string, Ending>} */
const ENDINGS = {
  left: { icon: "leave", title: "end.left.title", hint: "end.left.hint", again: "end.rejoin" },
  left_empty: { icon: "leave", title: "end.left.title", hint: "end.left.empty", again: "end.rejoin" },
  moderator: { icon: "shield", title: "end.removed.title", hint: "end.removed.hint" },
  replaced: { icon: "people", title: "end.replaced.title", hint: "end.replaced.hint", again: "end.replaced.here" },
  gone: { icon: "people", title: "end.gone_meanwhile.title", hint: "end.gone_meanwhile.hint", again: "end.rejoin" },
  room_closed: { icon: "close", title: "end.closed.title", hint: "end.closed.hint" },
  room_full: { icon: "people", title: "end.full.title", hint: "end.full.hint", again: "common.retry" },
  failed: { icon: "warning", title: "end.failed.title", hint: "end.failed.hint", again: "common.retry" },
  unloaded: { icon: "warning", title: "end.unloaded.title", hint: "end.unloaded.hint", again: "common.retry" },
  bad_link: { icon: "warning", title: "end.bad_link.title", hint: "end.bad_link.hint" },
};

/** @param {string} which @param {Value} [reason] @param {Denial | null} [words]  instead of the ending's own */
function end(which, reason = "", words = null) {
  over = true;
  signaling.close();
  view?.close();
  view = null;
  void secure?.close({ left: true });
  lobby.close();
  lobby.hidden = true;
  byId("page-bar").hidden = false;
  const ending = ENDINGS[which] ?? /** @type {Ending} */ (ENDINGS.failed);
  /** @type {StateAction[]} */
  const actions = [{ t: "end.home", run: () => location.assign("/") }];
  if (ending.again && !words) actions.unshift({ t: ending.again, run: () => location.reload(), primary: true });
  state.show({ ...ending, ...words, params: { reason }, actions });
}

/** @param {unknown} error */
function endWith(error) {
  const code = error instanceof SalamError ? error.code : "failed";
  if (code in ENDINGS) end(code);
  else end("failed", reasonOf(error), denial(error));
}

/** @param {string} href @returns {Promise<void>} */
function loadStyle(href) {
  return new Promise((loaded) => {
    if (document.querySelector(`link[href="${href}"]`)) return loaded();
    const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href });
    // Without it everything is there, if not as pretty.
    link.onload = link.onerror = () => loaded();
    document.head.append(link);
  });
}

/** The call itself comes while one looks at the lobby, so that the lobby comes first. */
function loadCall() {
  return Promise.all([import("../sdk/call.js"), import("../ui/call_view.js"), import("../sdk/secure_chat.js"), loadStyle("/web/style/secure.css")]);
}

/** The same for whoever has pressed the button: waits for a server that cannot be reached now. @returns {ReturnType<typeof loadCall>} */
async function callModules() {
  for (let attempt = 1; ; ) {
    try {
      return await loadCall();
    } catch (error) {
      if (signaling.status.state === "open" && attempt++ === MODULE_ATTEMPTS) throw error;
      await new Promise((done) => setTimeout(done, MODULE_WAIT_MS));
    }
  }
}

/** @param {LobbyResult} person @param {boolean} [handRaised] */
async function enter(person, handRaised = false) {
  lobby.busy = true;
  const modules = await callModules().catch(() => null);
  if (over) return;
  if (!modules) return end("unloaded");
  const [{ Call }, { CallView }, { SecureChat }] = modules;
  const codec = query.get("codec") === "h264" ? "h264" : "vp8";
  // For diagnosis: whether the relays carry a call is not seen while a direct path does.
  const joining = new Call({ signaling, codec, relayOnly: query.get("relay") === "1" });
  call = joining;
  joining.handRaised = handRaised;
  const chat = new SecureChat({ signaling, call: joining });
  secure = chat;
  joining.on("removed", ({ reason }) => end(reason));
  joining.on("failed", endWith);
  if (person.encrypted) {
    try {
      joining.enableEncryption({ keys: await chat.makeCallKeys(room) });
    } catch (error) {
      // Never in the clear when it was wanted otherwise.
      await joining.leave();
      return endWith(error);
    }
  }
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
    kept = null;
    view = new CallView({ call: joining, signaling, secure: chat, onLeave: leave });
  });
  try {
    await joining.join({ room, name: person.name });
  } catch (error) {
    await joining.leave();
    endWith(error);
  }
}

async function leave() {
  const others = call?.participants.size ?? 0;
  await call?.leave();
  end(others > 0 ? "left" : "left_empty");
}

/** @param {"audio" | "video"} kind @param {string} device */
function openIfThere(kind, device) {
  return openDevice(kind, device).catch(() => null);
}

/** Goes back into the call with what was open before the reload. @param {KeptSession} before */
async function comeBack({ name = "", camera, microphone, handRaised = false, encrypted = false }) {
  const [cameraTrack, microphoneTrack] = await Promise.all([
    camera?.on ? openIfThere("video", camera.device) : null,
    // Opened even when it is muted: speaking again has to be quick.
    microphone ? openIfThere("audio", microphone.device) : null,
    // What follows the welcome has come when this is answered: whether there is still a seat.
    signaling.probe(),
  ]);
  if (over) return;
  if (signaling.welcome?.resumed && !seat) return end("gone");
  const on = { cameraOn: cameraTrack !== null, microphoneOn: microphone?.on ?? false };
  await enter({ name, camera: cameraTrack, microphone: microphoneTrack, ...on, encrypted }, handRaised);
  if (cameraTrack || microphoneTrack) return;
  // Nothing replaces the tracks of the page before, and nothing comes on them any more.
  for (const track of seat?.tracks ?? []) signaling.request("mute", { track_id: track.track_id, muted: true }).catch(() => {});
}

/** @param {Call} now @param {Source} source @returns {KeptDevice | null} */
function keptDevice(now, source) {
  const local = now.local.get(source);
  return local ? { on: !local.muted, device: local.track?.getSettings().deviceId ?? "" } : null;
}

/** Leaves this tab's place to the page that a reload loads. */
function keep() {
  const welcome = signaling.welcome;
  const resume = signaling.resumeSecret;
  const graceS = welcome?.resume_grace_s ?? kept?.graceS ?? 0;
  if (!over && view && call) {
    const { name, handRaised } = call;
    const encrypted = call.encryption !== null;
    keepSession({ resume, graceS, room, stream: "", name, handRaised, encrypted, camera: keptDevice(call, "camera"), microphone: keptDevice(call, "microphone") });
  } else if (!over && kept) {
    // Reloaded again before the first reload was through.
    keepSession({ ...kept, resume, graceS });
  } else {
    signaling.close();
  }
}

/** Opens what there is; joining works without. @returns {Promise<LobbyResult>} */
async function withoutLobby() {
  const [camera, microphone] = await Promise.all([
    openIfThere("video", rememberedDevice("camera")),
    openIfThere("audio", rememberedDevice("microphone")),
  ]);
  return { name: query.get("name") ?? "", camera, microphone, cameraOn: camera !== null, microphoneOn: microphone !== null, encrypted: wantsEncryption };
}

function greet() {
  if (view || over) return;
  if (entering) return;
  if (kept) {
    entering = true;
    void comeBack(kept);
    return;
  }
  if (query.get("join") === "1" && query.get("name")) {
    entering = true;
    void withoutLobby().then((person) => enter(person));
    return;
  }
  state.hide();
  if (!lobby.hidden) return;
  lobby.hidden = false;
  lobby.start(room, query.get("name") ?? "", wantsEncryption);
  loadCall().catch(() => {});
}

document.title = room || document.title;
setLabel(byId("panel-close"), "common.close").append(icon("close"));
lobby.addEventListener("join", (event) => void enter(/** @type {CustomEvent<LobbyResult>} */ (event).detail));
signaling.on("status", ({ state: now }) => {
  if (!lobby.hidden) lobby.unreachable = now === "reconnecting" ? () => signaling.retryNow() : null;
  if (view || now !== "reconnecting" || !lobby.hidden) return;
  state.show({ busy: true, title: "end.gone.title", hint: "end.gone.hint", actions: [{ t: "common.retry", run: () => signaling.retryNow() }] });
});
signaling.on("room_state", (now) => void (seat = now.participant));
signaling.on("welcome", greet);
signaling.on("refused", endWith);
onPageEnd({
  reload: keep,
  leave: () => {
    void call?.leave();
    signaling.close();
  },
});
publishDebug(() => ({ page: "room", connection: signaling.status.state, signaling: signaling.status, rtt_ms: signaling.rttMs, joined: view !== null, secure: secure?.debug() ?? null, ...(call?.debug() ?? {}) }));
if (room) {
  state.show({ busy: true, title: "end.connecting.title", hint: "end.connecting.hint" });
  signaling.connect().catch(() => {});
} else {
  end("bad_link");
}
