import { h } from "./dom.js";
import { language, setLanguage, setText } from "./i18n.js";
import { icon } from "./icons.js";

/** `<salam-switches>`: language and theme. */
export class Switches extends HTMLElement {
  connectedCallback() {
    if (this.childElementCount > 0) return;
    const words = h("button", { class: "button quiet", type: "button", t: "language.switch", lang: language() === "ar" ? "en" : "ar" });
    words.addEventListener("click", async () => {
      await setLanguage(language() === "ar" ? "en" : "ar");
      words.lang = language() === "ar" ? "en" : "ar";
      setText(words, "language.switch");
    });
    const look = h("button", { class: "button quiet icon-only", type: "button", label: "theme.switch", tip: true }, icon(isDark() ? "sun" : "moon"));
    look.addEventListener("click", () => {
      const next = isDark() ? "light" : "dark";
      localStorage.setItem("salam.theme", next);
      document.documentElement.dataset.theme = next;
      look.replaceChildren(icon(isDark() ? "sun" : "moon"));
    });
    this.append(words, look);
  }
}

function isDark() {
  return (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
}

customElements.define("salam-switches", Switches);
