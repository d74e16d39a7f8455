// `sluice inspect`: what is inside a run, or one of its shards.

import { stat } from "node:fs/promises";
import { resolve } from "node:path";
import type { Command } from "commander";
import { SluiceError } from "../base/errors.js";
import { formatBytes } from "../base/format-bytes.js";
import { plural } from "../base/plural.js";
import { printable } from "../base/printable.js";
import { TOKEN_FLAGS } from "../data/samples.js";
import { type Hook, tapOf } from "../model/hooks.js";
import type { WantedSample } from "../read/find-samples.js";
import { type InspectedSample, type Inspection, inspectCommits } from "../read/inspect.js";
import { openRunForReading, type ReadableRun } from "../read/open-run.js";
import type { Commit } from "../run/commit.js";
import { describeNonFinite } from "../run/non-finite.js";
import { openStore } from "./open-store.js";
import { formatTable } from "./render.js";
import { chooseStoredTaps } from "./stored-taps.js";
import { parseWhole } from "./values.js";

const SHARD = /(?:^|\/)tpu_(\d+)\/shard_(\d+)\.[a-z.]+$/;
/** Columns of norms where none are named, and characters shown of a sample and of a token. */
const COLUMNS = 6;
/** The hooks shown of a run that has more than fit. */
const USUAL: readonly Hook[] = ["attn_out", "mlp_out", "resid_post"];
const TEXT_CHARACTERS = 400;
const TOKEN_CHARACTERS = 20;

/** The flags as commander gives them. */
interface InspectFlags {
  readonly samples?: string;
  readonly sample?: string;
  readonly record?: string;
  readonly rows?: string;
  readonly hooks?: string;
  readonly layers?: string;
  readonly json?: boolean;
}

/** Adds the command. */
export function registerInspect(program: Command): void {
  program
    .command("inspect <run-or-shard>")
    .description("tensors, samples with their text, statistics, NaN and Inf")
    .option("--samples <n>", "how many samples to show (default: 2)")
    .option("--sample <id>", "the sample with this id in the dataset")
    .option("--record <n>", "the samples of this record, counted from 0")
    .option("--rows <n>", "rows of a sample at most, the first and the last ones (default: 12)")
    .option("--hooks <list>", "whose norms to show beside the text, as extract takes them (default: a few)")
    .option("--layers <list>", "of which layers (default: a few)")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nExample:\n  sluice inspect ./run\n  sluice inspect ./run/tpu_0/shard_0001.safetensors\n  sluice inspect ./run --record 17 --hooks resid_post --layers 0,-1",
    )
    .action(async (target: string, flags: InspectFlags) => {
      const isFile = target !== "" && (await stat(target).catch(() => null))?.isFile() === true;
      const place = isFile ? resolve(target) : target; // So that `shard_0001.safetensors` in its own folder is one.
      const shard = SHARD.exec(place);
      if (!shard && isFile) {
        throw new SluiceError("config", `${target} is no shard of a run`, {
          expected: "RUN, or RUN/tpu_0/shard_0001.safetensors",
          fix: "A shard is read with its run: name it where it lies.",
        });
      }
      const readable = await openRunForReading(openStore(shard ? runOf(place, shard.index) : target));
      const { log } = readable;
      const commits = shard ? readOne(readable, Number(shard[1]), Number(shard[2]) - 1) : log.commits();
      if (!shard && log.committed === 0)
        throw new SluiceError("data", `the run at ${target} has no commit yet`, {
          fix: "Let extract make one.",
        });
      const inspection = await inspectCommits(readable, commits, {
        samples: parseWhole("--samples", flags.samples ?? "2"),
        wanted: wantedOf(flags, readable.run.identity.dataset.records),
        taps: chooseColumns(readable, flags),
        rows: parseWhole("--rows", flags.rows ?? "12", 1),
      });
      process.stdout.write(
        flags.json ? `${JSON.stringify(inspection)}\n` : `${printable(describe(inspection))}\n`,
      );
    });
}

/** The run that a shard's path or address lies in. @param at where `tpu_N/` begins, or the slash before it. */
function runOf(target: string, at: number): string {
  if (at === 0) return target.startsWith("/") ? "/" : ".";
  return target.slice(0, at);
}

async function* readOne({ log, store }: ReadableRun, stream: number, index: number): AsyncGenerator<Commit> {
  const units = log.unitCounts[stream];
  if (units === undefined || index < 0 || index >= units)
    throw new SluiceError("usage", `the run at ${store.uri} has no such shard`, {
      found: `shard ${index + 1} of stream ${stream}`,
      expected:
        units === undefined
          ? `a stream from 0 to ${log.unitCounts.length - 1}`
          : `a shard from 1 to ${units} of stream ${stream}`,
    });
  const commit = await log.read(log.unitAt(stream, index));
  if (commit) yield commit;
  else
    throw new SluiceError("data", `shard ${index + 1} of stream ${stream} has no commit in ${store.uri}`, {
      fix: "Let extract make one.",
    });
}

