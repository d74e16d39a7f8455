// Parquet files that say of themselves what is not so, each made here byte by byte: refused in words, at once, without room being made for what
// they say. Each but the first was minutes, for ever or all memory for `hyparquet`.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { readRleBitPackedHybrid } from "hyparquet/src/encoding.js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { zstdBomb } from "../../test/zstd-bomb.js";
import { ParquetFile } from "./parquet-file.js";
import { readRuns } from "./parquet-runs.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-lies-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** Thrift's compact protocol, as far as it is needed: whole numbers, texts, lists of one kind, structs by field number. */
type Thrift = number | string | Buffer | readonly Thrift[] | { readonly [field: number]: unknown };

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = BigInt(value);
  for (; rest >= 128n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Buffer.from([...bytes, Number(rest)]);
}
const zigzag = (value: number) => varint(value >= 0 ? 2 * value : -2 * value - 1);
const typeOf = (value: Thrift) =>
  typeof value === "number"
    ? 5
    : typeof value === "string" || Buffer.isBuffer(value)
      ? 8
      : Array.isArray(value)
        ? 9
        : 12;

function thrift(value: Thrift): Buffer {
  if (typeof value === "number") return zigzag(value);
  if (typeof value === "string" || Buffer.isBuffer(value))
    return Buffer.concat([varint(Buffer.byteLength(value)), Buffer.from(value)]);
  if (Array.isArray(value))
    return Buffer.concat([
      Buffer.of(0xf0 | typeOf(value[0] ?? 0)),
      varint(value.length),
      ...value.map(thrift),
    ]);
  let last = 0;
  const fields = Object.entries(value).map(([field, member]) => {
    const head = Buffer.of(((Number(field) - last) << 4) | typeOf(member as Thrift));
    last = Number(field);
    return Buffer.concat([head, thrift(member as Thrift)]);
  });
  return Buffer.concat([...fields, Buffer.of(0)]);
}

const PLAIN = 0;
const DICTIONARY = 8;
const DELTAS = 5;
const DELTA_TEXTS = 7;

interface Lie {
  readonly rows?: number;
  /** Thrift's numbers of type, codec and encoding; whether the column may be null. */
  readonly type?: number;
  readonly codec?: number;
  readonly encoding?: number;
  readonly isNullable?: boolean;
  readonly isDecimal?: boolean;
  readonly dictionary?: Buffer;
  readonly page: Buffer;
  readonly expanded?: number;
  readonly least?: Buffer;
}

/** A file of one column with one page, and one dictionary where there is one. */
function parquet({ rows = 8, type = 6, codec = 0, encoding = PLAIN, page, ...lie }: Lie): Buffer {
  const dictionary = lie.dictionary
    ? [
        thrift({ 1: 2, 2: lie.dictionary.length, 3: lie.dictionary.length, 7: { 1: 1, 2: 0 } }),
        lie.dictionary,
      ]
    : [];
  const header = thrift({
    1: 0,
    2: lie.expanded ?? page.length,
    3: page.length,
    5: { 1: rows, 2: encoding, 3: 3, 4: 3 },
  });
  const body = Buffer.concat([Buffer.from("PAR1"), ...dictionary, header, page]);
  const first = 4 + (dictionary[0]?.length ?? 0) + (dictionary[1]?.length ?? 0);
  const meta = {
    ...{
      1: type,
      2: [encoding],
      3: ["text"],
      4: codec,
      5: rows,
      6: body.length - 4,
      7: body.length - 4,
      9: first,
    },
    ...(lie.dictionary ? { 11: 4 } : {}),
    ...(lie.least ? { 12: { 1: lie.least } } : {}),
  };
  const column = {
    1: type,
    3: lie.isNullable ? 1 : 0,
    4: "text",
    ...(lie.isDecimal ? { 6: 5, 7: 0, 8: 9 } : {}),
  };
  const footer = thrift({
    1: 1,
    2: [{ 4: "schema", 5: 1 }, column],
    3: rows,
    4: [{ 1: [{ 2: 4, 3: meta }], 2: body.length, 3: rows }],
  });
  return withFooter(body, footer);
}

function withFooter(body: Buffer, footer: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(footer.length);
  return Buffer.concat([body, footer, length, Buffer.from("PAR1")]);
}

async function read(bytes: Buffer): Promise<unknown> {
  const path = join(folder, "d.parquet");
  await writeFile(path, bytes);
  const file = await ParquetFile.open(path, null);
  try {
    return await file.read(0, 0, file.rows);
  } finally {
    await file.close();
  }
}

