import { keepSession, takeKeptSession } from "../sdk/kept_session.js";
import { SalamError, Signaling, socketUrl } from "../sdk/signaling.js";
import { Watch } from "../sdk/watch.js";
import "../ui/banner.js";
import "../ui/brand.js";
import "../ui/chat_panel.js";
import { denial } from "../ui/denial.js";
import { byId, h } from "../ui/dom.js";
import { setLabel, setPlaceholder, setText, translatePage } from "../ui/i18n.js";
import "../ui/player_view.js";
import { reasonOf } from "../ui/reason.js";
import "../ui/switches.js";
import "../ui/toast.js";
import { nameInPath, onPageEnd, pageToken, publishDebug } from "./page.js";

/** @import { Banner } from "../ui/banner.js" */
/** @import { ChatPanel } from "../ui/chat_panel.js" */
/** @import { Notice, PlayerView } from "../ui/player_view.js" */
/** @import { Toasts } from "../ui/toast.js" */
/** @import { StreamState } from "../sdk/messages.js" */
/** @import { Key } from "../ui/strings.js" */

const REACTIONS = ["👍", "❤️", "😂", "😮", "😢"];
const NAME_STORED = "salam.name";

const stream = nameInPath();
const player = /** @type {PlayerView} */ (byId("player"));
const chat = /** @type {ChatPanel} */ (byId("chat"));
const banner = /** @type {Banner} */ (byId("banner"));
const toasts = /** @type {Toasts} */ (byId("toasts"));
const name = /** @type {HTMLInputElement} */ (byId("chat-name"));
const signaling = new Signaling({ url: socketUrl(), token: pageToken(), resume: takeKeptSession({ stream })?.resume });

name.value = new URLSearchParams(location.search).get("name") ?? localStorage.getItem(NAME_STORED) ?? "";
const watch = new Watch({ signaling, stream, name: name.value });

/** @param {StreamState} state @param {number} viewers */
function show(state, viewers) {
  for (const id of ["stream-state", "viewers"]) byId(id).hidden = false;
  const chip = byId("stream-state");
  chip.dataset.state = state;
  setText(chip, /** @type {Key} */ (`stream.state.${state}`));
  setText(byId("viewers"), "watch.viewers", { n: viewers });
  player.follow(state);
  player.notice = null;
}

/** @param {string} text */
async function send(text) {
  try {
    await watch.sendChat(text);
  } catch (error) {
    chat.restore(text);
    toasts.show("chat.failed", { reason: reasonOf(error) }, { warning: true });
  }
}

/** Nothing of this page is for whoever came here: it says why, and offers nothing else. @param {Notice} notice */
function shut(notice) {
  player.notice = notice;
  banner.hide();
  for (const part of document.querySelectorAll(".about, .watch-chat")) part.toggleAttribute("hidden", true);
}

/** @param {unknown} error */
function refused(error) {
  const words = denial(error);
  if (words) shut(words);
  // Asked again by itself as soon as there is a connection.
  else if (!(error instanceof SalamError && error.code === "connection_lost")) toasts.show("watch.failed", { reason: reasonOf(error) }, { warning: true });
}

/** @param {string} emoji */
function reactionButton(emoji) {
  const button = h("button", { class: "reaction", type: "button", label: ["watch.react", { emoji }] }, emoji);
  button.addEventListener("click", () => void watch.react(emoji).catch(() => {}));
  return button;
}

translatePage();
document.title = stream || document.title;
byId("stream-name").textContent = stream;
byId("reactions").append(...REACTIONS.map(reactionButton));
setLabel(setPlaceholder(name, "lobby.name"), "chat.name");
name.addEventListener("change", () => {
  localStorage.setItem(NAME_STORED, name.value.trim());
  void watch.rename(name.value.trim()).catch(() => {});
});
chat.setNotice(h("p", { class: "hint", t: "secure.chat.open" }));
chat.addEventListener("send", (event) => void send(/** @type {CustomEvent<string>} */ (event).detail));
document.addEventListener("keydown", (event) => {
  if (event.code !== "KeyC" || /** @type {HTMLElement} */ (event.target).closest("input, textarea") || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  chat.focusField();
});

player.open(`/live/${encodeURIComponent(stream)}/index.m3u8`, pageToken());
watch.on("changed", ({ state, viewers }) => show(state, viewers));
watch.on("chat", (line) => chat.add(line));
watch.on("reaction", (emoji) => player.float(emoji));
watch.on("failed", refused);
signaling.on("status", ({ state }) => {
  if (state !== "reconnecting") return banner.hide();
  const plays = player.player?.state === "playing";
  player.notice = { title: "end.gone.title", hint: "end.gone.hint" };
  // What was known of a stream that does not play is old news.
  for (const id of ["stream-state", "viewers"]) byId(id).hidden = !plays;
  banner.show({ t: plays ? "watch.reconnecting" : "watch.reconnecting.chat", busy: true });
});
onPageEnd({
  // Counted as the same viewer after a reload.
  reload: () => signaling.welcome && keepSession({ resume: signaling.resumeSecret, graceS: signaling.welcome.resume_grace_s ?? 0, room: "", stream }),
  leave: () => signaling.close(),
});
publishDebug(() => ({
  page: "watch",
  connection: signaling.status.state,
  stream,
  state: watch.state,
  viewers: watch.viewers,
  chat_lines: watch.chat.length,
  ...(player.player?.debug() ?? {}),
}));
if (stream) {
  signaling
    .connect()
    .then(() => watch.start())
    .catch(refused);
} else {
  shut({ icon: "warning", title: "end.bad_link.title", hint: "end.bad_link.hint" });
}
