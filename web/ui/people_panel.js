import { h, initials, keepingFocus } from "./dom.js";
import { setLabel, setText } from "./i18n.js";
import { icon } from "./icons.js";

/** @import { ParticipantInfo } from "../sdk/messages.js" */
/** @import { Key } from "./strings.js" */
/** @typedef {{t: Key | null, tone: "" | "accent" | "warning"}} TrustWords */
/** @typedef {ParticipantInfo & {own?: boolean, trust?: TrustWords | null}} Person */

/** `<salam-people>`: who is here, hands first. Fires `moderate` with `{participantId, anchor}` when more about somebody is wanted. */
export class PeoplePanel extends HTMLElement {
  #count = h("p", { class: "people-count" });
  #list = h("ul", { class: "people-list" });
  /** One for each person, as long as they are here: the focus stays on it, and comes back to it. @type {Map<string, HTMLButtonElement>} */ #buttons = new Map();

  connectedCallback() {
    if (this.childElementCount === 0) this.append(this.#count, this.#list);
  }

  /** @param {Person[]} people @param {boolean} moderator */
  show(people, moderator) {
    setText(this.#count, "people.title", { n: people.length });
    const ordered = [...people].sort((a, b) => Number(b.hand_raised ?? false) - Number(a.hand_raised ?? false));
    keepingFocus(() => this.#list.replaceChildren(...ordered.map((person) => this.#row(person, moderator))));
    for (const id of this.#buttons.keys()) if (!people.some(({ participant_id }) => participant_id === id)) this.#buttons.delete(id);
  }

  /** @param {string} participantId */
  #button(participantId) {
    const known = this.#buttons.get(participantId);
    if (known) return known;
    const button = h("button", { class: "button quiet icon-only", type: "button", "aria-haspopup": "menu" }, icon("more"));
    button.addEventListener("click", () => this.dispatchEvent(new CustomEvent("moderate", { detail: { participantId, anchor: button } })));
    this.#buttons.set(participantId, button);
    return button;
  }

  /** @param {Person} person @param {boolean} moderator */
  #row(person, moderator) {
    const microphone = person.tracks?.find((track) => track.source === "microphone");
    const more = this.#button(person.participant_id);
    setLabel(more, moderator && !person.own ? "mod.menu" : "secure.menu", { name: person.name });
    const name = person.own ? h("bdi", { t: ["call.you", { name: person.name }] }) : h("bdi", {}, person.name);
    return h(
      "li",
      { class: "person" },
      h("span", { class: "avatar small" }, initials(person.name)),
      h(
        "span",
        { class: "person-name" },
        name,
        person.moderator && h("small", { t: "people.moderator" }),
        person.trust?.t && h("small", { class: `person-trust ${person.trust.tone}`, t: person.trust.t }),
      ),
      person.hand_raised && h("span", { class: "person-mark accent", role: "img", label: "call.hand" }, icon("hand")),
      (!microphone || microphone.muted) && h("span", { class: "person-mark", role: "img", label: "call.muted" }, icon("mic_off")),
      (person.trust || (moderator && !person.own)) && more,
    );
  }
}

customElements.define("salam-people", PeoplePanel);
