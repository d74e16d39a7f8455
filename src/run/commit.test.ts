// A commit comes back as it was stored; what is torn, or is no commit, is refused and named.

import fc from "fast-check";
import { expect, it } from "vitest";
import { bytesOf, elementsOf } from "../base/dtype.js";
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
/** Tensors one after the other, with gaps. */
const tensors = fc
  .uniqueArray(
    fc.record({
      name,
      dtype: fc.constantFrom(...(["float32", "bfloat16", "float16", "int64", "int32", "uint8"] as const)),
      shape: fc.array(fc.nat(1000), { maxLength: 3 }),
      gap: fc.nat(100),
      crc32c: hex(8),
    }),
    { maxLength: 4, selector: (tensor) => tensor.name },
  )
  .map((list) => {
    let end = 0;
    const places = list.map(({ name, dtype, shape, gap, crc32c }) => {
      const length = elementsOf(shape) * bytesOf(dtype);
      const offset = end + gap;
      end = offset + length;
      return [name, { dtype, shape, offset, length, crc32c }] as const;
    });
    return { end, tensors: Object.fromEntries(places) };
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

const parts = fc.record({
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
  tensors,
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
});
const commitArbitrary = parts.map(({ size, tensors: laidOut, ...rest }) => ({
  ...rest,
  size: Math.max(size, laidOut.end),
  tensors: laidOut.tensors,
})) as fc.Arbitrary<Commit>;

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

it("refuses tensors that overlap, leave the data, or have another length than their shape", () => {
  const [commit] = fc.sample(commitArbitrary, { numRuns: 1, seed: 1 });
  const a = { dtype: "int64" as const, shape: [2], offset: 0, length: 16, crc32c: "00000000" };
  const decode = (b: object) =>
    decodeCommit(
      "x",
      Buffer.from(JSON.stringify({ ...commit, size: 32, tensors: { a, b: { ...a, ...b } } })),
    );
  expect(Object.keys(decode({ offset: 16 }).tensors)).toEqual(["a", "b"]);
  const refused = [
    { offset: 15 },
    { offset: 17 },
    { offset: 16, length: 15 },
    { offset: 16, shape: [3] },
    { offset: 16, dtype: "int32" },
    { offset: 16, shape: [2 ** 52, 2 ** 52] },
    { offset: Number.MAX_SAFE_INTEGER },
  ];
  for (const b of refused) expect(() => decode(b)).toThrow('puts tensor "b" where none can be');
});
