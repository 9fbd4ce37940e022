import { loadCatalogue } from "./strings.js";

/** @import { Key, Language } from "./strings.js" */
/** @typedef {string | number | {t: Key}} Value  a phrase within a phrase follows the language, as the one around it does */
/** @typedef {Record<string, Value>} Params */

const STORED = "salam.language";
// Arabic readers of the Gulf and the Levant expect Arabic-Indic digits; the extension makes that independent of the ICU version.
const LOCALES = { en: "en", ar: "ar-u-nu-arab" };

let catalogue = await loadCatalogue(language());
/** @type {WeakMap<Element, {text?: [Key, Params], label?: [Key, Params], placeholder?: [Key, Params]}>} */
const bound = new WeakMap();
/** @type {Set<() => void>} */
const listeners = new Set();

/** @returns {Language} */
export function language() {
  return document.documentElement.lang === "ar" ? "ar" : "en";
}

/** The BCP 47 tag for Intl. */
export function locale() {
  return LOCALES[language()];
}

/** @param {number} value @param {Intl.NumberFormatOptions} [options] */
export function number(value, options) {
  return new Intl.NumberFormat(locale(), options).format(value);
}

/** @param {number} unixSeconds */
export function clockTime(unixSeconds) {
  return new Intl.DateTimeFormat(locale(), { hour: "numeric", minute: "2-digit" }).format(unixSeconds * 1000);
}

/**
 * A phrase in the current language; `{x}` is replaced by the parameter `x`, and `n` chooses the plural form.
 *
 * @param {Key} key
 * @param {Params} [params]
 * @returns {string}
 */
export function t(key, params = {}) {
  const phrase = catalogue[key];
  const form = typeof phrase === "string" ? phrase : (phrase[new Intl.PluralRules(locale()).select(Number(params.n))] ?? phrase.other ?? "");
  return form.replace(/\{(\w+)\}/g, (_, name) => {
    const value = params[name] ?? "";
    // A name may run the other way than the phrase: isolated, it does not turn the words around it.
    if (typeof value === "number") return number(value, { maximumFractionDigits: 1 });
    return `\u2068${typeof value === "string" ? value : t(value.t)}\u2069`;
  });
}

/** Whether there is such a phrase. @param {string} key @returns {key is Key} */
export function isKey(key) {
  return Object.hasOwn(catalogue, key);
}

/** Shows a phrase in an element, in whatever language is chosen later. @template {Element} E @param {E} element @param {Key} key @param {Params} [params] @returns {E} */
export function setText(element, key, params = {}) {
  remember(element).text = [key, params];
  element.textContent = t(key, params);
  return element;
}

/** Names an icon or field for assistive technology and gives it a tooltip. @template {Element} E @param {E} element @param {Key} key @param {Params} [params] @returns {E} */
export function setLabel(element, key, params = {}) {
  remember(element).label = [key, params];
  element.setAttribute("aria-label", t(key, params));
  if (element.hasAttribute("data-tip")) element.setAttribute("data-tip", t(key, params));
  return element;
}

/** @param {HTMLInputElement | HTMLTextAreaElement} element @param {Key} key */
export function setPlaceholder(element, key) {
  remember(element).placeholder = [key, {}];
  element.placeholder = t(key);
  return element;
}

/** Calls back after the language changed. @param {() => void} listener @returns {() => void} */
export function onLanguage(listener) {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** @param {Language} next */
export async function setLanguage(next) {
  catalogue = await loadCatalogue(next);
  localStorage.setItem(STORED, next);
  document.documentElement.lang = next;
  document.documentElement.dir = next === "ar" ? "rtl" : "ltr";
  for (const element of document.querySelectorAll("[data-i18n]")) refresh(element);
  for (const listener of listeners) listener();
}

/** Fills in the elements that the page's own HTML marks with `data-i18n="key"`. */
export function translatePage() {
  for (const element of document.querySelectorAll("[data-i18n]")) {
    const key = element.getAttribute("data-i18n");
    if (key) setText(element, /** @type {Key} */ (key));
  }
  document.documentElement.toggleAttribute("data-translated", true);
}

/** @param {Element} element */
function remember(element) {
  let entry = bound.get(element);
  if (!entry) {
    entry = {};
    bound.set(element, entry);
    if (!element.hasAttribute("data-i18n")) element.setAttribute("data-i18n", "");
  }
  return entry;
}

/** @param {Element} element */
function refresh(element) {
  const entry = bound.get(element);
  if (entry?.text) setText(element, ...entry.text);
  if (entry?.label) setLabel(element, ...entry.label);
  if (entry?.placeholder) /** @type {HTMLInputElement} */ (element).placeholder = t(entry.placeholder[0]);
}
