import { h } from "./dom.js";
import { icon } from "./icons.js";

/** @import { Key } from "./strings.js" */

/**
 * Opens a sheet in the middle of the page; the browser keeps the focus inside and closes it on Esc.
 *
 * @param {Key} title
 * @param {...Node} children
 * @returns {HTMLDialogElement}
 */
export function openSheet(title, ...children) {
  const dialog = h("dialog", { class: "sheet" });
  const close = h("button", { class: "button quiet icon-only", type: "button", label: "common.close", on: { click: () => dialog.close() } }, icon("close"));
  dialog.append(h("header", {}, h("h2", { t: title }), close), ...children);
  dialog.addEventListener("close", () => dialog.remove());
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
