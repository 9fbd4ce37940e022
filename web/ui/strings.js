/**
 * Every word that a person reads, one catalogue per language, loaded when it is needed. A value with plural forms is an object by
 * CLDR category.
 *
 * @typedef {string | Partial<Record<Intl.LDMLPluralRule, string>>} Phrase
 * @typedef {keyof typeof import("./strings_en.js").default} Key
 * @typedef {Record<Key, Phrase>} Catalogue
 * @typedef {"en" | "ar"} Language
 */

/** @type {Record<Language, () => Promise<{default: Catalogue}>>} */
const MODULES = {
  en: () => import("./strings_en.js"),
  ar: () => import("./strings_ar.js"),
};

/** @param {Language} language @returns {Promise<Catalogue>} */
export async function loadCatalogue(language) {
  return (await MODULES[language]()).default;
}
