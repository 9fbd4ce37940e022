// One participant of an encrypted call, made of the SDK's own parts. What pairwise messages carry between devices goes through a
// BroadcastChannel between the tabs here. Evaluated in a page of the server's origin.
async ({ name, camera = false, microphone = false, encrypted = true, codec = "vp8" }) => {
  const [{ Call }, { Signaling, socketUrl }, { CallKeys }] = await Promise.all([
    import("/web/sdk/call.js"),
    import("/web/sdk/signaling.js"),
    import("/web/sdk/e2ee/call_key_exchange.js"),
  ]);
  const signaling = new Signaling({ url: socketUrl() });
  const call = new Call({ signaling, codec });
  const wire = new BroadcastChannel("pairwise messages");
  const keys = new CallKeys({
    callId: new Uint8Array(16),
    send: async (to, content) => wire.postMessage({ to, from: call.participantId, content }),
  });
  // A mailbox keeps what comes before one knows one's own name.
  const early = [];
  const take = ({ to, from, content }) => to === call.participantId && void keys.receive(from, content);
  wire.onmessage = ({ data }) => (call.participantId ? take(data) : early.push(data));
  if (encrypted) call.enableEncryption({ keys });
  call.on("track", ({ media, track_id }) => {
    const element = document.createElement(media.kind);
    element.id = track_id;
    element.autoplay = true;
    element.muted = media.kind === "video";
    element.srcObject = new MediaStream([media]);
    document.body.append(element);
  });
  call.on("track_ended", ({ track_id }) => document.getElementById(track_id)?.remove());
  if (microphone) await call.publish("microphone", (await navigator.mediaDevices.getUserMedia({ audio: true })).getAudioTracks()[0]);
  if (camera) {
    const video = { width: 1280, height: 720, frameRate: 15 };
    await call.publish("camera", (await navigator.mediaDevices.getUserMedia({ video })).getVideoTracks()[0]);
  }
  await signaling.connect();
  await call.join({ room: "blue", name });
  early.splice(0).forEach(take);
  window.party = { call, keys };
  return call.participantId;
}
