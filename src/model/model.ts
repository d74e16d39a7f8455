// A checkpoint on disk: its config, its family, its tensors, and the graph of what is wanted of it.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { SluiceError } from "../base/errors.js";
import { type BuilderOptions, GraphBuilder } from "../graph/builder.js";
import type { Graph } from "../graph/graph.js";
import { ConfigReader, type RawConfig } from "./config.js";
import { findFamily } from "./families.js";
import type { ModelShape } from "./family.js";
import { openSafetensors, type WeightFiles } from "./safetensors.js";

/** A checkpoint, opened: nothing is read but its config and the headers of its files. */
export interface Checkpoint {
  readonly folder: string;
  readonly family: string;
  /** config.json as read. */
  readonly config: RawConfig;
  readonly shape: ModelShape;
  readonly weights: WeightFiles;
}

/**
 * Opens the checkpoint of a Hugging Face folder.
 * @throws SluiceError `config` where there is no model, its architecture or a field of its config is not supported, or a file is truncated.
 */
export async function openModel(folder: string): Promise<Checkpoint> {
  const file = join(folder, "config.json");
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    throw new SluiceError("config", `there is no model at ${folder}`, {
      expected: "a folder with config.json and *.safetensors",
      fix: "Give --model the folder of a downloaded checkpoint (Hub ids and .gguf files are not in this version).",
      cause,
    });
  }
  const config = parseConfig(text, file);
  const family = findFamily(config.architectures, file);
  const reader = new ConfigReader(config, file);
  const shape = family.read(reader);
  reader.refuseTheRest();
  return { folder, family: family.name, config, shape, weights: await openSafetensors(folder) };
}

/** The graph of the wanted taps. @throws SluiceError `config` where config and tensors do not fit, `usage` for an unknown tap. */
export function buildGraph(checkpoint: Checkpoint, options: BuilderOptions): Graph {
  const builder = new GraphBuilder(checkpoint.weights, options);
  checkpoint.shape.build(builder);
  return builder.finish();
}

function parseConfig(text: string, file: string): RawConfig {
  try {
    return z.record(z.string(), z.unknown()).parse(JSON.parse(text));
  } catch (cause) {
    throw new SluiceError("config", `${file} is not a JSON object`, { fix: "Download it again.", cause });
  }
}
