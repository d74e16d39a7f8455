// The layout of existing Python pipelines: gzip of a pickle of {layer: [{"sample_idx", "activation", "shape",
// "text_preview"}]}. The pickle is laid out like any shard, every offset known beforehand; only its rows come from the
// engine. Nothing is ever unpickled here.

import { createReadStream, createWriteStream } from "node:fs";
import { stat } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createDeflateRaw, createGunzip } from "node:zlib";
import { crc32 } from "@node-rs/crc32";
import { elementsOf } from "../base/dtype.js";
import { SluiceError } from "../base/errors.js";
import type { ActivationSpec, ShardContents, ShardFormat, ShardLayout } from "./format.js";
import { PickleWriter } from "./pickle.js";

/** `--format pkl.gz`: one hook, float32 (or float16) arrays that plain Python with numpy reads. */
export const pickleFormat: ShardFormat = {
  name: "pkl.gz",
  extension: ".pkl.gz",
  storedDType: (dtype) => (dtype === "bfloat16" ? "float32" : dtype),
  check: checkActivations,
  layout: layOut,
  compression: { compress: compressFile, readComment, expand: createGunzip },
};

/** Magic, deflate, "a comment follows", no time, no extra flags, unknown operating system. */
const HEADER = Buffer.from([0x1f, 0x8b, 8, 0x10, 0, 0, 0, 0, 0, 0xff]);

/** The layout has layers for keys and nothing else: one hook, and of every layer at most once. */
function checkActivations(activations: readonly ActivationSpec[]): void {
  const hooks = new Set(activations.map(({ name }) => name.replace(/^blocks\.\d+\./, "")));
  const isKeyed = activations.every(({ layer }) => layer !== null);
  if (hooks.size <= 1 && isKeyed) return;
  const expected = isKeyed ? "one name in --hooks" : "a hook point of a block: the layer is the key";
  throw new SluiceError("usage", "--format pkl.gz holds one hook of the blocks", {
    found: [...hooks].join(", "),
    expected,
    fix: "Use --format safetensors.",
  });
}

function layOut(contents: ShardContents): ShardLayout {
  const { activations, rowOffsets } = contents;
  checkActivations(activations);
  const samples = rowOffsets.length - 1;
  const places = new Float64Array(activations.length * samples);
  const pickle = new PickleWriter();
  pickle.startDict();
  for (const [a, { layer, dtype, rowShape }] of activations.entries()) {
    pickle.int(layer ?? 0);
    pickle.startList();
    for (let s = 0; s < samples; s++) {
      const shape = [(rowOffsets[s + 1] ?? 0) - (rowOffsets[s] ?? 0), elementsOf(rowShape)];
      pickle.startDict();
      pickle.text("sample_idx");
      pickle.int(Number(contents.sampleIds[s] ?? 0n));
      pickle.text("activation");
      places[a * samples + s] = pickle.array(shape, dtype === "float16" ? "<f2" : "<f4");
      pickle.text("shape");
      pickle.tuple(shape);
      pickle.text("text_preview");
      pickle.text(contents.previews[s] ?? "");
      pickle.endDict();
    }
    pickle.endList();
  }
  pickle.endDict();
  return { ...pickle.finish(), tensors: [], places };
}

/** gzip (RFC 1952) with a comment and without a time, so that equal input gives equal output. Runs in libuv's threads. */
async function compressFile(
  laidOut: string,
  target: string,
  comment: string,
  signal?: AbortSignal,
): Promise<void> {
  let sum = 0;
  let size = 0;
  async function* counted(pieces: AsyncIterable<Buffer>) {
    for await (const piece of pieces) {
      sum = crc32(piece, sum);
      size += piece.length;
      yield piece;
    }
  }
  async function* frame(deflated: AsyncIterable<Buffer>) {
    yield Buffer.concat([HEADER, Buffer.from(`${comment}\0`, "latin1")]);
    yield* deflated;
    const trailer = Buffer.alloc(8);
    trailer.writeUInt32LE(sum >>> 0, 0);
    trailer.writeUInt32LE(size % 2 ** 32, 4);
    yield trailer;
  }
  // As private as the file that it is made of.
  const mode = (await stat(laidOut)).mode & 0o666;
  await pipeline(
    createReadStream(laidOut, { highWaterMark: 1 << 20 }),
    counted,
    createDeflateRaw({ level: 1 }),
    frame,
    createWriteStream(target, { flags: "wx", mode }),
    { signal },
  );
}

/** The comment of a file that {@link compressFile} made. */
function readComment(start: Uint8Array): string | undefined {
  const bytes = Buffer.from(start.buffer, start.byteOffset, start.byteLength);
  const end = bytes.indexOf(0, HEADER.length);
  if (end < 0 || !bytes.subarray(0, HEADER.length).equals(HEADER)) return undefined;
  return bytes.toString("latin1", HEADER.length, end);
}
