/** Plays the sound of remote tracks, and says when the browser holds it back until the user touches the page. */
export class AudioSink {
  /** @type {Map<string, HTMLAudioElement>} */ #players = new Map();
  #speaker = "";
  #onBlocked;

  /** @param {(blocked: boolean) => void} onBlocked */
  constructor(onBlocked) {
    this.#onBlocked = onBlocked;
  }

  /** @param {string} id @param {MediaStreamTrack} track */
  add(id, track) {
    this.remove(id);
    const player = new Audio();
    player.srcObject = new MediaStream([track]);
    this.#players.set(id, player);
    void this.#route(player);
    player.play().catch((error) => error.name === "NotAllowedError" && this.#onBlocked(true));
  }

  /** @param {string} id */
  remove(id) {
    const player = this.#players.get(id);
    if (!player) return;
    player.pause();
    player.srcObject = null;
    this.#players.delete(id);
  }

  /** To be called from a press: lets everything sound that was held back. */
  async resume() {
    await Promise.allSettled([...this.#players.values()].map((player) => player.play()));
    this.#onBlocked(false);
  }

  /** @param {string} deviceId */
  useSpeaker(deviceId) {
    this.#speaker = deviceId;
    for (const player of this.#players.values()) void this.#route(player);
  }

  close() {
    for (const id of [...this.#players.keys()]) this.remove(id);
  }

  /** @param {HTMLAudioElement} player */
  async #route(player) {
    // Not every browser lets a page choose the speaker; the system's default plays then.
    if (this.#speaker && "setSinkId" in player) await player.setSinkId(this.#speaker).catch(() => {});
  }
}