const text = (value: string) => {
  const bytes = Buffer.alloc(4 + value.length);
  bytes.writeUInt32LE(value.length);
  bytes.write(value, 4);
  return bytes;
};
/** Levels or truth values of a page of version 1: their length, and they. */
const levels = (...bytes: number[]) => Buffer.from([bytes.length, 0, 0, 0, ...bytes]);
const HUGE_RUN = [0xfe, 0xff, 0xff, 0xff, 0x0f];
const words = Buffer.concat(["a", "b", "c", "d", "e", "f", "g", "h"].map(text));

it("a true one is read", async () => {
  const fields = [..."abcdefgh"].map((letter) => ({ fields: { text: letter } }));
  expect(await read(parquet({ page: words }))).toEqual(fields);
  expect(await read(parquet({ isNullable: true, page: Buffer.concat([levels(16, 1), words]) }))).toEqual(
    fields,
  );
  const places = Buffer.from([1, 16, 0]);
  expect(await read(parquet({ encoding: DICTIONARY, dictionary: text("x"), page: places }))).toEqual(
    fields.map(() => ({ fields: { text: "x" } })),
  );
});

const lies: Record<string, [Lie | Buffer, string]> = {
  "a run longer than its page": [
    { isNullable: true, page: Buffer.concat([levels(...HUGE_RUN, 1), words]) },
    "a run of 2147483647 values where 8 are left",
  ],
  "a run of places longer than its page": [
    { encoding: DICTIONARY, dictionary: text("x"), page: Buffer.from([1, ...HUGE_RUN, 0]) },
    "a run of 2147483647 values where 8 are left",
  ],
  "runs that come to nothing": [
    { isNullable: true, page: Buffer.concat([levels(0, 1, 0, 1, 0, 1), words]) },
    "a page has 0 values where it says 8",
  ],
  "groups outside of the page": [
    { encoding: DICTIONARY, dictionary: text("x"), page: Buffer.from([8, 0xff, 0xff, 0xff, 0xff, 0x0f]) },
    "a group of values ends outside of its page",
  ],
  "a level above the highest": [
    { isNullable: true, rows: 8, page: Buffer.concat([levels(16, 3), words]) },
    "a level of 3 where 1 is the highest",
  ],
  "a place outside of the dictionary": [
    { encoding: DICTIONARY, dictionary: text("x"), page: Buffer.from([1, 16, 1]) },
    "value 1 of a dictionary of 1",
  ],
  "values of 200 bits": [
    { encoding: DICTIONARY, dictionary: text("x"), page: Buffer.from([200, 16, 1]) },
    "values of 200 bits",
  ],
  "more values than the bytes can hold": [
    { rows: 60_000_000, page: words },
    "says that it holds 60000000 values",
  ],
  "more values than a page has": [
    { rows: 1_000_000_000, page: words },
    "says that it holds 1000000000 values",
  ],
  // The size of a block is -128: what comes after it begins before it.
  "blocks of deltas that lead back": [
    {
      type: 1,
      encoding: DELTAS,
      page: Buffer.from([0x80, 0xff, 0xff, 0xff, 0x0f, 1, 8, 0, 0, 8, 0, 0, 0, 0]),
    },
    "a block of -128 deltas",
  ],
  "no parts of a block": [
    { type: 1, encoding: DELTAS, page: Buffer.from([0x80, 1, 0, 8, 0, 0, 0, 0]) },
    "a block of 128 deltas in 0 parts",
  ],
  // Each value begins with a billion bytes of the one before it.
  "prefixes longer than the text": [
    {
      encoding: DELTA_TEXTS,
      page: Buffer.concat([
        Buffer.of(0x80, 1, 4, 8),
        zigzag(1_000_000_000),
        Buffer.of(0, 0, 0, 0, 0),
        Buffer.of(0x80, 1, 4, 8, 0, 0, 0, 0, 0, 0),
      ]),
    },
    "a value that begins with 1000000000 bytes of one of 0",
  ],
  // The second frame is -8 bytes long.
  "a frame of LZ4 that leads back": [
    {
      codec: 5,
      expanded: 9,
      page: Buffer.from([0, 0, 0, 0, 0xff, 0xff, 0xff, 0xf8, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    },
    "",
  ],
  "a page of zstd that holds gigabytes": [
    { codec: 6, expanded: 96, page: zstdBomb(20_000) },
    "expands to more than the 96 bytes",
  ],
  "a decimal number of a megabyte": [
    { isDecimal: true, rows: 1, page: text("9".repeat(1 << 20)) },
    "a decimal number of 1048576 bytes",
  ],
  "a decimal number of a megabyte in the metadata": [
    { type: 7, isDecimal: true, page: words, least: Buffer.alloc(1 << 20, 9) },
    "a decimal number of 1048576 bytes",
  ],
  "a list of two billion": [
    withFooter(Buffer.from("PAR1"), Buffer.from([0x29, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07])),
    "end in the middle",
  ],
  // Room for 33 million values each.
  "lists in lists": [
    withFooter(
      Buffer.from("PAR1"),
      Buffer.concat([
        Buffer.of(0x29),
        ...Array.from({ length: 40 }, () => Buffer.from([0xf9, 0xff, 0xff, 0xff, 0x0f])),
      ]),
    ),
    "more than 32 deep",
  ],
  "columns in columns": [
    withFooter(
      Buffer.from("PAR1"),
      thrift({ 1: 1, 2: Array.from({ length: 40 }, () => ({ 3: 1, 4: "a", 5: 1 })), 3: 0, 4: [] }),
    ),
    "columns are more than 32 deep",
  ],
};

describe("refused at once", () => {
  it.each(Object.keys(lies))("%s", async (name) => {
    const [lie, message] = lies[name] ?? [];
    const bytes = Buffer.isBuffer(lie) ? lie : parquet(lie ?? { page: words });
    const before = process.memoryUsage().rss;
    const used = process.cpuUsage(); // Of this process alone: others take their time, too.
    await expect(read(bytes)).rejects.toMatchObject({
      kind: "config",
      message: expect.stringContaining(message ?? ""),
    });
    const { user, system } = process.cpuUsage(used);
    expect((user + system) / 1000).toBeLessThan(5000);
    expect(process.memoryUsage().rss - before).toBeLessThan(1e9);
  });
});

it("runs and groups of any width are read as they were written", () => {
  const runs = fc.array(
    fc.oneof(
      fc.record({ length: fc.integer({ min: 0, max: 300 }), value: fc.nat() }),
      fc.record({ packed: fc.array(fc.nat(), { minLength: 1, maxLength: 40 }) }),
    ),
    { minLength: 1, maxLength: 8 },
  );
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 31 }), runs, fc.nat(9), (width, parts, extra) => {
      const values: number[] = [];
      const bytes: Buffer[] = [];
      for (const part of parts) {
        if ("packed" in part) {
          const groups = Math.ceil(part.packed.length / 8);
          const padded = Array.from({ length: 8 * groups }, (_, i) => (part.packed[i] ?? 0) % 2 ** width);
          const bits = padded.reduce((sum, value, i) => sum | (BigInt(value) << BigInt(i * width)), 0n);
          const hex = bits.toString(16).padStart(2 * groups * width, "0");
          bytes.push(varint(2 * groups + 1), Buffer.from(hex, "hex").reverse());
          values.push(...padded);
        } else {
          const value = part.value % 2 ** width;
          const said = Buffer.alloc(4);
          said.writeUInt32LE(value);
          bytes.push(varint(2 * part.length), said.subarray(0, Math.ceil(width / 8)));
          values.push(...new Array<number>(part.length).fill(value));
        }
      }
      const page = Buffer.concat([...bytes, Buffer.alloc(extra)]);
      const end = page.length - extra;
      const reader = { view: new DataView(page.buffer, page.byteOffset, page.length), offset: 0 };
      expect([...readRuns(reader, width, values.length, end)]).toEqual(values);
      const theirs = new Array<number>(values.length);
      readRleBitPackedHybrid({ view: reader.view, offset: 0 }, width, theirs, end);
      if (width <= 24) expect(theirs).toEqual(values); // Of wider ones it loses bits.
      // And without the last group's end, where nobody reads it.
      const few = values.length - 3;
      if ("packed" in (parts.at(-1) ?? {}))
        expect([...readRuns({ view: reader.view, offset: 0 }, width, few, end)]).toEqual(
          values.slice(0, few),
        );
      expect(() => readRuns({ view: reader.view, offset: 0 }, width, values.length + 1, end)).toThrow(
        "a page has",
      );
    }),
    { numRuns: 300 },
  );
});
