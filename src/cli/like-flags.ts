// What `--like RUN` takes from RUN, as the flags that would ask for it: `extract` then resolves them like any others. A flag
// that is given besides must say the same.

import { SluiceError } from "../base/errors.js";
import { plural } from "../base/plural.js";
import type { Identity } from "../run/identity.js";
import { LikeRun } from "../run/like.js";
import type { Flags } from "./extract-options.js";
import { openStore } from "./open-store.js";
import { parseNames } from "./values.js";

/**
 * The flags with those that follow from `--like`; as they are where it is not given.
 * @throws SluiceError `config` where RUN is no complete run, or a flag contradicts it.
 */
export async function addLikeFlags(flags: Flags): Promise<Flags> {
  if (typeof flags.like !== "string") return flags;
  const { run } = await LikeRun.open(openStore(flags.like));
  const taken = flagsOf(run.identity);
  for (const [name, value] of Object.entries(taken)) {
    const given = flags[name];
    if (given === undefined || given === false || normalise(name, given) === normalise(name, value)) continue;
    throw contradiction(flags.like, name, given, value);
  }
  if (flags.shardSize !== undefined)
    throw contradiction(
      flags.like,
      "shardSize",
      flags.shardSize,
      `${plural(Number(taken.samplesPerShard), "sample")} a shard`,
    );
  return {
    ...flags,
    ...Object.fromEntries(Object.entries(taken).filter(([, value]) => value !== undefined)),
  };
}

/** By name as commander has it; undefined where the run has the default that no value stands for. */
function flagsOf(identity: Identity): Record<string, string | boolean | undefined> {
  const { prompt, tokenizer, dataset } = identity;
  const packed = prompt.context_size !== null;
  const number = (value: number | null) => (value === null ? undefined : String(value));
  return {
    prompt: prompt.kind,
    column: prompt.column,
    keepColumns: prompt.keep_columns.length === 0 ? undefined : prompt.keep_columns.join(","),
    augment: String(prompt.augment),
    bos: tokenizer.bos,
    maxSeqLength: packed ? undefined : String(prompt.max_seq_length),
    tooLong: packed ? undefined : prompt.too_long,
    stride: number(prompt.stride),
    maxParts: number(prompt.max_parts),
    contextSize: number(prompt.context_size),
    attendAcross: prompt.attend_across || undefined,
    dropShort: prompt.drop_short || undefined,
    maxSamples: number(dataset.max_samples),
    positions: identity.positions,
    skipSpecial: identity.skip_special || undefined,
    seed: String(identity.seed),
    maxSkipped: identity.max_skipped === "half" ? undefined : String(identity.max_skipped),
    samplesPerShard: String(identity.samples_per_shard),
  };
}

function normalise(name: string, value: string | boolean | undefined): string {
  if (typeof value !== "string") return String(value);
  if (name === "keepColumns") return parseNames("--keep-columns", value).join(",");
  const text = value.trim();
  return /^\d+$/.test(text) ? String(Number(text)) : text;
}

function contradiction(run: string, name: string, given: unknown, value: unknown): SluiceError {
  const flag = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  const show = (what: unknown) => (what === undefined ? "none" : what === true ? "" : String(what));
  return new SluiceError("config", `${flag} contradicts --like ${run}`, {
    found: `${flag} ${show(given)}`.trim(),
    expected: `that run's: ${show(value) || "given"}`,
    fix: `Leave out ${flag}: it is taken from that run.`,
  });
}
