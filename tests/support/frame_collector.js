// An init script for a party that is in the room and not in the agreement on keys: it keeps every encoded frame that it is forwarded, as
// it came, and plays none. Its context has to bypass the page's policy, which allows no worker of a test.
(() => {
  const keep = `onrtctransform = ({ transformer: { readable, options } }) => readable.pipeTo(new WritableStream({
    write: (frame) => postMessage({ ...options, data: frame.data, mimeType: frame.getMetadata().mimeType }),
  }));`;
  const collected = (window.collected = []);
  const base64 = (data) => btoa(Array.from(new Uint8Array(data), (byte) => String.fromCharCode(byte)).join(""));
  let worker;
  const take = ({ data: { mid, mimeType, data } }) => {
    const track = [...party.call.subscriber.tracks.values()].find((known) => known.mid === mid);
    if (!track) return;
    const { participant_id: sender, source: stream } = track;
    collected.push({ sender, stream, codec: mimeType.split("/")[1].toLowerCase(), data: base64(data) });
  };
  const describe = RTCPeerConnection.prototype.setRemoteDescription;
  RTCPeerConnection.prototype.setRemoteDescription = async function (description) {
    await describe.call(this, description);
    if (description.type !== "offer") return;
    worker ??= Object.assign(new Worker(URL.createObjectURL(new Blob([keep], { type: "text/javascript" }))), { onmessage: take });
    for (const { mid, receiver } of this.getTransceivers()) receiver.transform ??= new RTCRtpScriptTransform(worker, { mid });
  };
})();
