// A model in one GGUF file: its config, and its tensors. Tensors that lie there as PyTorch would have them stay where they
// are; the others say how they are made.

import { realpath, stat } from "node:fs/promises";
import { elementsOf } from "../base/dtype.js";
import { SluiceError } from "../base/errors.js";
import { type GgufHeader, type GgufTensor, readGgufHeader } from "../base/gguf-header.js";
import { readTensor } from "../graph/read-tensor.js";
import type { WeightTensor } from "../graph/weights.js";
import type { RawConfig } from "./config.js";
import { GGUF_ARCHITECTURES, type GgufArchitecture } from "./gguf-architectures.js";
import { GgufMetadata } from "./gguf-metadata.js";
import { type GgufFile, placeGgufTensor, storedGgufTensor } from "./gguf-tensor.js";
import type { WeightFiles } from "./safetensors.js";

/** Llama 3's rotary scaling: it goes into the config. */
const ROPE_FACTORS = "rope_freqs.weight";
const MAX_ROPE_FACTORS = 4096;

/**
 * Opens a GGUF file.
 * @returns the config.json that its family reads, and the tensors under Hugging Face's names.
 * @throws SluiceError `config` where the file is malformed, or its architecture, a field or a tensor is not supported.
 */
export async function openGguf(path: string): Promise<{ config: RawConfig; weights: WeightFiles }> {
  const file = await identify(path);
  const header = await readGgufHeader(file.path);
  const m = new GgufMetadata(header, path);
  const architecture = GGUF_ARCHITECTURES[m.architecture];
  if (!architecture) {
    throw new SluiceError("config", `${path}: the architecture is not supported`, {
      found: m.architecture,
      expected: Object.keys(GGUF_ARCHITECTURES).join(", "),
    });
  }
  const factors = header.tensors.find(({ name }) => name === ROPE_FACTORS);
  const ropeFactors = factors ? readRopeFactors(factors, file) : null;
  const config = architecture.config({ m, ropeFactors });
  m.refuseTheRest();
  const tensors = placeAll(header, architecture, config, file);
  return {
    config,
    weights: { files: [file.path], find: (name) => tensors.get(name), names: () => tensors.keys() },
  };
}

/** @throws SluiceError `config` where it is not what llama.cpp's converter writes: a number in float32 for each pair of a head. */
function readRopeFactors(tensor: GgufTensor, file: GgufFile): Float32Array {
  const { packing, shape } = tensor;
  if (packing.name === "F32" && elementsOf(shape) <= MAX_ROPE_FACTORS)
    return readTensor(storedGgufTensor(tensor, ROPE_FACTORS, file));
  throw new SluiceError("config", `${file.path}: the tensor ${ROPE_FACTORS} is not what it should be`, {
    found: `${shape.join(" x ")} of ${packing.name}`,
    expected: `up to ${MAX_ROPE_FACTORS} of F32`,
  });
}

async function identify(path: string): Promise<GgufFile> {
  const real = await realpath(path);
  const { size, mtimeNs, ino } = await stat(real, { bigint: true });
  return { path: real, identity: `${real} ${size} ${mtimeNs} ${ino}` };
}

function placeAll(
  header: GgufHeader,
  architecture: GgufArchitecture,
  config: RawConfig,
  file: GgufFile,
): Map<string, WeightTensor> {
  const placed = new Map<string, WeightTensor>();
  for (const tensor of header.tensors) {
    if (tensor.name === ROPE_FACTORS) continue;
    const { name, general } = translate(tensor.name, architecture, file.path);
    const change = architecture.change?.(general, config);
    placed.set(name, placeGgufTensor(tensor, name, change, file));
  }
  return placed;
}

/** Hugging Face's name of a tensor, and the same with `{}` for the layer. */
function translate(
  name: string,
  { names }: GgufArchitecture,
  path: string,
): { name: string; general: string } {
  const [, layer, stem = "", suffix = ""] = /^(?:blk\.(\d+)\.)?(.*)(\.weight|\.bias)$/.exec(name) ?? [];
  const theirs = names[layer === undefined ? stem : `blk.{}.${stem}`];
  if (theirs !== undefined)
    return { name: theirs.replace("{}", layer ?? "") + suffix, general: theirs + suffix };
  throw new SluiceError(
    "config",
    `${path}: the tensor ${name} is not known, and may change the model's results`,
    {
      expected: `${Object.keys(names).join(", ")} with .weight or .bias`,
    },
  );
}
