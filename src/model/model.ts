// A checkpoint on disk: its config, its family, its tensors, and the graph of what is wanted of it.

import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { isSluiceError, SluiceError } from "../base/errors.js";
import { parseJson } from "../base/parse-json.js";
import { type BuilderOptions, GraphBuilder } from "../graph/builder.js";
import type { Graph } from "../graph/graph.js";
import { commitOfSnapshot } from "../hub/repo.js";
import { type Adapter, applyAdapter } from "./adapter.js";
import { ConfigReader, type RawConfig } from "./config.js";
import { findFamily } from "./families.js";
import type { ModelShape } from "./family.js";
import { openGguf } from "./gguf.js";
import { openSafetensors, type WeightFiles } from "./safetensors.js";

const MAX_LAYERS = 10_000;

/** A checkpoint, opened: nothing is read but its config and the headers of its files. */
export interface Checkpoint {
  /** The folder, or the .gguf file. */
  readonly path: string;
  /** The Hub's commit, where the path lies in its cache. */
  readonly revision: string | null;
  readonly family: string;
  /** config.json as read, or as the GGUF's metadata say it. */
  readonly config: RawConfig;
  readonly shape: ModelShape;
  readonly weights: WeightFiles;
  /** The adapter that is merged into the weights. */
  readonly adapter: Adapter | null;
}

/**
 * Opens the checkpoint of a Hugging Face folder or a GGUF file.
 * @param adapterFolder a LoRA adapter to be merged into it.
 * @throws SluiceError `config` where there is no model, its architecture or a field of its config is not supported, or a file is truncated.
 */
export async function openModel(path: string, adapterFolder: string | null = null): Promise<Checkpoint> {
  const isFile = await stat(path).then(
    (facts) => facts.isFile(),
    () => false,
  );
  const { config, where, openWeights } = isFile ? await openGgufFile(path) : await openFolder(path);
  const family = findFamily(config, where);
  const reader = new ConfigReader(config, where);
  const shape = family.read(reader);
  reader.refuseTheRest();
  if (shape.layers > MAX_LAYERS)
    throw new SluiceError("config", `${where}: no model has so many layers`, { found: shape.layers });
  const base = await openWeights();
  const { adapter, weights } =
    adapterFolder === null ? { adapter: null, weights: base } : await applyAdapter(base, adapterFolder);
  const revision = commitOfSnapshot(path);
  return { path, revision, family: family.name, config, shape, weights, adapter };
}

/** A config, where it was read, and the weights for when it has been checked. */
interface Opened {
  readonly config: RawConfig;
  readonly where: string;
  openWeights(): Promise<WeightFiles>;
}

async function openGgufFile(path: string): Promise<Opened> {
  const { config, weights } = await openGguf(path).catch((error: unknown) => {
    if (/\.gguf$/i.test(path) || !isSluiceError(error, "config")) throw error;
    throw new SluiceError("config", `${path} is a file, and no GGUF file`, {
      expected: "a folder with config.json and *.safetensors, or a .gguf file",
      fix: "Give --model the folder that it lies in.",
      cause: error,
    });
  });
  return { config, where: path, openWeights: async () => weights };
}

async function openFolder(folder: string): Promise<Opened> {
  const where = join(folder, "config.json");
  let text: string;
  try {
    text = await readFile(where, "utf8");
  } catch (cause) {
    throw new SluiceError("config", `there is no model at ${folder}`, {
      expected: "a folder with config.json and *.safetensors, or a .gguf file",
      fix: "Give --model the folder of a checkpoint, a .gguf file, or a Hub id (org/name).",
      cause,
    });
  }
  return { config: parseConfig(text, where), where, openWeights: () => openSafetensors(folder) };
}

/** The graph of the wanted taps. @throws SluiceError `config` where config and tensors do not fit, `usage` for an unknown tap. */
export function buildGraph(checkpoint: Checkpoint, options: BuilderOptions): Graph {
  const builder = new GraphBuilder(checkpoint.weights, options);
  checkpoint.shape.build(builder);
  return builder.finish();
}

function parseConfig(text: string, file: string): RawConfig {
  try {
    return z.record(z.string(), z.unknown()).parse(parseJson(text));
  } catch (cause) {
    throw new SluiceError("config", `${file} is not a JSON object`, { fix: "Download it again.", cause });
  }
}
