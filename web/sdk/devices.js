/** @typedef {"none" | "blocked" | "in_use" | "insecure" | "unknown"} DeviceProblem */
/** @typedef {{cameras: MediaDeviceInfo[], microphones: MediaDeviceInfo[], speakers: MediaDeviceInfo[]}} DeviceList */

// 720p: what the highest simulcast layer carries. 30 frames are what cameras do in normal light.
const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };
const MICROPHONE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/**
 * Says in one word why a device could not be opened.
 *
 * @param {unknown} error
 * @returns {DeviceProblem}
 */
export function deviceProblem(error) {
  const name = error instanceof Error ? error.name : "";
  if (name === "NotAllowedError" || name === "SecurityError") return "blocked";
  if (name === "NotFoundError" || name === "OverconstrainedError") return "none";
  if (name === "NotReadableError" || name === "AbortError") return "in_use";
  if (name === "TypeError") return "insecure";
  return "unknown";
}

/**
 * Opens one camera or microphone.
 *
 * @param {"audio" | "video"} kind
 * @param {string} [deviceId]  empty: the browser's choice
 * @returns {Promise<MediaStreamTrack>} rejects with what getUserMedia rejects with, or a TypeError on an insecure page
 */
export async function openDevice(kind, deviceId = "") {
  if (!navigator.mediaDevices) throw new TypeError("cameras and microphones need https or localhost");
  const wanted = kind === "video" ? CAMERA : MICROPHONE;
  try {
    return await open(kind, deviceId ? { ...wanted, deviceId: { exact: deviceId } } : wanted);
  } catch (error) {
    // A remembered device may be unplugged: any other is better than none.
    if (deviceId && error instanceof Error && error.name === "OverconstrainedError") return open(kind, wanted);
    throw error;
  }
}

/** @param {"audio" | "video"} kind @param {MediaTrackConstraints} constraints */
async function open(kind, constraints) {
  const stream = await navigator.mediaDevices.getUserMedia({ [kind]: constraints });
  const track = stream.getTracks()[0];
  if (!track) throw new DOMException("the browser gave no track", "NotFoundError");
  // Faces move: smooth motion matters more than sharp stills when bandwidth is short.
  if (kind === "video") track.contentHint = "motion";
  return track;
}

/**
 * Asks for a screen, window or tab to share.
 *
 * @returns {Promise<{video: MediaStreamTrack, audio: MediaStreamTrack | null}>}
 */
export async function openScreen() {
  const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { max: 30 } }, audio: true });
  const video = stream.getVideoTracks()[0];
  if (!video) throw new DOMException("the browser gave no track", "NotFoundError");
  // Text must stay readable: keep the size and let the frame rate give way.
  video.contentHint = "detail";
  return { video, audio: stream.getAudioTracks()[0] ?? null };
}

/** @returns {Promise<DeviceList>} */
export async function listDevices() {
  const all = navigator.mediaDevices ? await navigator.mediaDevices.enumerateDevices() : [];
  // Without permission the browser lists devices that have no id yet; they cannot be chosen.
  const known = all.filter((device) => device.deviceId !== "");
  return {
    cameras: known.filter((device) => device.kind === "videoinput"),
    microphones: known.filter((device) => device.kind === "audioinput"),
    speakers: known.filter((device) => device.kind === "audiooutput"),
  };
}

/** How loud a microphone is, for a level meter. */
export class LevelMeter {
  #context = new AudioContext();
  #samples = new Float32Array(512);
  #analyser;

  /** @param {MediaStreamTrack} track */
  constructor(track) {
    this.#analyser = this.#context.createAnalyser();
    this.#analyser.fftSize = this.#samples.length;
    this.#context.createMediaStreamSource(new MediaStream([track])).connect(this.#analyser);
  }

  /** The level now, 0 to 1: -60 dB full scale and less is 0. */
  read() {
    if (this.#context.state === "suspended") void this.#context.resume();
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let power = 0;
    for (const sample of this.#samples) power += sample * sample;
    const db = 10 * Math.log10(power / this.#samples.length + 1e-9);
    return Math.min(1, Math.max(0, (db + 60) / 60));
  }

  close() {
    void this.#context.close();
  }
}
