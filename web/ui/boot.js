// Runs before the first paint, so that neither theme nor direction changes under the reader's eyes. Not a module: modules wait.
(() => {
  const root = document.documentElement;
  let theme = null;
  let language = null;
  try {
    theme = localStorage.getItem("salam.theme");
    language = localStorage.getItem("salam.language");
  } catch {
    // Storage can be forbidden; the system's choice holds then.
  }
  const query = new URLSearchParams(location.search);
  language = query.get("lang") ?? language ?? (navigator.language.startsWith("ar") ? "ar" : "en");
  theme = query.get("theme") ?? theme;
  root.lang = language === "ar" ? "ar" : "en";
  root.dir = root.lang === "ar" ? "rtl" : "ltr";
  // The phrases are the last module to be asked for otherwise, and nothing can be shown without them.
  const phrases = document.createElement("link");
  phrases.rel = "modulepreload";
  phrases.href = `/web/ui/strings_${root.lang}.js`;
  document.head.append(phrases);
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
})();
