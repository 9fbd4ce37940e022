/** The sheets about end-to-end encryption: safety number, devices, and what is encrypted at all. */
import { hex } from "../sdk/e2ee/encoding.js";
import { SUITE_PQ } from "../sdk/e2ee/limits.js";
import { h } from "./dom.js";
import { locale } from "./i18n.js";
import { icon } from "./icons.js";
import { openSheet } from "./sheet.js";

/** @import { SecureChat } from "../sdk/secure_chat.js" */
/** @import { IconName } from "./icons.js" */
/** @import { Key } from "./strings.js" */
/** @import { DeviceCertificate } from "../sdk/e2ee/certificates.js" */

const GROUP = /.{1,5}/g;
// Enough of a fingerprint to tell devices apart; people compare the safety number, not this.
const FINGERPRINT = /.{1,4}/g;
const FINGERPRINT_CHARACTERS = 32;

/** @param {number} unixSeconds */
function day(unixSeconds) {
  return new Intl.DateTimeFormat(locale(), { dateStyle: "medium" }).format(unixSeconds * 1000);
}

/**
 * The number that two people compare, with what they found.
 *
 * @param {SecureChat} chat
 * @param {{participantId: string, name: string}} person
 */
export async function openSafetyNumber(chat, { participantId, name }) {
  const body = h("div", { class: "safety" });
  const dialog = openSheet("secure.number.title", body);
  const fill = async () => {
    const number = await chat.safetyNumber(participantId);
    const { state, verified } = chat.trust(participantId);
    // By their places in the groups the eye finds the one that differs. They run one way in every language.
    const digits = h("div", { class: "safety-digits", dir: "ltr", role: "group", label: "secure.number.digits" }, ...(number.match(GROUP) ?? []).map((group) => h("span", {}, group)));
    /** @type {HTMLElement[]} */
    const parts = [h("p", { class: "safety-with", t: ["secure.number.with", { name }] }), digits];
    if (state === "changed") {
      const waiting = chat.waiting(participantId);
      const accept = h("button", { class: "button primary", type: "button", t: "secure.number.accept", on: { click: () => void chat.accept(participantId).then(fill) } });
      const refuse = h("button", { class: "button", type: "button", t: "secure.number.refuse", on: { click: () => void chat.refuse(participantId).then(() => dialog.close()) } });
      if (waiting) parts.push(h("p", { class: "safety-how", t: ["secure.number.waiting", { n: waiting, name }] }));
      parts.unshift(h("p", { class: "safety-warning", role: "alert" }, icon("warning"), h("span", { t: ["secure.number.changed", { name }] })));
      parts.push(accept, refuse);
    } else {
      parts.push(h("p", { class: "safety-how", t: ["secure.number.how", { name }] }));
      if (chat.guest) parts.push(h("p", { class: "safety-how", t: "secure.number.guest" }));
      const set = (/** @type {boolean} */ on) => void Promise.resolve(chat.verify(participantId, on)).then(fill);
      if (verified) {
        parts.push(h("p", { class: "safety-verified" }, icon("check"), h("span", { t: ["secure.number.verified", { name }] })));
        parts.push(h("button", { class: "button", type: "button", t: "secure.number.undo", on: { click: () => set(false) } }));
      } else {
        parts.push(h("button", { class: "button primary", type: "button", t: "secure.number.compared", on: { click: () => set(true) } }));
      }
    }
    const decided = body.contains(document.activeElement);
    body.replaceChildren(...parts);
    // Nobody is to accept a key by pressing Enter once too often.
    if (decided || state !== "changed") body.querySelector("button")?.focus();
  };
  await fill();
  return dialog;
}

/** @param {DeviceCertificate} certificate @param {boolean} here */
function deviceRow({ deviceId, created, suites, signing }, here) {
  const fingerprint = hex(signing).slice(0, FINGERPRINT_CHARACTERS).match(FINGERPRINT)?.join(" ") ?? "";
  const hybrid = suites.includes(SUITE_PQ);
  return h(
    "li",
    { class: "device" },
    icon("devices"),
    h(
      "div",
      { class: "device-words" },
      h("strong", { t: ["secure.device", { n: deviceId }] }),
      h("span", {}, here && h("span", { class: "device-here", t: "secure.device.here" }), h("span", { t: ["secure.device.since", { date: day(Number(created)) }] })),
      h("span", { t: hybrid ? "secure.device.hybrid" : "secure.device.classic" }),
      h("code", { dir: "ltr", label: "secure.device.key" }, fingerprint),
    ),
  );
}

/**
 * The devices of a participant's account, or without one of our own.
 *
 * @param {SecureChat} chat
 * @param {{participantId: string, name: string} | null} person
 */
export async function openDevices(chat, person) {
  const devices = await chat.devices(person?.participantId);
  const here = person ? chat.trust(person.participantId).deviceId : (chat.device?.deviceId ?? 0);
  const rows = devices.map((certificate) => deviceRow(certificate, certificate.deviceId === here));
  const list = rows.length ? h("ul", { class: "device-list" }, ...rows) : h("p", { t: "secure.devices.none" });
  const whose = person ? h("p", { class: "safety-with", t: ["secure.devices.of", { name: person.name }] }) : h("p", { class: "safety-with", t: "secure.devices.own" });
  const brief = !person && !chat.lasting ? [h("p", { class: "safety-how", t: "secure.devices.brief" })] : [];
  return openSheet("secure.devices.title", h("div", { class: "safety" }, whose, list, ...brief));
}

/**
 * What is encrypted end to end in this call, and what never is.
 *
 * @param {{call: boolean, chat: boolean, without: string[]}} state  `without`: names of those who are without a key for the call
 */
export function openExplanation({ call, chat, without }) {
  /** @param {IconName} sign @param {Key} title @param {Key} text @param {...HTMLElement} more */
  const part = (sign, title, text, ...more) =>
    h("li", { class: "device" }, icon(sign), h("div", { class: "device-words" }, h("strong", { t: title }), h("span", { t: text }), ...more));
  const missing = without.length ? [h("span", { class: "warning", t: ["secure.what.without", { names: without.join(", ") }] })] : [];
  const list = h(
    "ul",
    { class: "device-list" },
    part(call ? "lock" : "lock_open", "secure.what.media", call ? "secure.what.media.on" : "secure.what.media.off", ...missing),
    part(chat ? "lock" : "lock_open", "secure.what.chat", chat ? "secure.what.chat.on" : "secure.what.chat.off"),
    part("eye", "secure.what.clear", "secure.what.clear.list"),
  );
  return openSheet("secure.what", list);
}
