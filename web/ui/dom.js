import { setLabel, setPlaceholder, setText } from "./i18n.js";

/** @import { Key } from "./strings.js" */
/** @import { Params } from "./i18n.js" */
/**
 * @typedef {{class?: string, t?: Key | [Key, Params], label?: Key | [Key, Params], placeholder?: Key, tip?: boolean,
 *   on?: {[K in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[K]) => void}, [attribute: string]: unknown}} Props
 */

/**
 * Makes an element: attributes from `props` (false and undefined leave one out), phrases by key, listeners, children.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Props} [props]
 * @param {...(Node | string | null | false | undefined)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  fill(element, props, children);
  return element;
}

/** @param {HTMLElement} element @param {Props} props @param {(Node | string | null | false | undefined)[]} children */
export function fill(element, props, children = []) {
  const { t, label, placeholder, tip, on, ...attributes } = props;
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === undefined || value === null) continue;
    element.setAttribute(name, value === true ? "" : String(value));
  }
  if (tip) element.setAttribute("data-tip", "");
  if (t) setText(element, ...phrase(t));
  if (label) setLabel(element, ...phrase(label));
  if (placeholder) setPlaceholder(/** @type {HTMLInputElement} */ (element), placeholder);
  for (const [type, listener] of Object.entries(on ?? {})) element.addEventListener(type, /** @type {EventListener} */ (listener));
  for (const child of children) if (child) element.append(child);
}

/** @param {Key | [Key, Params]} value @returns {[Key, Params]} */
function phrase(value) {
  return typeof value === "string" ? [value, {}] : value;
}

/** Makes parts of the page anew; what has the focus keeps it if it is there afterwards, wherever it was put. @param {() => void} change */
export function keepingFocus(change) {
  const focused = document.activeElement;
  change();
  if (focused instanceof HTMLElement && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

/** The element that the page's own HTML must contain. @param {string} id @returns {HTMLElement} */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no element #${id}`);
  return element;
}

/** Up to two letters that stand for a name. @param {string} name */
export function initials(name) {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const first = [...(words[0] ?? "?")][0] ?? "?";
  const last = words.length > 1 ? ([...(words.at(-1) ?? "")][0] ?? "") : "";
  // Arabic letters join when they stand together, which would read as a word.
  return /[\u0600-\u06ff]/.test(first) ? first : (first + last).toUpperCase();
}

/** Whether a key press is meant for a field and not for the page. @param {KeyboardEvent} event */
export function isTyping(event) {
  const target = /** @type {HTMLElement | null} */ (event.target);
  return event.ctrlKey || event.metaKey || event.altKey || !!target?.closest("input, textarea, select, [contenteditable]");
}
