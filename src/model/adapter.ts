// LoRA adapters (Hu et al. 2021) merged at load, as peft's merge_and_unload does: W + scale B A, in float32. The base
// model's files stay as they are; merged tensors say how they are made.

import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { SluiceError } from "../base/errors.js";
import { readTensor } from "../graph/read-tensor.js";
import { isStored, type MadeTensor, type WeightTensor } from "../graph/weights.js";
import { type AdapterConfig, parseAdapterConfig, rankOf, scaleOf } from "./adapter-config.js";
import { openSafetensorsFiles, type WeightFiles } from "./safetensors.js";

const PIECE_BYTES = 4 * 2 ** 20;

/** An adapter, opened. */
export interface Adapter {
  readonly config: AdapterConfig;
  /** Real path of its weights. */
  readonly file: string;
}

interface Pair {
  readonly module: string;
  readonly a: WeightTensor;
  readonly b: WeightTensor;
}

/**
 * The base model's weights with a LoRA adapter merged into them.
 * @param folder holds adapter_config.json and adapter_model.safetensors.
 * @throws SluiceError `config` where there is no adapter, it is of another kind, or does not fit the model.
 */
export async function applyAdapter(
  base: WeightFiles,
  folder: string,
): Promise<{ adapter: Adapter; weights: WeightFiles }> {
  const where = join(folder, "adapter_config.json");
  const text = await readFile(where, "utf8").catch((cause: unknown) => {
    throw new SluiceError("config", `there is no adapter at ${folder}`, {
      expected: "a folder with adapter_config.json and adapter_model.safetensors",
      cause,
    });
  });
  const config = parseAdapterConfig(text, where);
  const opened = await openSafetensorsFiles(folder, ["adapter_model.safetensors"]);
  const file = opened.files[0] ?? folder;
  const sources = await identify([...base.files, file]);
  const merged = new Map<string, MadeTensor>();
  for (const pair of pairUp(opened, file)) {
    const target = findTarget(base, pair.module, file);
    if (target) merged.set(target.name, merge(target, pair, config, { file, sources }));
  }
  const weights: WeightFiles = {
    files: base.files,
    names: () => base.names(),
    find: (name) => {
      const tensor = base.find(name);
      return tensor && (merged.get(tensor.name) ?? tensor);
    },
  };
  return { adapter: { config, file }, weights };
}

/** The A and B of each module. Everything else an adapter may hold is refused by name. */
function pairUp(adapter: WeightFiles, file: string): Pair[] {
  const pairs: Pair[] = [];
  for (const name of adapter.names()) {
    const [, module, part] = /^base_model\.model\.(.+)\.lora_([AB])\.weight$/.exec(name) ?? [];
    if (module === undefined) {
      throw new SluiceError("config", `${file}: the tensor ${name} is not supported`, {
        expected: "lora_A and lora_B of linear layers alone (no DoRA, embeddings, biases or modules_to_save)",
      });
    }
    const [a, b] = ["A", "B"].map((p) => adapter.find(`base_model.model.${module}.lora_${p}.weight`));
    if (!a || !b) throw new SluiceError("config", `${file}: ${module} has only one of lora_A and lora_B`);
    if (part === "A") pairs.push({ module, a, b });
  }
  if (pairs.length === 0) throw new SluiceError("config", `${file} holds no LoRA tensors`);
  return pairs;
}

/** The weight that an adapter's module changes; undefined for the LM head, of which nothing is computed. */
function findTarget(base: WeightFiles, module: string, file: string): WeightTensor | undefined {
  const names = [`${module}.weight`, `${module.replace(/^(model|transformer)\./, "")}.weight`];
  const target = names.map((name) => base.find(name)).find((tensor) => tensor !== undefined);
  if (module === "lm_head" && base.find("lm_head.weight")) return undefined;
  if (target) return target;
  throw new SluiceError("config", `${file}: the adapter changes ${module}, which the model does not have`, {
    fix: "Is it an adapter of this model?",
  });
}

interface Sources {
  readonly file: string;
  /** The files' paths, sizes, times and inodes. */
  readonly sources: string;
}

function merge(
  target: WeightTensor,
  pair: Pair,
  config: AdapterConfig,
  { file, sources }: Sources,
): MadeTensor {
  const { module, a, b } = pair;
  const [rank = 0, inWidth = 0] = a.shape;
  const outWidth = b.shape[0] ?? 0;
  const [rows, columns] = target.shape;
  // A square weight does not tell whether it is [in, out] (GPT-2's Conv1D): then the config does.
  const isPlain = rows === outWidth && columns === inWidth;
  const isTransposed = rows === inWidth && columns === outWidth && (!isPlain || config.fan_in_fan_out);
  const fits =
    a.shape.length === 2 && b.shape.length === 2 && b.shape[1] === rank && target.shape.length === 2;
  if (!fits || !(isPlain || isTransposed) || rank !== rankOf(config, module)) {
    throw new SluiceError("config", `${file}: the adapter's tensors of ${module} do not fit the model`, {
      found: `A [${a.shape.join(", ")}], B [${b.shape.join(", ")}]`,
      expected: `rank ${rankOf(config, module)} for a weight [${target.shape.join(", ")}]`,
      fix: "Is it an adapter of this model?",
    });
  }
  const scale = scaleOf(config, module, rank);
  const from = isStored(target) ? `${target.name} at ${target.offset}` : target.madeFrom;
  return {
    name: target.name,
    dtype: "float32",
    shape: target.shape,
    length: 4 * inWidth * outWidth,
    madeFrom: `${sources}: ${from} + ${scale} x LoRA of ${module}${isTransposed ? ", transposed" : ""}`,
    fill(take) {
      const values = readTensor(target);
      if (isTransposed) addProduct(values, readTensor(a), readTensor(b), rank, scale, "transposed");
      else addProduct(values, readTensor(b), readTensor(a), rank, scale, "plain");
      const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      for (let at = 0; at < bytes.length; at += PIECE_BYTES) take(bytes.subarray(at, at + PIECE_BYTES));
    },
  };
}

/**
 * Adds scale B A, or its transpose A^T B^T, to a matrix. `plain`: left is B [rows, rank], right is A [rank, columns].
 * `transposed`: left is A [rank, rows], right is B [columns, rank].
 */
function addProduct(
  into: Float32Array,
  left: Float32Array,
  right: Float32Array,
  rank: number,
  scale: number,
  layout: "plain" | "transposed",
): void {
  const rows = left.length / rank;
  const columns = right.length / rank;
  const isPlain = layout === "plain";
  const sums = new Float64Array(columns);
  for (let row = 0; row < rows; row++) {
    sums.fill(0);
    for (let k = 0; k < rank; k++) {
      const factor = scale * ((isPlain ? left[row * rank + k] : left[k * rows + row]) ?? 0);
      if (isPlain)
        for (let i = 0; i < columns; i++) sums[i] = (sums[i] ?? 0) + factor * (right[k * columns + i] ?? 0);
      else for (let i = 0; i < columns; i++) sums[i] = (sums[i] ?? 0) + factor * (right[i * rank + k] ?? 0);
    }
    for (let i = 0; i < columns; i++) {
      const at = row * columns + i;
      into[at] = (into[at] ?? 0) + (sums[i] ?? 0);
    }
  }
}

async function identify(files: readonly string[]): Promise<string> {
  const texts = files.map(async (file) => {
    const { size, mtimeNs, ino } = await stat(file, { bigint: true });
    return `${file} ${size} ${mtimeNs} ${ino}`;
  });
  return (await Promise.all(texts)).join(", ");
}
