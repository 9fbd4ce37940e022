import { keepSession, takeKeptSession } from "../sdk/kept_session.js";
import { Signaling, socketUrl } from "../sdk/signaling.js";
import { Watch } from "../sdk/watch.js";
import "../ui/banner.js";
import "../ui/brand.js";
import "../ui/chat_panel.js";
import { byId, h } from "../ui/dom.js";
import { setLabel, setPlaceholder, setText, translatePage } from "../ui/i18n.js";
import "../ui/player_view.js";
import "../ui/switches.js";
import "../ui/toast.js";
import { onPageEnd, pageToken, publishDebug } from "./page.js";

/** @import { Banner } from "../ui/banner.js" */
/** @import { ChatPanel } from "../ui/chat_panel.js" */
/** @import { PlayerView } from "../ui/player_view.js" */
/** @import { Toasts } from "../ui/toast.js" */
/** @import { StreamState } from "../sdk/messages.js" */
/** @import { Key } from "../ui/strings.js" */

const REACTIONS = ["👍", "❤️", "😂", "😮", "😢"];
const NAME_STORED = "salam.name";

const stream = decodeURIComponent(location.pathname.split("/")[2] ?? "");
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
  const chip = byId("stream-state");
  chip.dataset.state = state;
  setText(chip, /** @type {Key} */ (`stream.state.${state}`));
  setText(byId("viewers"), "watch.viewers", { n: viewers });
  player.follow(state);
}

/** @param {string} text */
async function send(text) {
  try {
    await watch.sendChat(text);
  } catch (error) {
    chat.restore(text);
    toasts.show("chat.failed", { reason: error instanceof Error ? error.message : "" }, { warning: true });
  }
}

/** @param {string} emoji */
function reactionButton(emoji) {
  const button = h("button", { class: "reaction", type: "button", label: ["watch.react", { emoji }] }, emoji);
  button.addEventListener("click", () => void watch.react(emoji).catch(() => {}));
  return button;
}

translatePage();
document.title = stream;
byId("stream-name").textContent = stream;
byId("reactions").append(...REACTIONS.map(reactionButton));
setLabel(setPlaceholder(name, "lobby.name"), "chat.name");
name.addEventListener("change", () => {
  localStorage.setItem(NAME_STORED, name.value.trim());
  void watch.rename(name.value.trim()).catch(() => {});
});
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
watch.on("failed", (error) => toasts.show("end.failed.hint", { reason: error.message }, { warning: true }));
signaling.on("status", ({ state }) => {
  if (state === "reconnecting") banner.show({ t: "watch.reconnecting", busy: true });
  else banner.hide();
});
signaling.on("refused", (error) => banner.show({ t: ["end.denied.hint", { reason: error.message }] }));
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
signaling
  .connect()
  .then(() => watch.start())
  .catch((error) => toasts.show("end.failed.hint", { reason: error.message }, { warning: true }));
