// `--like RUN`: the same samples, rows and positions as an existing run, of another model, other layers or hooks. What decides
// them is compared before anything starts, and every unit's tokens and rows with that run's commit before it is computed, so
// that row i of a shard here is row i of the shard of that name there.

import { crc32c } from "@node-rs/crc32";
import { formatCrc } from "../base/crc.js";
import { SluiceError } from "../base/errors.js";
import { plural } from "../base/plural.js";
import type { UnitSamples } from "../data/samples.js";
import { type Unit, unitName } from "../plan/unit.js";
import type { IndexTensor } from "../shard/format.js";
import type { Store } from "../store/store.js";
import { decodeRunFile, findDifferences, type Identity, type RunFile } from "./identity.js";
import { CommitLog } from "./log.js";

/** Which row is whose; the token of each follows from its place. */
const ROW_INDEX = ["sample_offsets", "sample_ids", "sample_parts", "positions"];

/** An existing run that a new one is to be like. */
export class LikeRun {
  readonly run: RunFile;
  readonly #where: string;
  readonly #log: CommitLog;

  private constructor(store: Store, run: RunFile, log: CommitLog) {
    this.run = run;
    this.#where = store.uri;
    this.#log = log;
  }

  /**
   * Opens the run, which must be complete: a unit that has no commit there cannot be compared, and waiting for it could be for ever.
   * @throws SluiceError `config` where there is none, or it is not complete.
   */
  static async open(store: Store): Promise<LikeRun> {
    if ((await store.head("run.json")) === null)
      throw new SluiceError("config", `there is no run at ${store.uri}`, {
        found: `--like ${store.uri}`,
        expected: "a folder with run.json",
      });
    const bytes = await store.read("run.json");
    const run = decodeRunFile(bytes, store.uri);
    const log = new CommitLog(store, run, bytes);
    await log.refresh();
    const units = log.unitTotal;
    if (log.committed < units)
      throw new SluiceError(
        "config",
        `the run at ${store.uri} is not complete: --like compares with its commits`,
        {
          found: `${log.committed} of ${plural(units, "shard")}`,
          fix: "Let it finish first.",
        },
      );
    return new LikeRun(store, run, log);
  }

  /**
   * Refuses settings that would give other samples or rows.
   * @throws SluiceError `config` naming each with both values.
   */
  refuseSettings(
    identity: Omit<Identity, "samples_per_shard" | "shard_bytes">,
    samplesPerShard: unknown,
  ): void {
    const theirs = this.run.identity;
    const differences = findDifferences(
      { ...decisive(theirs), samples_per_shard: theirs.samples_per_shard },
      { ...decisive(identity), samples_per_shard: samplesPerShard },
    );
    this.#refuse("settings", differences);
  }

  /** Refuses another dataset; it may have another name. @throws SluiceError `config`. */
  refuseDataset(identity: Pick<Identity, "dataset">): void {
    const compared = ({ dataset: { name: _, ...rest } }: Pick<Identity, "dataset">) => rest;
    this.#refuse("dataset", findDifferences(compared(this.run.identity), compared(identity), "dataset"));
  }

  /**
   * Compares a unit's tokens and rows with those that the run has committed.
   * @throws SluiceError `config` naming the unit where they differ, `data` where the run's commit is damaged.
   */
  async checkUnit(unit: Unit, samples: UnitSamples, index: readonly IndexTensor[]): Promise<void> {
    const theirs = await this.#log.read(unit);
    const differ = (what: string, found: unknown, expected: unknown) =>
      new SluiceError("config", `${what} of ${unitName(unit)} are not those of the run at ${this.#where}`, {
        found,
        expected: String(expected),
        fix: "--like needs models that read the records as the same tokens. Leave it out for a run of its own.",
        values: { stream: unit.stream, unit: unit.index },
      });
    if (!theirs) throw differ("the commits", "none there", "one");
    if (theirs.token_sha256 !== samples.tokenSha256)
      throw differ(
        "the token ids",
        `SHA-256 ${samples.tokenSha256.slice(0, 16)}`,
        theirs.token_sha256.slice(0, 16),
      );
    if (theirs.samples !== samples.count) throw differ("the samples", samples.count, theirs.samples);
    for (const { name, data } of index) {
      const place = theirs.tensors[name];
      if (!place || !ROW_INDEX.includes(name)) continue; // A pkl.gz run has no index.
      const sum = formatCrc(crc32c(data));
      if (sum !== place.crc32c) throw differ(`the ${name}`, `CRC32C ${sum}`, place.crc32c);
    }
  }

  #refuse(what: string, differences: ReturnType<typeof findDifferences>): void {
    if (differences.length === 0) return;
    const lines = differences.map(
      (d) => `${d.field}: that run has ${JSON.stringify(d.run)}, this command ${JSON.stringify(d.here)}`,
    );
    throw new SluiceError(
      "config",
      `this command's ${what} are not those of the run at ${this.#where} (--like):\n  ${lines.slice(0, 8).join("\n  ")}`,
      { values: { differences } },
    );
  }
}

/** What decides samples, rows and positions, besides the records and the tokenizer (whose ids are compared unit by unit). */
function decisive({ tokenizer, dataset, prompt, positions, skip_special, seed }: DecisiveParts) {
  const { template_sha256: _, ...rest } = prompt;
  return {
    bos: tokenizer.bos,
    special_ids: skip_special ? tokenizer.special_ids : null,
    max_samples: dataset.max_samples,
    prompt: rest,
    positions,
    skip_special,
    seed,
  };
}

type DecisiveParts = Pick<
  Identity,
  "tokenizer" | "dataset" | "prompt" | "positions" | "skip_special" | "seed"
>;
