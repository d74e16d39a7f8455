// Opening a run: the first worker creates it, all others compare themselves with it. `run.json` is the decision: what it
// says of the dataset fixes the unit tables, which any worker can make again from the dataset.

import { type Clock, realClock } from "../base/clock.js";
import { SluiceError } from "../base/errors.js";
import { plural } from "../base/plural.js";
import { mapAhead } from "../base/read-ahead.js";
import { hideSecrets } from "../base/redact.js";
import { describeSilence, listenForSilence } from "../base/silence.js";
import { VERSION } from "../base/version.js";
import { refuseMissingColumns } from "../data/check-columns.js";
import type { Dataset } from "../data/dataset.js";
import { type DatasetScan, threadedScan } from "../data/scan.js";
import { decodeUnitTable, encodeUnitTable, hashUnitTable, type UnitTable } from "../data/unit-table.js";
import { estimateRun, guessRecords, type RecordSize, storedBytes } from "../estimate/run-size.js";
import { chooseSamplesPerShard } from "../plan/samples-per-shard.js";
import type { FileHasher } from "../shard/hash.js";
import type { Store } from "../store/store.js";
import { checkSpace, measureRecords, shapeOf } from "./expected-size.js";
import {
  decodeRunFile,
  encodeRunFile,
  findDifferences,
  type Identity,
  type RunFile,
  refuseDifferences,
} from "./identity.js";
import type { Leases } from "./leases.js";
import type { RunPlan } from "./run-plan.js";
import { hashWeights } from "./weights-hash.js";

/** Tables of units that are read at the same time. */
const TABLES_AT_ONCE = 16;
const DEFAULT_SHARD_BYTES = 1_000_000_000;
const SAMPLED_RECORDS = 1000;
/** Between looks whether somebody has created the run, in a folder. */
const POLL_MS = 300;

/** A run, opened: the settings agree, and every stream has its table of units. */
export interface OpenedRun {
  readonly run: RunFile;
  /** `run.json` as read. */
  readonly bytes: Uint8Array;
  readonly tables: readonly UnitTable[];
  readonly isNew: boolean;
  /** Resolves when the weights' hash has been taken and is the run's; await it before the first commit. */
  readonly weights: Promise<void>;
}

/** What opening a run needs. */
export interface OpenRunParts {
  readonly store: Store;
  readonly plan: RunPlan;
  readonly leases: Leases;
  readonly hasher: FileHasher;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
  /** Milliseconds between looks whether somebody has created the run. */
  readonly pollMs?: number;
  readonly scan?: DatasetScan;
  /** Gets something worth a line. */
  readonly onNote: (message: string) => void;
  /** Gets something that looks wrong. */
  readonly onWarning: (message: string) => void;
  /** Gets how far a pass over many bytes is; at its end, all of them. */
  readonly onReading: (what: string, bytes: number, total: number) => void;
}

/**
 * Opens the run, or creates it where there is none; while another worker creates it, waits.
 * @throws SluiceError `config` where the run was started with another identity, or the dataset is not the one it was created from.
 */
export async function openRun(parts: OpenRunParts): Promise<OpenedRun> {
  const { store, leases, signal, clock = realClock, pollMs = POLL_MS } = parts;
  for (;;) {
    signal.throwIfAborted();
    if ((await store.head("run.json")) !== null) return joinRun(parts);
    await leases.refresh();
    const lease = await leases.claim("create");
    if (!lease) {
      await clock.sleep(pollMs, signal);
      continue;
    }
    try {
      if ((await store.head("run.json")) === null) return await createRun(parts);
    } finally {
      await leases.release(lease);
    }
  }
}

async function createRun(parts: OpenRunParts): Promise<OpenedRun> {
  const {
    store,
    plan,
    hasher,
    signal,
    onNote,
    onWarning,
    onReading,
    clock = realClock,
    scan = threadedScan,
  } = parts;
  const { options, dataset } = plan;
  refuseShortStreams(dataset);
  const weights = hashWeights(plan.checkpoint.weights.files, hasher, signal, (bytes, total) =>
    onReading("hashing the weights", bytes, total),
  );
  weights.catch(() => {}); // Raised below.
  onNote("looking at the dataset");
  const silence = listenForSilence(clock, (seconds) => onWarning(describeSilence(dataset.path, seconds)));
  const looked = await scan.sample(dataset, SAMPLED_RECORDS, signal).finally(silence.end);
  await refuseMissingColumns(dataset, looked, plan.rules);
  const sizes = await measureRecords(plan, looked, onWarning, signal);
  const datasetBytes = dataset.streams.reduce((sum, stream) => sum + stream.bytes, 0);
  const guessed = guessRecords(sizes, datasetBytes, options.maxSamples);
  const perShard = choosePerShard(parts, sizes, guessed);
  const expect = (records: number) =>
    estimateRun(sizes, shapeOf(plan, perShard), records, dataset.streams.length);
  const guess = expect(guessed);
  await checkSpace(store, guess, { committed: 0, units: guess.shards }, options.yes);
  const tables = await readDataset(parts, "reading the dataset once", perShard);
  const records = tables.reduce((sum, table) => sum + table.records, 0);
  if (records === 0)
    throw new SluiceError("config", `the dataset ${dataset.path} has no records`, {
      expected: "at least one line that is not blank",
    });
  const identity: Identity = {
    ...withDataset(plan.identity, tables),
    model: { ...plan.identity.model, weights_sha256: await weights },
    samples_per_shard: perShard,
    shard_bytes: options.samplesPerShard === undefined ? (options.shardBytes ?? DEFAULT_SHARD_BYTES) : null,
  };
  plan.like?.refuseDataset(identity);
  const record = {
    created: clock.date().toISOString(),
    model: plan.checkpoint.family,
    sluice: VERSION,
    node: process.version,
    command: options.command.map(hideSecrets),
    expected: { ...expect(records), shards: tables.reduce((sum, table) => sum + table.units.length, 0) },
  };
  const bytes = encodeRunFile(identity, record);
  const created = await store.create("run.json", bytes);
  if (created === "exists") return joinRun(parts, { tables });
  return { ...(await joinRun(parts, { tables, bytes })), isNew: true };
}

