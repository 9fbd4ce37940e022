import { h } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";

/** `<salam-brand>`: the mark and the name, leading home. */
export class Brand extends HTMLElement {
  connectedCallback() {
    if (this.childElementCount > 0) return;
    const mark = document.createElementNS(SVG, "svg");
    mark.setAttribute("viewBox", "0 0 32 32");
    mark.setAttribute("class", "brand-mark");
    mark.setAttribute("aria-hidden", "true");
    // Two voices that meet: one open arc each, and the point between them.
    for (const d of ["M7 21a9.5 9.5 0 0 1 0-10", "M25 11a9.5 9.5 0 0 1 0 10", "M11.5 18.5a5 5 0 0 1 0-5", "M20.5 13.500a5 5 0 0 1 0 5", "M16 16h.01"]) {
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("d", d);
      mark.append(path);
    }
    this.append(h("a", { class: "brand", href: "/" }, mark, h("span", { t: "app.name" })));
  }
}

customElements.define("salam-brand", Brand);
