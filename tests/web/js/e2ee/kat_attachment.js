/** Runs attachment.json, see tests/e2ee/kat/make_attachment.py. */
import { AttachmentDescriptor, AttachmentOpener, AttachmentSealer, openStream, paddedSize, sealStream } from "/web/sdk/e2ee/attachment.js";
import { OpenedBlob, SealedBlob } from "/web/sdk/e2ee/attachment_blob.js";
import { fromHex } from "/web/sdk/e2ee/encoding.js";
import { sha256 } from "/web/sdk/e2ee/suite.js";
import { edited, failure, replay, runCases, same } from "./check.js";

const pattern = (size) => Uint8Array.from({ length: size }, (_, index) => (7 * index + Math.floor(index / 256)) % 256);
const contentOf = (kat) => (kat.content === undefined ? pattern(kat.content_size) : fromHex(kat.content));
const bytesOf = async (stream) => new Uint8Array(await new Response(stream).arrayBuffer());

/** A stream of `data` in pieces of `size` bytes. */
function pieces(data, size) {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      if (at < data.length) controller.enqueue(data.slice(at, at + size));
      else controller.close();
      at += size;
    },
  });
}

async function sealed(kat) {
  const content = contentOf(kat);
  const { random, done } = replay(kat.random);
  const sealer = new AttachmentSealer({ random });
  const stream = await bytesOf(pieces(content, 10_000).pipeThrough(sealStream(sealer)));
  done();
  same(await sha256(stream), kat.sealed_sha256, "the hash of the stream");
  same(stream.length, kat.sealed_size, "the length of the stream");
  if (kat.sealed) same(stream, kat.sealed, "the stream");
  const words = { mimeType: kat.mime_type, name: kat.file_name };
  same(sealer.descriptor(words).encode(), kat.descriptor, "the descriptor");
  const blob = new SealedBlob(new Blob([content]), replay(kat.random));
  same(blob.size, kat.sealed_size, "the length that the Blob tells");
  same(await bytesOf(blob.stream()), stream, "the stream of the Blob");
  for (const start of [1, 28, 29, 1000, stream.length - 1]) {
    if (start < stream.length) same(await bytesOf(blob.stream(start)), stream.slice(start), `the stream of the Blob from ${start}`);
  }
  same((await blob.descriptor(words)).encode(), kat.descriptor, "the descriptor of the Blob");
}

async function opened(kat) {
  const [descriptor, stream] = [AttachmentDescriptor.parse(fromHex(kat.descriptor)), fromHex(kat.sealed)];
  const content = pattern(kat.content_size);
  same(await bytesOf(pieces(stream, 700).pipeThrough(openStream(new AttachmentOpener(descriptor)))), content, "the content");
  const blob = await OpenedBlob.open(new Blob([stream]), descriptor);
  await blob.verify();
  for (const [at, length, expected] of kat.reads) same(await blob.slice(at, at + length), expected, `the content from ${at}`);
  same(await blob.slice(), content, "the whole content");
  same(await bytesOf(blob.stream(5)), content.slice(5), "the content from 5 on");
}

async function refused(kat, named) {
  const stream = kat.of ? edited(named.get(kat.of).sealed, kat.edit) : fromHex(kat.sealed);
  const descriptor = AttachmentDescriptor.parse(fromHex(kat.descriptor));
  const expected = "chunk" in kat ? { error: kat.error, chunk: kat.chunk } : { error: kat.error };
  const streamed = async () => {
    const opener = new AttachmentOpener(descriptor);
    for (let at = 0; at < stream.length; at += 997) await opener.feed(stream.slice(at, at + 997));
    await opener.finish();
  };
  same(await failure(streamed), expected, "the error of the stream");
  const read = async () => {
    const blob = await OpenedBlob.open(new Blob([stream]), descriptor);
    await blob.slice();
    await blob.verify();
  };
  const { error } = await failure(read);
  same(error, kat.error, "the error of the Blob");
}

async function described(kat) {
  const descriptor = AttachmentDescriptor.parse(fromHex(kat.encoded));
  same(descriptor.key, kat.key, "the key");
  same(descriptor.digest, kat.digest, "the digest");
  same([Number(descriptor.size), descriptor.mimeType, descriptor.name], [kat.size, kat.mime_type, kat.file_name], "the words");
  same(descriptor.encode(), kat.encoded, "the descriptor");
}

export function run({ cases }) {
  const named = new Map(cases.map((kat) => [kat.name, kat]));
  const checks = {
    seal: sealed,
    open: opened,
    open_refused: (kat) => refused(kat, named),
    descriptor: described,
    descriptor_refused: async (kat) => same(await failure(() => AttachmentDescriptor.parse(fromHex(kat.encoded))), { error: kat.error }, "the error"),
    padded: async (kat) => same(kat.sizes.map(([size]) => [size, paddedSize(size)]), kat.sizes, "the sizes"),
  };
  return runCases(cases, (kat) => checks[kat.type](kat));
}
