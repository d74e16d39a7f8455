// A checkpoint's tensors as they lie in its safetensors files: one file, or an index and parts. Nothing is read but the
// headers; engines map the files themselves.

import { open, readFile, realpath, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { dtypeOfSafetensors, type FloatDType } from "../base/dtype.js";
import { isSluiceError, SluiceError, systemCode } from "../base/errors.js";
import { parseJson } from "../base/parse-json.js";
import { headerLength, parseSafetensorsHeader, type SafetensorsHeader } from "../base/safetensors-header.js";
import type { Weights, WeightTensor } from "../graph/weights.js";

const FLOATS: readonly string[] = ["float32", "bfloat16", "float16"];
/** What `save_pretrained` puts before the names of a base model's tensors. */
const PREFIXES = [
  "",
  "model.",
  "transformer.",
  "gpt_neox.",
  "language_model.model.",
  "model.language_model.",
] as const;
const indexSchema = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

/** The tensors of a folder's checkpoint, and the files they lie in. */
export interface WeightFiles extends Weights {
  /** Real paths, in order of name. */
  readonly files: readonly string[];
}

/**
 * Opens the checkpoint of a folder: `model.safetensors`, or the parts that `model.safetensors.index.json` names. Where both are there
 * it is the one file, as in transformers.
 * @throws SluiceError `config` where there is none, a part is missing, or a file is truncated or malformed.
 */
export async function openSafetensors(folder: string): Promise<WeightFiles> {
  return openSafetensorsFiles(folder, await listParts(folder));
}

/** The tensors of the named files of a folder. @throws SluiceError `config` as {@link openSafetensors} does. */
export async function openSafetensorsFiles(folder: string, names: readonly string[]): Promise<WeightFiles> {
  const tensors = new Map<string, WeightTensor>();
  const notRead = new Map<string, string>();
  const files: string[] = [];
  for (const name of names) {
    const file = await resolveFile(folder, name);
    files.push(file);
    for (const tensor of (await readHeader(file, name)).tensors) {
      const dtype = dtypeOfSafetensors(tensor.dtype);
      if (dtype === undefined || !FLOATS.includes(dtype)) {
        notRead.set(tensor.name, tensor.dtype);
        continue;
      }
      const { start, end, shape } = tensor;
      tensors.set(tensor.name, {
        name: tensor.name,
        dtype: dtype as FloatDType,
        shape,
        file,
        offset: start,
        length: end - start,
      });
    }
  }
  return {
    files,
    find(name) {
      const names = PREFIXES.map((prefix) => prefix + name);
      const found = names.map((n) => tensors.get(n)).find((tensor) => tensor !== undefined);
      const other = names.find((n) => notRead.has(n));
      if (found || other === undefined) return found;
      throw new SluiceError("config", `the tensor ${other} of the checkpoint has a dtype that is not read`, {
        found: notRead.get(other),
        expected: "F32, BF16 or F16",
        fix: "Is it quantised? Take the checkpoint that it was made from, or a GGUF file.",
      });
    },
    names: () => tensors.keys(),
  };
}

/** Reads and checks the header of a safetensors file. @throws SluiceError `config`. */
export async function readHeader(file: string, name = basename(file)): Promise<SafetensorsHeader> {
  const handle = await open(file, "r");
  try {
    const { size } = await handle.stat();
    const prefix = new Uint8Array(8);
    const { bytesRead } = await handle.read(prefix, 0, 8, 0);
    const json = new Uint8Array(headerLength(prefix.subarray(0, bytesRead), size, name));
    await handle.read(json, 0, json.length, 8);
    return parseSafetensorsHeader(json, size, name);
  } catch (error) {
    if (!isSluiceError(error, "data")) throw error;
    throw new SluiceError("config", error.message, { fix: "Download the file again.", cause: error });
  } finally {
    await handle.close();
  }
}

async function listParts(folder: string): Promise<string[]> {
  const isOneFile = await stat(join(folder, "model.safetensors")).then(
    (facts) => facts.isFile(),
    () => false,
  );
  if (isOneFile) return ["model.safetensors"];
  const indexFile = join(folder, "model.safetensors.index.json");
  let text: string;
  try {
    text = await readFile(indexFile, "utf8");
  } catch (error) {
    if (systemCode(error) === "ENOENT") return ["model.safetensors"];
    throw error;
  }
  let raw: unknown;
  try {
    raw = parseJson(text);
  } catch {} // Refused below, as whatever else it is not.
  const index = indexSchema.safeParse(raw);
  if (!index.success) {
    throw new SluiceError("config", `${indexFile} is no index of a checkpoint`, {
      expected: "a member weight_map",
      fix: "Download it again.",
    });
  }
  const names = [...new Set(Object.values(index.data.weight_map))].sort();
  const bad = names.find((name) => name !== basename(name));
  if (bad !== undefined)
    throw new SluiceError("config", `${indexFile} names a file outside its folder`, { found: bad });
  return names;
}

async function resolveFile(folder: string, name: string): Promise<string> {
  try {
    return await realpath(join(folder, name));
  } catch (cause) {
    if (systemCode(cause) !== "ENOENT") throw cause;
    throw new SluiceError("config", `the checkpoint at ${folder} lacks ${name}`, {
      expected: "*.safetensors as the model's page lists them",
      fix: "Download it (files of pickled tensors, *.bin, are not read).",
      cause,
    });
  }
}
