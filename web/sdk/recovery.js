// A short gap heals by itself; a second of silence is what a person begins to notice.
const GRACE_MS = 1_000;
// A restart needs a round trip through signaling and some ICE checks before it is fair to try again.
const AGAIN_MS = 5_000;

/** Watches one peer connection and asks for an ICE restart while it is not connected. */
export class Recovery {
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #timer;
  #pc;
  #restart;

  /** @param {RTCPeerConnection} pc @param {() => void} restart */
  constructor(pc, restart) {
    this.#pc = pc;
    this.#restart = restart;
    pc.addEventListener("iceconnectionstatechange", () => this.#check());
  }

  /** Restarts at once, as after a change of network. */
  now() {
    if (this.#pc.iceConnectionState === "new" || this.#pc.connectionState === "closed") return;
    this.#again(0);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #check() {
    const state = this.#pc.iceConnectionState;
    if (state === "disconnected") this.#again(GRACE_MS);
    else if (state === "failed") this.#again(0);
    else if (state === "connected" || state === "completed" || state === "closed") this.stop();
  }

  /** @param {number} waitMs */
  #again(waitMs) {
    this.stop();
    this.#timer = setTimeout(() => {
      if (this.#pc.connectionState === "closed") return;
      this.#restart();
      this.#timer = undefined;
      this.#timer = setTimeout(() => {
        const state = this.#pc.iceConnectionState;
        if (state !== "connected" && state !== "completed") this.#again(0);
      }, AGAIN_MS);
    }, waitMs);
  }
}