/** A streams folder that was copied in part would be taken for the whole dataset. Once there is a run, its units tell. */
function refuseShortStreams({ resized = [] }: Dataset): void {
  const [first] = resized;
  if (!first) return;
  throw new SluiceError("config", `${first.file.path} is not what sluice streams wrote`, {
    found: `${first.file.bytes} bytes`,
    expected: `the ${first.expected} bytes of streams.json`,
    fix: "Copy the folder again, or make it again with sluice streams.",
    values: { files: resized.map(({ file }) => file.path) },
  });
}

/** @param known the tables, where this worker has just read the dataset, and run.json, where it has just written it. */
async function joinRun(
  parts: OpenRunParts,
  known: { readonly tables?: readonly UnitTable[]; readonly bytes?: Uint8Array } = {},
): Promise<OpenedRun> {
  const { store, plan, hasher, signal } = parts;
  const bytes = known.bytes ?? (await store.read("run.json"));
  const run = decodeRunFile(bytes, store.uri);
  compareSettings(run, plan, store.uri);
  const [tables] = await Promise.all([openTables(parts, run, known.tables), keepModelFiles(store, plan)]);
  const weights = hashWeights(plan.checkpoint.weights.files, hasher, signal).then((sha256) =>
    refuseDifferences(
      findDifferences(run.identity.model.weights_sha256, sha256, "model.weights_sha256"),
      store.uri,
    ),
  );
  weights.catch(() => {}); // Raised at the first commit.
  return { run, bytes, tables, isNew: false, weights };
}

/** Compares all that is known before any byte of dataset or weights is read. */
function compareSettings(run: RunFile, plan: RunPlan, where: string): void {
  const { identity } = run;
  const { options } = plan;
  const here: Identity = {
    ...plan.identity,
    model: { ...plan.identity.model, weights_sha256: identity.model.weights_sha256 },
    dataset: {
      ...plan.identity.dataset,
      records: identity.dataset.records,
      // Sizes are compared once the units are known, so that an edit can be named.
      streams:
        plan.dataset.streams.length === identity.dataset.streams.length
          ? identity.dataset.streams
          : plan.identity.dataset.streams,
    },
    samples_per_shard: options.samplesPerShard ?? identity.samples_per_shard,
    shard_bytes:
      options.samplesPerShard === undefined
        ? (options.shardBytes ?? identity.shard_bytes)
        : identity.shard_bytes,
  };
  refuseDifferences(findDifferences(identity, here), where);
}

/** The tables of all streams, from the run or, where they are missing there, from the dataset. */
async function openTables(
  parts: OpenRunParts,
  run: RunFile,
  scanned?: readonly UnitTable[],
): Promise<readonly UnitTable[]> {
  const { store } = parts;
  const { streams } = run.identity.dataset;
  const names = new Set<string>();
  if (!scanned) for await (const { name } of store.list("units/")) names.add(name);
  const found: (UnitTable | null)[] = [];
  const readTable = async ([s, stream]: [number, (typeof streams)[number]]) => {
    const name = `units/tpu_${s}.bin`;
    const table = names.has(name) ? decodeUnitTable(await store.read(name), `${store.uri}/${name}`) : null;
    if (table && hashUnitTable(table) !== stream.sha256) {
      throw new SluiceError("data", `${store.uri}/${name} is not the table of this run`, {
        fix: "Remove it: it is made again from the dataset.",
      });
    }
    return table;
  };
  for await (const table of mapAhead(streams.entries(), TABLES_AT_ONCE, readTable, parts.signal))
    found.push(table);
  if (found.some((table) => table === null)) {
    const perShard = run.identity.samples_per_shard;
    const tables = scanned ?? (await readDataset(parts, "reading the dataset again", perShard));
    refuseOtherDataset(run, tables, parts);
    const missing = [...tables.entries()].filter(([s]) => !found[s]);
    const createTable = async ([s, table]: [number, UnitTable]) => {
      await store.create(`units/tpu_${s}.bin`, encodeUnitTable(table));
      found[s] = table;
    };
    for await (const _ of mapAhead(missing, TABLES_AT_ONCE, createTable, parts.signal));
  }
  const tables = found.filter((table) => table !== null);
  await refuseResized(parts, run, tables);
  return tables;
}

