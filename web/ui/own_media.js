import { deviceProblem, openDevice, openScreen } from "../sdk/devices.js";
import { rememberedDevice } from "./device_pickers.js";
import { reasonOf } from "./reason.js";

/** @import { Call } from "../sdk/call.js" */
/** @import { Params } from "./i18n.js" */
/** @import { Key } from "./strings.js" */

/** What the buttons for microphone, camera and screen do. Failures are told as phrases, not thrown. */
export class OwnMedia {
  #call;
  #tell;
  #busy = false;

  /** @param {Call} call @param {(key: Key, params?: Params) => void} tell */
  constructor(call, tell) {
    this.#call = call;
    this.#tell = tell;
  }

  /** @param {"microphone" | "camera" | "screen"} source */
  isOn(source) {
    const local = this.#call.local.get(source);
    return !!local && !local.muted && local.track !== null;
  }

  toggleMicrophone() {
    return this.#once(async () => {
      const local = this.#call.local.get("microphone");
      if (local?.track?.readyState === "live") return this.#call.setMuted("microphone", !local.muted);
      const track = await this.#open("audio", "microphone");
      if (track) await this.#call.publish("microphone", track);
    });
  }

  toggleCamera() {
    return this.#once(async () => {
      if (this.isOn("camera")) return this.#call.setMuted("camera", true);
      const track = await this.#open("video", "camera");
      if (!track) return;
      if (this.#call.local.has("camera")) await this.#call.setMuted("camera", false, track);
      else await this.#call.publish("camera", track);
    });
  }

  toggleScreen() {
    return this.#once(async () => {
      if (this.isOn("screen")) return this.#endScreen();
      /** @type {Awaited<ReturnType<typeof openScreen>>} */
      let screen;
      try {
        screen = await openScreen();
      } catch (error) {
        // Closing the browser's own dialogue is a choice and not a failure.
        if (!(error instanceof Error) || error.name !== "NotAllowedError") this.#tell("call.screen.failed");
        return;
      }
      screen.video.addEventListener("ended", () => void this.#endScreen());
      await this.#call.publish("screen", screen.video);
      if (screen.audio) await this.#call.publish("screen_audio", screen.audio);
    });
  }

  stopScreen() {
    return this.#once(() => this.#endScreen());
  }

  /** Another device was chosen: use it at once if that source is on. @param {"camera" | "microphone"} source */
  switchDevice(source) {
    return this.#once(async () => {
      if (!this.isOn(source)) return;
      const track = await this.#open(source === "camera" ? "video" : "audio", source);
      if (track) await this.#call.publish(source, track);
    });
  }

  async #endScreen() {
    await this.#call.unpublish("screen");
    if (this.#call.local.has("screen_audio")) await this.#call.unpublish("screen_audio");
  }

  /** @param {"audio" | "video"} kind @param {"camera" | "microphone"} source */
  async #open(kind, source) {
    try {
      return await openDevice(kind, rememberedDevice(source));
    } catch (error) {
      this.#tell(/** @type {Key} */ (`device.${source}.${deviceProblem(error)}`));
      return null;
    }
  }

  /** A second press while the first is still being carried out is an impatient finger. @param {() => Promise<void>} action */
  async #once(action) {
    if (this.#busy) return;
    this.#busy = true;
    try {
      await action();
    } catch (error) {
      this.#tell("call.publish.failed", { reason: reasonOf(error) });
    } finally {
      this.#busy = false;
    }
  }
}
