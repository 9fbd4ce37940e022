/** The client side of Salam for other products: signaling, calls and livestreams, without any user interface. */
export { Backoff } from "./backoff.js";
export { Call } from "./call.js";
export { LevelMeter, deviceProblem, listDevices, openDevice, openScreen } from "./devices.js";
export { CallKeys } from "./e2ee/call_key_exchange.js";
export { Emitter } from "./emitter.js";
export { mediaPath } from "./ice.js";
export { keepSession, takeKeptSession } from "./kept_session.js";
export { SIMULCAST, shownHeight } from "./layers.js";
export { Player } from "./player.js";
export { SecureChat } from "./secure_chat.js";
export { SalamError, Signaling, socketUrl } from "./signaling.js";
export { linkQuality } from "./stats.js";
export { Watch } from "./watch.js";
