import { listDevices } from "../sdk/devices.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";

/** @import { IconName } from "./icons.js" */
/** @import { Key } from "./strings.js" */
/** @typedef {"camera" | "microphone" | "speaker"} DeviceRole */

/** @type {[DeviceRole, "cameras" | "microphones" | "speakers", IconName, Key][]} */
const ROLES = [
  ["camera", "cameras", "camera", "lobby.camera"],
  ["microphone", "microphones", "mic", "lobby.microphone"],
  ["speaker", "speakers", "volume", "lobby.speaker"],
];

/** @param {DeviceRole} role */
export function rememberedDevice(role) {
  return localStorage.getItem(`salam.${role}`) ?? "";
}

/**
 * `<salam-devices>`: one choice each of camera, microphone and speaker; remembered. Fires `choose` with `{role, deviceId}`.
 */
export class DevicePickers extends HTMLElement {
  #refresh = () => void this.refresh();

  connectedCallback() {
    navigator.mediaDevices?.addEventListener("devicechange", this.#refresh);
    this.#refresh();
  }

  disconnectedCallback() {
    navigator.mediaDevices?.removeEventListener("devicechange", this.#refresh);
  }

  /** Lists again: devices come and go, and their names are known only after permission. */
  async refresh() {
    const devices = await listDevices();
    const rows = ROLES.filter(([, list]) => devices[list].length > 0).map(([role, list, name, label]) => {
      const select = h("select", { label }, ...devices[list].map((device) => h("option", { value: device.deviceId }, device.label || device.deviceId)));
      const remembered = rememberedDevice(role);
      if (devices[list].some((device) => device.deviceId === remembered)) select.value = remembered;
      select.addEventListener("change", () => {
        localStorage.setItem(`salam.${role}`, select.value);
        this.dispatchEvent(new CustomEvent("choose", { detail: { role, deviceId: select.value } }));
      });
      return h("label", { class: "picker" }, icon(name), h("span", { class: "visually-hidden", t: label }), select);
    });
    this.replaceChildren(...rows);
  }
}

customElements.define("salam-devices", DevicePickers);
