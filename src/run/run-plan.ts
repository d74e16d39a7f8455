// What a worker knows of its run before it has looked at the run's folder: the model, the dataset, and the identity that
// follows from them and the options. Everything here is checked, so that wrong input is refused before anything starts.

import { stat } from "node:fs/promises";
import { SluiceError } from "../base/errors.js";
import { openChatTemplate } from "../data/chat-template.js";
import { type Dataset, openDataset } from "../data/dataset.js";
import { type RecordRules, usedColumns } from "../data/records.js";
import { openTokenizer, type Tokenizer } from "../data/tokenizer.js";
import { choosePlacement, type WeightPlacement } from "../estimate/memory.js";
import { estimateXlaMemory } from "../estimate/xla-memory.js";
import { costOf, type Graph } from "../graph/graph.js";
import { hloCostOf } from "../graph/stablehlo-cost.js";
import { measureWeights, type WeightSizes } from "../graph/weight-sizes.js";
import type { DownloadOptions } from "../hub/snapshot.js";
import { type HookPoint, hookPoints } from "../model/hooks.js";
import { locateAdapter, locateModel } from "../model/locate.js";
import { buildGraph, type Checkpoint, openModel } from "../model/model.js";
import { parseHooks } from "../model/parse-hooks.js";
import type { BatchLimits } from "../plan/batches.js";
import { parsePositions, selectionOf } from "../plan/positions.js";
import type { ActivationSpec, ShardFormat } from "../shard/format.js";
import { findFormat } from "../shard/formats.js";
import { openStore } from "../store/stores.js";
import type { LoadRequest } from "./engine-process.js";
import type { ExtractOptions } from "./extract-options.js";
import type { Identity } from "./identity.js";
import { LikeRun } from "./like.js";
import { machineMemory } from "./machine-memory.js";
import { hashFile } from "./weights-hash.js";

/** Bytes of a batch's outputs and largest intermediates at most. A constant, so that batches do not depend on the machine. */
export const MAX_BATCH_BYTES = 512 * 2 ** 20;
const MAX_BATCH_SAMPLES = 4096;

/** A worker's plan. */
export interface RunPlan {
  readonly options: ExtractOptions;
  readonly checkpoint: Checkpoint;
  readonly dataset: Dataset;
  readonly tokenizer: Tokenizer | null;
  readonly taps: readonly HookPoint[];
  readonly format: ShardFormat;
  readonly activations: readonly ActivationSpec[];
  readonly selection: "rows" | "mean" | "max";
  readonly rules: RecordRules;
  readonly limits: BatchLimits;
  readonly load: LoadRequest;
  /** Bytes of the weights that the engine puts into the cache folder, where they are not there yet. */
  readonly madeBytes: number;
  /** The run that this one is to be like. */
  readonly like: LikeRun | null;
  /** The identity but for what is only known from the dataset's and the weights' bytes. */
  readonly identity: Omit<Identity, "samples_per_shard" | "shard_bytes">;
}

const UNKNOWN_HASH = "0".repeat(64);

/**
 * Opens model and dataset, and resolves the options against them. A model of the Hub is brought here before.
 * @throws SluiceError `config` for a missing or unsupported model or dataset, or settings unlike those of --like; `usage` for hooks, layers or positions that do not exist.
 */