/** The one pass over the dataset. */
async function readDataset(
  { plan, signal, scan = threadedScan, onReading, onWarning, clock = realClock }: OpenRunParts,
  what: string,
  samplesPerShard: number,
): Promise<UnitTable[]> {
  const { dataset, options } = plan;
  const total = dataset.streams.reduce((sum, stream) => sum + stream.bytes, 0);
  const silence = listenForSilence(clock, (seconds) => onWarning(describeSilence(dataset.path, seconds)));
  const tell = (bytes: number) => {
    silence.heard();
    onReading(what, bytes, total);
  };
  tell(0);
  const tables = await scan
    .scan(dataset, samplesPerShard, options.maxSamples, tell, signal)
    .finally(silence.end);
  tell(total); // --max-samples may have ended it before.
  return tables;
}

/** A dataset whose tables are not the run's has changed since the run was created. */
function refuseOtherDataset(run: RunFile, tables: readonly UnitTable[], { plan, store }: OpenRunParts): void {
  const here = withDataset(plan.identity, tables).dataset;
  refuseDifferences(findDifferences(run.identity.dataset, here, "dataset"), store.uri);
}

/** A stream of another size than at the run's creation was edited: names the first unit that differs. */
async function refuseResized(
  { plan, store, signal, scan = threadedScan }: OpenRunParts,
  run: RunFile,
  tables: readonly UnitTable[],
): Promise<void> {
  for (const [s, stream] of plan.dataset.streams.entries()) {
    const wanted = run.identity.dataset.streams[s];
    const table = tables[s];
    if (!wanted || !table || wanted.bytes === stream.bytes) continue;
    const changed = { ...plan.dataset, streams: [stream] };
    const [now] = await scan.scan(changed, table.samplesPerShard, undefined, undefined, signal);
    const unit = table.units.findIndex((u, i) => now?.units[i]?.sha256 !== u.sha256);
    const from = unit * table.samplesPerShard;
    const which =
      unit < 0
        ? "records were appended"
        : `unit ${unit} (records ${from} to ${from + (table.units[unit]?.records ?? 0) - 1}) differs`;
    throw new SluiceError(
      "config",
      `the dataset was edited since the run at ${store.uri} was created: stream ${s}, ${which}`,
      {
        found: `${stream.bytes} bytes in ${plan.dataset.path}`,
        expected: `${wanted.bytes} bytes`,
        fix: "Restore the dataset, or start a new run with another --output.",
        values: { stream: s, unit },
      },
    );
  }
}

function withDataset<T extends Pick<Identity, "dataset">>(identity: T, tables: readonly UnitTable[]): T {
  const streams = identity.dataset.streams.map(({ bytes }, s) => {
    const table = tables[s];
    if (!table) throw new SluiceError("bug", `no table of stream ${s}`);
    return { records: table.records, bytes, sha256: hashUnitTable(table) };
  });
  const records = streams.reduce((sum, stream) => sum + stream.records, 0);
  return { ...identity, dataset: { ...identity.dataset, records, streams } };
}

/** Samples per shard, so that a shard is about as large as was asked for. */
function choosePerShard(
  { plan, onNote }: OpenRunParts,
  sizes: readonly RecordSize[],
  records: number,
): number {
  if (plan.options.samplesPerShard !== undefined) return plan.options.samplesPerShard;
  const shape = shapeOf(plan, 1);
  const estimates = sizes.map((r) => ({
    weight: r.weight,
    tokens: r.tokens,
    storedBytes: storedBytes(r, shape),
  }));
  const wanted = plan.options.shardBytes ?? DEFAULT_SHARD_BYTES;
  const { samples, boundBy } = chooseSamplesPerShard(estimates, wanted);
  if (boundBy === "tokens" && records > samples)
    onNote(
      `shards hold ${plural(samples, "record")}: smaller than --shard-size, so that a lost shard costs at most 131,072 tokens`,
    );
  return samples;
}

/** A copy of what is needed to decode the run in ten years. */
async function keepModelFiles(store: Store, { checkpoint, tokenizer }: RunPlan): Promise<void> {
  const files = {
    "config.json": `${JSON.stringify(checkpoint.config, null, 2)}\n`,
    "tokenizer.json": tokenizer?.files.json,
    "tokenizer_config.json": tokenizer?.files.config,
    "chat_template.jinja": tokenizer?.chatTemplate ?? undefined,
  };
  const keep = async ([name, text]: [string, string | undefined]) => {
    if (text === undefined || (await store.head(`model/${name}`)) !== null) return;
    await store.create(`model/${name}`, Buffer.from(text));
  };
  await Promise.all(Object.entries(files).map(keep));
}