/** @param records of the dataset. */
function wantedOf({ record, sample }: InspectFlags, records: number): WantedSample | undefined {
  if (record !== undefined && sample !== undefined)
    throw new SluiceError("usage", "--record and --sample exclude each other", { fix: "Give one of them." });
  if (record !== undefined) return { record: parseWhole("--record", record, 0, records - 1) };
  return sample === undefined ? undefined : { id: sample };
}

/** The tensors whose norms stand beside the text: those named; else of each hook a few layers, the first and last among them. */
function chooseColumns({ run }: ReadableRun, { hooks, layers }: InspectFlags): string[] {
  const taps = run.identity.taps.map(tapOf);
  if (hooks !== undefined || layers !== undefined)
    return chooseStoredTaps(hooks, layers, run.identity.taps).map(({ name }) => name);
  const all = [...new Set(taps.map(({ hook }) => hook))];
  const wanted = all.length > COLUMNS ? all.filter((hook) => USUAL.includes(hook)) : all;
  const names = wanted.length > 0 ? wanted : all.slice(0, COLUMNS);
  const each = Math.max(1, Math.floor(COLUMNS / names.length));
  const chosen = names.flatMap((name) => {
    const same = taps.filter(({ hook }) => hook === name);
    if (same.length <= each) return same;
    const at = (n: number) =>
      each === 1 ? same.length - 1 : Math.round((n * (same.length - 1)) / (each - 1));
    return Array.from({ length: each }, (_, n) => same[at(n)]).filter((tap) => tap !== undefined);
  });
  return chosen.map(({ name }) => name);
}

const short = (n: number) => (n === 0 ? "0" : n.toPrecision(4));

function describe(i: Inspection): string {
  const statistics = Object.entries(i.statistics).map(([name, s]) => [
    name,
    s.rows,
    short(s.mean),
    short(Math.sqrt(s.variance)),
    short(s.mean_norm),
    short(s.max_abs),
    s.nan,
    s.inf,
  ]);
  const nonFinite = Object.entries(i.non_finite).map(
    ([name, entry]) => `  ${name}: ${describeNonFinite(entry)}`,
  );
  const tensors = formatTable(
    ["tensor (first shard)", "dtype", "shape"],
    i.tensors.map((t) => [t.name, t.dtype, `[${t.shape.join(", ")}]`]),
  );
  return [
    `run ${i.run.slice(0, 12)}: ${plural(i.shards, "shard")}, ${plural(i.samples, "sample")}, ${plural(i.rows, "row")}, ${plural(i.tokens, "token")}, ${formatBytes(i.bytes)}`,
    ...(i.tensors.length > 0
      ? ["", tensors]
      : [
          "",
          "A pkl.gz shard is keyed by layer and has no index: its samples cannot be shown, its statistics can.",
        ]),
    "",
    formatTable(["statistics", "rows", "mean", "std", "mean norm", "max |x|", "NaN", "Inf"], statistics),
    ...(nonFinite.length > 0 ? ["", "NaN and infinite values", ...nonFinite] : []),
    ...i.first.flatMap((sample) => ["", describeSample(sample)]),
  ].join("\n");
}

/** A sample's text, and a table of its rows: each token beside the norms of its row. */
function describeSample(sample: InspectedSample): string {
  const part = sample.part > 0 ? `, part ${sample.part}` : "";
  const text = sample.text?.slice(0, TEXT_CHARACTERS).replace(/^/gm, "  ");
  const dots = (sample.text?.length ?? 0) > TEXT_CHARACTERS ? " ..." : "";
  const taps = Object.keys(sample.rows[0]?.norms ?? {}).map(tapOf);
  const names = taps.map(({ hook, layer }) => (layer === null ? hook : `${hook}.${layer}`));
  const rows = sample.rows.flatMap((row, n) => {
    const gap = row.row - (sample.rows[n - 1]?.row ?? row.row) - 1;
    const cells = [
      row.position === null ? "all" : String(row.position),
      row.token_id === null ? "" : `${row.token_id}`,
      row.token === null ? "" : JSON.stringify(row.token.slice(0, TOKEN_CHARACTERS)),
      describeFlags(row.flags),
      ...taps.map(({ name }) => {
        const norm = row.norms[name];
        return norm === null || norm === undefined ? "not finite" : short(norm);
      }),
    ];
    return gap > 0 ? [["...", "", plural(gap, "row")], cells] : [cells];
  });
  const table = formatTable(["place", "id", "token", "flags", ...names], rows).replace(/^/gm, "  ");
  return [
    `record ${sample.record}${part}: ${plural(sample.tokens, "token")}, ${plural(sample.rows_stored, "row")}, ${JSON.stringify(sample.info)}`,
    ...(text === undefined ? [] : [`${text}${dots}`]),
    ...(rows.length > 0 ? ["  norm of each row:", table] : []),
  ].join("\n");
}

function describeFlags(flags: number): string {
  return Object.entries(TOKEN_FLAGS)
    .filter(([, bit]) => (flags & bit) !== 0)
    .map(([name]) => name)
    .join(" ");
}