export async function planRun(options: ExtractOptions, download: DownloadOptions = {}): Promise<RunPlan> {
  if (options.plugin !== null) await refuseMissingPlugin(options.plugin);
  const model = await locateModel(options.model, download);
  const adapter = options.adapter === undefined ? null : await locateAdapter(options.adapter, download);
  const checkpoint = await openModel(model, adapter);
  const { shape } = checkpoint;
  const taps = parseHooks(options.hooks, options.layers, hookPoints(shape.build), shape.modules);
  const positions = parsePositions(options.positions);
  const selection = selectionOf(positions);
  const format = findFormat(options.format);
  const stored = format.storedDType(options.dtype);
  const tapDType = options.dtype === "bfloat16" ? "bfloat16" : "float32";
  const activations = taps.map(({ name, layer, rowShape, meaning }) => ({
    name,
    layer,
    rowShape,
    dtype: stored,
    meaning,
  }));
  format.check?.(activations);
  const wanted = { taps: taps.map((tap) => tap.name), selection, tapDType } as const;
  const graph = buildGraph(checkpoint, wanted);
  const sizes = measureWeights(graph, checkpoint.weights);
  const isXla = options.engine === "xla";
  const compute = chooseComputeDType(options, graph, checkpoint, download);
  const load: LoadRequest = {
    engine: options.engine,
    threads: options.threads,
    weights: placeWeights(options, sizes, compute, download),
    compute,
    plugin: options.plugin,
    tensorParallel: options.tensorParallel,
    model,
    adapter,
    ...wanted,
  };
  const cost = isXla ? hloCostOf(graph) : costOf(graph);
  const contextSize = options.contextSize ?? null;
  const maxLength =
    contextSize === null
      ? limitLength("--max-seq-length", options.maxSeqLength, checkpoint)
      : limitLength("--context-size", contextSize, checkpoint);
  const stride = limitStride(options.stride ?? maxLength, maxLength);
  const dataset = await openDataset(options.dataset, usedColumns(options), download);
  const tokenizer = await openTokenizer(model);
  const template = options.prompt === "chat" ? openChatTemplate(tokenizer) : null;
  const specials = specialIds(tokenizer, checkpoint);
  const rules: RecordRules = {
    prompt: options.prompt,
    column: options.column,
    keepColumns: options.keepColumns,
    augment: options.augment,
    bos: options.bos,
    maxLength,
    tooLong: options.tooLong,
    stride,
    maxParts: options.maxParts,
    contextSize,
    attendAcross: options.attendAcross,
    dropShort: options.dropShort,
    positions,
    skipSpecial: options.skipSpecial,
    seed: options.seed,
    vocabulary: shape.vocabulary,
    ...specials,
  };
  const like = options.like === undefined ? null : await LikeRun.open(openStore(options.like));
  const plan: RunPlan = {
    options,
    checkpoint,
    dataset,
    tokenizer,
    taps,
    format,
    activations,
    selection,
    rules,
    limits: {
      maxTokens: options.batchTokens,
      maxSamples: options.batchSize ?? MAX_BATCH_SAMPLES,
      maxBytes: MAX_BATCH_BYTES,
      ...cost,
      shapes: isXla ? "few" : "any",
    },
    load,
    madeBytes: options.engine === "reference" ? 0 : sizes.madeBytes,
    like,
    identity: {
      format: "sluice-run-1",
      model: {
        family: checkpoint.family,
        revision: checkpoint.revision,
        config: { ...checkpoint.config },
        weights_sha256: UNKNOWN_HASH,
        ...(await identifyAdapter(checkpoint)),
      },
      tokenizer: {
        sha256: tokenizer?.sha256 ?? null,
        special_ids: [...specials.specialIds],
        bos_id: specials.bosId,
        eos_ids: [...specials.eosIds],
        bos: options.bos,
      },
      dataset: {
        name: dataset.name,
        max_samples: options.maxSamples ?? null,
        records: 0,
        streams: dataset.streams.map(({ bytes }) => ({ records: 0, bytes, sha256: UNKNOWN_HASH })),
      },
      prompt: {
        kind: options.prompt,
        column: options.column,
        keep_columns: [...options.keepColumns],
        template_sha256: template?.sha256 ?? null,
        augment: options.augment,
        max_seq_length: maxLength,
        too_long: options.tooLong,
        stride: options.tooLong === "window" ? stride : null,
        max_parts: options.tooLong === "window" ? options.maxParts : null,
        context_size: contextSize,
        attend_across: options.attendAcross,
        drop_short: options.dropShort,
      },
      taps: taps.map((tap) => tap.name),
      positions: options.positions,
      skip_special: options.skipSpecial,
      dtype: options.dtype,
      compute_dtype: compute,
      shard_format: options.format,
      max_skipped: options.maxSkipped,
      seed: options.seed,
      ...(like ? { like: like.run.run } : {}),
    },
  };
  like?.refuseSettings(plan.identity, options.samplesPerShard);
  return plan;
}

