// Parameters that lie nowhere (quantised, in another order, merged with an adapter), put into files once, because ONNX
// Runtime maps files: with the bytes in memory instead it would hold them beside its own packed copy, twice the model,
// in every worker. One file a tensor: a tensor appears whole or not at all, what a killed process made stays useful, and
// workers that start together share the work. Costs disk: 4 bytes a parameter of a quantised model.

import { createHash, randomInt } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  utimesSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { cacheFolder } from "../base/cache-folder.js";
import { messageOf, SluiceError, systemCode } from "../base/errors.js";
import {
  isStored,
  type MadeTensor,
  type StoredTensor,
  type StoredWeights,
  type Weights,
} from "../graph/weights.js";

const DAY_MS = 24 * 3600 * 1000;
/** A file that nobody used for this long is removed by the next process that looks; half-written ones after a day. */
const UNUSED_MS = 14 * DAY_MS;
/** Left free on the disk. */
const RESERVE_BYTES = 256 * 2 ** 20;

/**
 * The weights with every tensor of `names` in a file: those that lie in one already, and those made now or before.
 * @param names the tensors that the graph uses. @param folder where the files go.
 * @throws SluiceError `config` where a tensor cannot be made, `store` where the disk is too small or not writable.
 */
export function storeMadeWeights(
  weights: Weights,
  names: Iterable<string>,
  folder: string = cacheFolder("weights"),
): StoredWeights {
  const wanted = [...names].flatMap((name) => {
    const tensor = weights.find(name);
    return tensor && !isStored(tensor) ? [{ name, tensor }] : [];
  });
  const stored = new Map<string, StoredTensor>();
  if (wanted.length > 0) {
    const place = prepareFolder(folder);
    const files = wanted.map(({ name, tensor }) => ({ name, tensor, file: join(place, fileName(tensor)) }));
    makeMissing(place, files);
    for (const { name, tensor, file } of files) {
      const { dtype, shape, length } = tensor;
      stored.set(name, { name: tensor.name, dtype, shape, length, file, offset: 0 });
    }
  }
  return {
    names: () => weights.names(),
    find: (name) => {
      const tensor = stored.get(name) ?? weights.find(name);
      if (!tensor || isStored(tensor)) return tensor;
      throw new SluiceError("bug", `the tensor ${name} was not asked for when the model was loaded`);
    },
  };
}

interface Place {
  readonly tensor: MadeTensor;
  readonly file: string;
}

/** The folder's real path (ONNX Runtime refuses symbolic links), without what nobody uses any more. */
function prepareFolder(folder: string): string {
  const place = atPlace(folder, () => {
    mkdirSync(folder, { recursive: true });
    return realpathSync(folder);
  });
  for (const entry of readdirSync(place)) {
    const file = join(place, entry);
    const facts = statSync(file, { throwIfNoEntry: false });
    const age = facts ? Date.now() - facts.mtimeMs : 0;
    if (age > (entry.endsWith(".bin") ? UNUSED_MS : DAY_MS)) rmSync(file, { force: true });
  }
  return place;
}

function makeMissing(folder: string, places: readonly Place[]): void {
  const missing = places.filter(({ tensor, file }) => !touch(file, tensor));
  if (missing.length === 0) return;
  refuseFullDisk(folder, missing);
  // From a random place on: workers that start together meet each other's files.
  const first = randomInt(missing.length);
  for (const { tensor, file } of [...missing.slice(first), ...missing.slice(0, first)]) {
    if (!touch(file, tensor)) makeFile(file, tensor);
  }
}

/** Whether the file is there and whole; its time becomes that of its last use. */
function touch(file: string, tensor: MadeTensor): boolean {
  if (statSync(file, { throwIfNoEntry: false })?.size !== tensor.length) return false;
  try {
    utimesSync(file, new Date(), new Date());
    return true;
  } catch {
    return false; // Removed just now, as unused.
  }
}

function makeFile(file: string, tensor: MadeTensor): void {
  const temporary = `${file}.${process.pid}.${randomInt(2 ** 32).toString(16)}`;
  atPlace(file, () => {
    const handle = openSync(temporary, "wx");
    let written = 0;
    try {
      tensor.fill((piece) => {
        for (let done = 0; done < piece.length; ) done += writeSync(handle, piece, done, piece.length - done);
        written += piece.length;
      });
      if (written !== tensor.length)
        throw new SluiceError("bug", `the tensor ${tensor.name} came out with ${written} bytes`);
      fsyncSync(handle);
      renameSync(temporary, file);
    } finally {
      closeSync(handle);
      rmSync(temporary, { force: true });
    }
  });
}

function refuseFullDisk(folder: string, missing: readonly Place[]): void {
  const needed = missing.reduce((sum, { tensor }) => sum + tensor.length, 0);
  const { bavail, bsize } = statfsSync(folder);
  if (needed + RESERVE_BYTES <= bavail * bsize) return;
  throw new SluiceError("store", `there is no room for the model's converted weights in ${folder}`, {
    found: `${((bavail * bsize) / 1e9).toFixed(1)} GB free`,
    expected: `${((needed + RESERVE_BYTES) / 1e9).toFixed(1)} GB`,
    fix: "Free space there, or name another folder with XDG_CACHE_HOME.",
  });
}

/** Equal bytes have equal names. */
function fileName({ name, dtype, shape, madeFrom }: MadeTensor): string {
  const key = JSON.stringify([name, dtype, shape, madeFrom]);
  return `${createHash("sha256").update(key).digest("hex").slice(0, 40)}.bin`;
}

function atPlace<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    if (systemCode(cause) === undefined) throw cause;
    throw new SluiceError("store", `the model's converted weights cannot be written to ${path}`, {
      found: messageOf(cause),
      fix: "Make it writable, or name another folder with XDG_CACHE_HOME.",
      cause,
    });
  }
}
