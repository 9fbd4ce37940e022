/**
 * How records of an earlier release become those of this one, as Python's `e2ee.store.migrations`.
 *
 * A migration is a pure function of one record: it is given table, key and record and returns the records that stand in its place, one,
 * several or none; `migrations[n]` leads from version n to n + 1. For every released version a file in tests/e2ee/golden/ is kept for
 * good, and a test opens each with the present code.
 */
/** @import { Bytes } from "./encoding.js" */
/** @typedef {{table: string, key: Bytes, record: Bytes}} Entry */
/** @typedef {(entry: Entry) => Entry[]} Migration */

export const FIRST_VERSION = 1;

/** A version of all records, and the way to it from each earlier one. */
export class Schema {
  /** @param {number} version @param {Record<number, Migration>} [migrations]  RangeError where a step is missing */
  constructor(version, migrations = {}) {
    const steps = Array.from({ length: version - FIRST_VERSION }, (_, index) => FIRST_VERSION + index);
    if (Object.keys(migrations).join() !== steps.join()) {
      throw new RangeError(`a schema of version ${version} must have one migration for each version before it`);
    }
    this.version = version;
    this.migrations = migrations;
  }

  /** The records of `version` as those of this schema. @param {Entry[]} entries @param {number} version */
  upgrade(entries, version) {
    let upgraded = entries;
    for (let step = version; step < this.version; step += 1) upgraded = upgraded.flatMap(this.migrations[step]);
    return upgraded;
  }
}

/** Version 1 is that of profile "salam-e2ee v1": the records of records.js and of the groups. */
export const CURRENT = new Schema(FIRST_VERSION);