function placeWeights(
  options: ExtractOptions,
  sizes: WeightSizes,
  compute: "float32" | "bfloat16",
  { warn }: DownloadOptions,
): WeightPlacement {
  const { engine, device, weights, tensorParallel } = options;
  if (engine === "xla") {
    const batchBytes = MAX_BATCH_BYTES;
    estimateXlaMemory(sizes, { device, compute, tensorParallel, batchBytes, total: machineMemory() });
    return "mapped";
  }
  const { placement, warning } = choosePlacement(sizes, engine, weights, MAX_BATCH_BYTES, machineMemory());
  if (warning !== null) warn?.(warning);
  return placement;
}

/** What matrix products are computed in: what was asked for, or on an accelerator the checkpoint's own dtype where that is bfloat16. */
function chooseComputeDType(
  { engine, device, computeDType }: ExtractOptions,
  graph: Graph,
  { weights }: Checkpoint,
  { warn }: DownloadOptions,
): "float32" | "bfloat16" {
  if (engine !== "xla" && computeDType === "bfloat16") {
    throw new SluiceError("usage", `${engine} computes in float32`, {
      found: "--compute-dtype bfloat16",
      fix: "Leave it out, or use --engine xla.",
    });
  }
  if (computeDType !== "auto") return computeDType;
  if (device === "cpu") return "float32";
  const stored = new Set(
    graph.nodes.flatMap((node) => (node.op === "linear" ? (weights.find(node.weight)?.dtype ?? []) : [])),
  );
  if (stored.has("bfloat16")) return "bfloat16";
  if (stored.has("float16"))
    warn?.(
      "the checkpoint is float16, which is computed in float32: --compute-dtype bfloat16 is faster, and rounds its weights",
    );
  return "float32";
}

/** Nothing where there is no adapter, so that such runs keep their ids. */
async function identifyAdapter({ adapter }: Checkpoint): Promise<Pick<Identity["model"], "adapter">> {
  if (!adapter) return {};
  return { adapter: { config: { ...adapter.config }, weights_sha256: await hashFile(adapter.file) } };
}

/** Windows that lie apart would leave out what is between them. */
function limitStride(stride: number, maxLength: number): number {
  if (stride <= maxLength) return stride;
  throw new SluiceError("usage", "--stride is longer than the window: the tokens between would be in none", {
    found: `--stride ${stride}`,
    expected: `at most ${maxLength} (--max-seq-length)`,
  });
}

/** Learned positions bound the input; rotary ones only make it unlike what the model was trained on. */
function limitLength(flag: string, maxLength: number, { shape, path }: Checkpoint): number {
  if (!shape.positionsAreLearned || maxLength <= shape.maxPositions) return maxLength;
  if (flag === "--max-seq-length" && maxLength === 2048) return shape.maxPositions; // The default means "as long as the model takes".
  throw new SluiceError("usage", `the model at ${path} has ${shape.maxPositions} learned positions`, {
    found: `${flag} ${maxLength}`,
    expected: `at most ${shape.maxPositions}`,
  });
}

function specialIds(tokenizer: Tokenizer | null, checkpoint: Checkpoint) {
  const named = (value: unknown): number[] =>
    (Array.isArray(value) ? value : [value]).filter(
      (id): id is number =>
        Number.isInteger(id) && Number(id) >= 0 && Number(id) < checkpoint.shape.vocabulary,
    );
  const bosId = tokenizer?.bosId ?? named(checkpoint.config.bos_token_id)[0] ?? null;
  const eosIds = [...new Set([...(tokenizer?.eosIds ?? []), ...named(checkpoint.config.eos_token_id)])].sort(
    (a, b) => a - b,
  );
  const all = new Set([...(tokenizer?.specialIds ?? []), ...eosIds, ...(bosId === null ? [] : [bosId])]);
  return { specialIds: [...all].sort((a, b) => a - b), bosId, eosIds };
}

/** Before the dataset is read and the run created; that it is a plug-in shows when it is loaded. */
async function refuseMissingPlugin(file: string): Promise<void> {
  if ((await stat(file).catch(() => null))?.isFile()) return;
  throw new SluiceError("config", `there is no PJRT plug-in at ${file}`, {
    expected: "a shared library with the PJRT C API, such as libtpu.so",
    fix: "`sluice plugins` lists those there are, and how to get one.",
  });
}
