// Model and dataset as a worker would open them: everything that `extract` checks before it starts, and nothing more of their bytes
// than that takes.

import { formatBytes } from "../base/format-bytes.js";
import { plural } from "../base/plural.js";
import { refuseMissingColumns } from "../data/check-columns.js";
import { openDataset } from "../data/dataset.js";
import { sampleDataset } from "../data/scan.js";
import { openTokenizer } from "../data/tokenizer.js";
import { choosePlacement } from "../estimate/memory.js";
import { measureWeights } from "../graph/weight-sizes.js";
import { hookPoints } from "../model/hooks.js";
import { locateAdapter, locateModel } from "../model/locate.js";
import { buildGraph, openModel } from "../model/model.js";
import { measureRecords } from "../run/expected-size.js";
import type { ExtractOptions } from "../run/extract-options.js";
import { machineMemory } from "../run/machine-memory.js";
import { MAX_BATCH_BYTES, planRun } from "../run/run-plan.js";
import { type Finding, findingsOf } from "./finding.js";

const model = findingsOf("model");
const dataset = findingsOf("dataset");
const SAMPLED = 100;

/** The model alone: config, weights, memory, tokenizer. */
export async function* checkModel(
  name: string,
  adapter: string | undefined,
  { engine, signal }: { readonly engine: string; readonly signal?: AbortSignal | undefined },
): AsyncGenerator<Finding> {
  try {
    const download = signal ? { signal } : {};
    const path = await locateModel(name, download);
    const checkpoint = await openModel(
      path,
      adapter === undefined ? null : await locateAdapter(adapter, download),
    );
    const taps = hookPoints(checkpoint.shape.build).map((point) => point.name);
    const graph = buildGraph(checkpoint, { taps, selection: "rows", tapDType: "float32" });
    const { layers, vocabulary } = checkpoint.shape;
    yield model.ok(
      `${name}: ${checkpoint.family}, ${plural(layers, "layer")}, a vocabulary of ${vocabulary}; ${plural(taps.length, "hook point")}`,
    );
    const sizes = measureWeights(graph, checkpoint.weights);
    const { files } = checkpoint.weights;
    yield model.ok(
      `the headers of ${plural(files.length, "file")} of weights are valid, ${formatBytes(sizes.storedBytes)} are used`,
    );
    const { need, placement, warning } = choosePlacement(
      sizes,
      engine,
      "auto",
      MAX_BATCH_BYTES,
      machineMemory(),
    );
    const text = `one worker takes ${formatBytes(need.private)} of memory (${placement})`;
    if (warning === null) yield model.ok(text, { ...need });
    else yield model.warning(`${text}: ${warning}`, "Use a larger machine, or be patient.", { ...need });
    const tokenizer = await openTokenizer(path);
    yield tokenizer
      ? model.ok("its tokenizer can be read")
      : model.warning(
          "there is no tokenizer.json",
          "Put the model's own beside its config.json, or give records with token_ids.",
        );
  } catch (error) {
    signal?.throwIfAborted();
    yield model.raised(name, error);
  }
}

/** A dataset, and where the model is known too, whether its records give samples. @param options as extract would be told; null without a model. */
export async function* checkDataset(
  name: string,
  options: ExtractOptions | null,
  signal?: AbortSignal,
): AsyncGenerator<Finding> {
  try {
    const opened = await openDataset(name, null, signal ? { signal } : {});
    const records = await sampleDataset(opened, SAMPLED, signal);
    const bytes = opened.streams.reduce((sum, stream) => sum + stream.bytes, 0);
    const files = opened.streams.reduce((sum, stream) => sum + stream.files.length, 0);
    if (records.length === 0) {
      yield dataset.failure(
        `${name} has no records`,
        "Name a dataset with at least one line that is not blank.",
      );
      return;
    }
    yield dataset.ok(
      `${name}: ${plural(opened.streams.length, "stream")}, ${plural(files, "file")}, ${formatBytes(bytes)}`,
    );
    if (!options) return;
    const warnings: string[] = [];
    const plan = await planRun(options, { warn: () => {} });
    await refuseMissingColumns(opened, records, plan.rules);
    const sizes = await measureRecords(plan, records, (message) => warnings.push(message), signal);
    const empty = sizes.filter(({ samples }) => samples === 0).length;
    const tokens = sizes.reduce((sum, size) => sum + size.tokens, 0) / Math.max(1, sizes.length);
    const share = Math.round(100 * (1 - empty / Math.max(1, sizes.length)));
    const text = `${share} % of the records looked at give samples, ${plural(Math.round(tokens), "token")} each`;
    if (empty > sizes.length / 2)
      yield dataset.warning(warnings[0] ?? text, "See --column and --prompt in sluice extract --help.");
    else yield dataset.ok(text);
  } catch (error) {
    signal?.throwIfAborted();
    yield dataset.raised(name, error);
  }
}
