import { h } from "./dom.js";
import { icon } from "./icons.js";

/** @import { Key } from "./strings.js" */
/** @import { IconName } from "./icons.js" */
/** @import { Params } from "./i18n.js" */
/** @typedef {{icon: IconName, t: Key, params?: Params, run: () => void, danger?: boolean, checked?: boolean}} MenuItem */

/** @type {HTMLElement | null} */
let open = null;
let close = () => {};

/**
 * Opens a menu at a button; a second call for the same button closes it. Arrow keys move, Esc closes.
 *
 * @param {HTMLElement} anchor
 * @param {MenuItem[]} items
 */
export function toggleMenu(anchor, items) {
  const again = open === anchor;
  close();
  if (again || items.length === 0) return;
  const entries = items.map((item) => entry(item, anchor));
  const menu = h("div", { class: "menu", role: "menu" }, ...entries);
  document.body.append(menu);
  position(menu, anchor);
  anchor.setAttribute("aria-expanded", "true");
  open = anchor;
  const outside = (/** @type {Event} */ event) => {
    const target = /** @type {Node} */ (event.target);
    if (!menu.contains(target) && !anchor.contains(target)) close();
  };
  const keys = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      close();
      anchor.focus();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      const at = entries.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
      entries[(at + step + entries.length) % entries.length]?.focus();
    }
  };
  document.addEventListener("pointerdown", outside, true);
  menu.addEventListener("keydown", keys);
  close = () => {
    document.removeEventListener("pointerdown", outside, true);
    menu.remove();
    anchor.setAttribute("aria-expanded", "false");
    open = null;
    close = () => {};
  };
  entries[0]?.focus();
}

/** @returns {boolean} whether a menu was open */
export function closeMenu() {
  const was = open !== null;
  close();
  return was;
}

/** @param {MenuItem} item @param {HTMLElement} anchor */
function entry({ icon: name, t, params = {}, run, danger = false, checked }, anchor) {
  const role = checked === undefined ? "menuitem" : "menuitemradio";
  return h(
    "button",
    {
      class: danger ? "menu-item danger" : "menu-item",
      type: "button",
      role,
      "aria-checked": checked === undefined ? undefined : String(checked),
      on: {
        click: () => {
          close();
          // From where the focus goes on, and to where it comes back from a sheet.
          anchor.focus({ preventScroll: true });
          run();
        },
      },
    },
    icon(name),
    h("span", { t: [t, params] }),
    checked && icon("check"),
  );
}

/** @param {HTMLElement} menu @param {HTMLElement} anchor */
function position(menu, anchor) {
  const at = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  const margin = 8;
  const left = Math.min(Math.max(margin, at.left + at.width / 2 - width / 2), innerWidth - width - margin);
  const above = at.top - height - margin;
  menu.style.left = `${left}px`;
  menu.style.top = `${above >= margin ? above : Math.min(at.bottom + margin, innerHeight - height - margin)}px`;
}
