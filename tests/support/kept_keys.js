// An init script: the page keeps every media key that its call hands to the decryption, as a member would who means to read on after
// being removed, and `tryToOpen` opens frames with all of them, by the page's own code.
(() => {
  const kept = [];
  const post = Worker.prototype.postMessage;
  Worker.prototype.postMessage = function (order, ...rest) {
    if (order.do === "add") kept.push(structuredClone(order));
    return post.call(this, order, ...rest);
  };
  // At one and the same moment, so that no key expires.
  const NOW_S = 0;
  // One code for each frame, "" for one that opened.
  window.tryToOpen = async (frames) => {
    const { KeyRing } = await import("/web/sdk/e2ee/frame_keys.js");
    const ring = new KeyRing();
    for (const { sender, key } of kept) await ring.add(sender, key);
    const outcomes = [];
    for (const { sender, stream, codec, data } of frames) {
      const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
      outcomes.push(await ring.open(sender, codec, stream, bytes, NOW_S).then(() => "", (error) => error.code ?? String(error)));
    }
    return outcomes;
  };
})();
