/** Runs backup.json, see tests/e2ee/kat/make_backup.py. */
import { BACKUP_HEADER_BYTES, changeSecret, unlockBackup } from "/web/sdk/e2ee/backup.js";
import { BackupReader, BackupWriter, readBackup } from "/web/sdk/e2ee/backup_records.js";
import { concat, fromHex, hex } from "/web/sdk/e2ee/encoding.js";
import { formatCode, parseCode } from "/web/sdk/e2ee/recovery_code.js";
import { edited, failure, replay, runCases, same } from "./check.js";

export const secretOf = (secret) =>
  "code" in secret
    ? { kind: "code", secret: fromHex(secret.code) }
    : { kind: "passphrase", passphrase: secret.passphrase, memoryKib: secret.memory_kib, passes: secret.passes };

// A record of the file and one of the SDK, field by field.
const FIELDS = {
  account: [["seed", "seed", fromHex], ["user", "userId", String]],
  contact: [
    ["user", "userId", String],
    ["account", "account", fromHex],
    ["verified", "verified", Boolean],
    ["seq", "seq", BigInt],
    ["list_hash", "listHash", fromHex],
  ],
  group: [["group_id", "groupId", fromHex], ["operations", "operations", (operations) => operations.map(fromHex)]],
  history: [["conversation", "conversation", fromHex], ["kept", "kept", fromHex]],
};

export function recordOf(described) {
  const fields = FIELDS[described.record].map(([name, own, read]) => [own, read(described[name])]);
  return { kind: described.record, ...Object.fromEntries(fields) };
}

const plain = (value) => {
  if (value instanceof Uint8Array) return hex(value);
  if (Array.isArray(value)) return value.map(plain);
  return typeof value === "bigint" ? Number(value) : value;
};

export function recordJson(record) {
  return Object.fromEntries([["record", record.kind], ...FIELDS[record.kind].map(([name, own]) => [name, plain(record[own])])]);
}

const sorted = (records) => records.map((record) => Object.entries(record).sort(([one], [other]) => (one < other ? -1 : 1)));

export async function all(data, secret) {
  const records = [];
  for await (const record of readBackup(new Blob([data]), secret)) records.push(record);
  return records;
}

async function backedUp(kat) {
  const secret = secretOf(kat.secret);
  const { random, done } = replay(kat.random);
  const writer = await BackupWriter.begin(secret, { random });
  const parts = [writer.header];
  for (const record of kat.records) parts.push(await writer.add(recordOf(record)));
  const backup = concat(...parts, await writer.finish());
  done();
  same(backup, kat.backup, "the backup");
  const reader = await BackupReader.begin(await unlockBackup(backup.slice(0, BACKUP_HEADER_BYTES), secret));
  const records = [];
  for (let at = BACKUP_HEADER_BYTES; at < backup.length; at += 50) records.push(...(await reader.feed(backup.slice(at, at + 50))));
  records.push(...(await reader.finish()));
  same(sorted(records.map(recordJson)), sorted(kat.records), "the records");
}

async function headerRefused(kat) {
  const { Worker } = globalThis;
  // Without a worker nothing can be hashed, and the error would be another one.
  if (!kat.hashes) globalThis.Worker = undefined;
  try {
    same(await failure(() => unlockBackup(fromHex(kat.header), secretOf(kat.secret))), { error: kat.error }, "the error");
  } finally {
    globalThis.Worker = Worker;
  }
}

export function run({ cases }) {
  const named = new Map(cases.map((kat) => [kat.name, kat]));
  const checks = {
    async code(kat) {
      same(await formatCode(fromHex(kat.secret)), kat.text, "the code");
      for (const typed of kat.typed) same(await parseCode(typed), kat.secret, `the secret of ${typed}`);
    },
    code_refused: async (kat) => same(await failure(() => parseCode(kat.typed)), { error: kat.error }, "the error"),
    backup: backedUp,
    header_refused: headerRefused,
    async read_refused(kat) {
      const data = edited((kat.of ? named.get(kat.of) : kat).backup, kat.edit ?? []);
      const expected = "chunk" in kat ? { error: kat.error, chunk: kat.chunk } : { error: kat.error };
      same(await failure(() => all(data, secretOf(kat.secret))), expected, "the error");
    },
    async change(kat) {
      const of = named.get(kat.of);
      const data = fromHex(of.backup);
      const { random, done } = replay(kat.random);
      const header = await changeSecret(data.slice(0, BACKUP_HEADER_BYTES), secretOf(kat.old), secretOf(kat.new), { random });
      same(header, kat.header, "the header");
      done();
      const records = await all(concat(header, data.slice(BACKUP_HEADER_BYTES)), secretOf(kat.new));
      same(sorted(records.map(recordJson)), sorted(of.records), "the records");
    },
  };
  return runCases(cases, (kat) => checks[kat.type](kat));
}
