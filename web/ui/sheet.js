import { h } from "./dom.js";
import { icon } from "./icons.js";

/** @import { Key } from "./strings.js" */

const TITLE_ID = "sheet-title";
const PLACES = "a[href], button, input, select, textarea, [tabindex='0']";

/** After the last place comes the first one again, and not what is around the page. @param {HTMLDialogElement} dialog @param {KeyboardEvent} event */
function goRound(dialog, event) {
  if (event.key !== "Tab" || event.ctrlKey || event.altKey || event.metaKey) return;
  const places = [...dialog.querySelectorAll(PLACES)].filter((place) => place.checkVisibility() && !place.matches(":disabled"));
  const [from, to] = event.shiftKey ? [places.at(0), places.at(-1)] : [places.at(-1), places.at(0)];
  if (document.activeElement !== from || !(to instanceof HTMLElement)) return;
  event.preventDefault();
  to.focus();
}

/**
 * Opens a sheet in the middle of the page; it keeps the focus inside, closes on Esc, and the focus goes back to where it was.
 *
 * @param {Key} title
 * @param {...Node} children
 * @returns {HTMLDialogElement}
 */
export function openSheet(title, ...children) {
  const dialog = h("dialog", { class: "sheet", "aria-labelledby": TITLE_ID });
  const close = h("button", { class: "button quiet icon-only", type: "button", label: "common.close", on: { click: () => dialog.close() } }, icon("close"));
  dialog.append(h("header", {}, h("h2", { id: TITLE_ID, t: title }), close), ...children);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("keydown", (event) => goRound(dialog, event));
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** @param {[string, Key][]} keys  what to press, what it does */
export function openShortcuts(keys) {
  const rows = keys.map(([press, t]) => h("div", { class: "key-row" }, h("span", { t }), h("kbd", {}, press)));
  return openSheet("keys.title", h("div", { class: "key-list" }, ...rows));
}
