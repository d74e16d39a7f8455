// A commit comes back as it was stored; what is torn, or is no commit, is refused and named.

import fc from "fast-check";
import { expect, it } from "vitest";
import { isSluiceError } from "../base/errors.js";
import { type Commit, decodeCommit, encodeCommit } from "./commit.js";

const hex = (digits: number) =>
  fc.string({ unit: fc.constantFrom(..."0123456789abcdef"), minLength: digits, maxLength: digits });
const count = fc.nat(2 ** 40);
/** JSON has no minus zero. */
const number = fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => x + 0);
const skipped = fc.array(fc.record({ record: count, id: fc.string(), reason: fc.string() }), {
  maxLength: 3,
});
const name = fc.string({ minLength: 1 }).filter((text) => text !== "__proto__");
const tensor = fc.record({
  dtype: fc.constantFrom("float32", "bfloat16", "float16", "int64", "int32", "uint8"),
  shape: fc.array(count, { maxLength: 3 }),
  offset: count,
  length: count,
  crc32c: hex(8),
});
const statistics = fc.record({
  count,
  rows: count,
  mean: number,
  variance: number,
  mean_norm: number,
  max_abs: number,
  nan: count,
  inf: count,
  overflow: count,
});

const commitArbitrary = fc.record({
  format: fc.constant("sluice-commit-1"),
  run: hex(64),
  stream: count,
  unit: count,
  data: fc.option(fc.string({ minLength: 1 })),
  size: count,
  sha256: fc.option(hex(64)),
  crc32c: fc.option(hex(8)),
  records: fc.tuple(count, count),
  samples: count,
  rows: count,
  tokens: count,
  tokens_computed: count,
  unit_sha256: hex(64),
  token_sha256: hex(64),
  skipped,
  left_out: skipped,
  tensors: fc.dictionary(name, tensor, { maxKeys: 4, noNullPrototype: true }),
  statistics: fc.dictionary(name, statistics, { maxKeys: 4, noNullPrototype: true }),
  execution: fc.dictionary(name, fc.oneof(fc.string(), number, fc.boolean()), {
    maxKeys: 4,
    noNullPrototype: true,
  }),
  by: fc.record({
    attempt: fc.uuid(),
    worker: fc.uuid(),
    worker_id: count,
    started: fc.string(),
    finished: fc.string(),
  }),
}) as fc.Arbitrary<Commit>;

it("comes back as it was, also with members of a later version", () => {
  fc.assert(
    fc.property(commitArbitrary, fc.jsonValue(), (commit, later) => {
      const bytes = encodeCommit(commit);
      expect(bytes.at(-1)).toBe(0x0a);
      expect(decodeCommit("x", bytes)).toEqual(commit);
      const extended = Buffer.from(JSON.stringify({ ...commit, later }));
      expect(decodeCommit("x", extended)).toEqual(JSON.parse(extended.toString()));
    }),
  );
});

it("refuses every beginning of a commit, and one with a member missing, by name", () => {
  const refused = (bytes: Uint8Array) =>
    expect(() => decodeCommit("tpu_0/shard_0001.json", bytes)).toThrow(
      expect.toSatisfy(
        (error) => isSluiceError(error, "data") && error.message.includes("tpu_0/shard_0001.json"),
      ),
    );
  fc.assert(
    fc.property(commitArbitrary, fc.double({ min: 0, max: 1, noNaN: true }), (commit, share) => {
      const bytes = encodeCommit(commit);
      // Without its newline alone it is still whole.
      refused(bytes.subarray(0, Math.floor(share * (bytes.length - 2))));
      for (const member of Object.keys(commit)) {
        const rest = Object.fromEntries(Object.entries(commit).filter(([key]) => key !== member));
        refused(Buffer.from(JSON.stringify(rest)));
      }
    }),
    { numRuns: 50 },
  );
});
