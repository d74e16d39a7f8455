// What a worker has done so far: the numbers behind its heartbeat, its progress bar and the guess whether the open unit
// fits into the grace. Bookkeeping only.

import { type Clock, realClock } from "../base/clock.js";
import { plural } from "../base/plural.js";
import type { UnitSamples } from "../data/samples.js";
import type { Commit } from "./commit.js";
import { describeNonFinite } from "./non-finite.js";

/** Tensors named in one warning: what is not finite in one layer is not finite in all after it. */
const NAMED_TENSORS = 3;

/** A worker's counters since its start. */
export class Progress {
  /** Committed by this worker. */
  shards = 0;
  samples = 0;
  tokens = 0;
  tokensComputed = 0;
  bytes = 0;
  skipped = 0;
  /** NaN and infinite values, and float16 overflows, in what was committed. */
  nonFinite = 0;
  overflow = 0;
  /** Computed since the start, also of units not yet committed. */
  tokensDone = 0;
  isComplete = false;
  isWaiting = false;
  /** The unit that is being computed. */
  unit: string | null = null;
  /** Streams with a commit of this worker's since they were last asked for. */
  #streams = new Set<number>();
  readonly #warn: (message: string) => void;
  readonly #clock: Clock;
  readonly #started: number;
  #unitTokens = 0;
  #unitDone = 0;
  #unitStarted = 0;
  /** Tokens a second of the last finished unit. */
  #rate = 0;

  constructor(warn: (message: string) => void = () => {}, clock: Clock = realClock) {
    this.#warn = warn;
    this.#clock = clock;
    this.#started = clock.now();
  }

  /** Seconds since the worker started. */
  get seconds(): number {
    return (this.#clock.now() - this.#started) / 1000;
  }

  /** Tells the user of something that does not end the worker. */
  warn(message: string): void {
    this.#warn(message);
  }

  /** The streams that this worker has committed to since the last call. */
  takeStreams(): ReadonlySet<number> {
    const taken = this.#streams;
    this.#streams = new Set();
    return taken;
  }

  startUnit(name: string, samples: UnitSamples): void {
    this.unit = name;
    this.#unitTokens = samples.inputIds.length;
    this.#unitDone = 0;
    this.#unitStarted = this.#clock.now();
  }

  /** @param tokens tokens of the open unit computed so far. */
  advance(tokens: number): void {
    this.tokensDone += tokens - this.#unitDone;
    this.#unitDone = tokens;
  }

  finishUnit(seconds: number): void {
    this.#rate = seconds > 0 ? this.#unitTokens / seconds : this.#rate;
    this.unit = null;
  }

  dropUnit(): void {
    this.tokensDone -= this.#unitDone;
    this.unit = null;
  }

  /** A guess from the rate of this unit, or of the last one; infinite where neither is known. */
  secondsLeftOfUnit(): number {
    const elapsed = (this.#clock.now() - this.#unitStarted) / 1000;
    const rate = this.#unitDone > 0 ? this.#unitDone / elapsed : this.#rate;
    return rate > 0 ? (this.#unitTokens - this.#unitDone) / rate : Number.POSITIVE_INFINITY;
  }

  /** @param commit null where somebody else committed the unit first. */
  countUnit(samples: UnitSamples, commit: Commit | null): void {
    if (!commit) return;
    this.shards += 1;
    this.#streams.add(commit.stream);
    this.samples += samples.count;
    this.tokens += commit.tokens;
    this.tokensComputed += commit.tokens_computed;
    this.bytes += commit.size;
    this.skipped += commit.skipped.length;
    for (const [name, s] of Object.entries(commit.statistics)) {
      this.nonFinite += s.nan + s.inf;
      this.overflow += s.overflow;
      const where = `in ${name} of tpu_${commit.stream}/${commit.data}`;
      if (s.overflow > 0)
        this.#warn(
          `${s.overflow} values ${where} do not fit float16 and became infinite; use --dtype bfloat16`,
        );
    }
    this.#warnOfNonFinite(commit);
  }

  /** One warning a shard, for the tensors that have more than what float16 made of them. */
  #warnOfNonFinite({ statistics, non_finite: samples = {}, stream, data }: Commit): void {
    const damaged = Object.entries(statistics).filter(([, s]) => s.nan + s.inf > s.overflow);
    if (damaged.length === 0) return;
    const lines = damaged.slice(0, NAMED_TENSORS).map(([name, s]) => {
      const where = samples[name] ? `; ${describeNonFinite(samples[name])}` : "";
      return `\n  ${name}: ${s.nan} NaN, ${s.inf} infinite${where}`;
    });
    if (damaged.length > lines.length)
      lines.push(`\n  and ${plural(damaged.length - lines.length, "more tensor")}`);
    this.#warn(`values that are not finite in tpu_${stream}/${data}:${lines.join("")}`);
  }
}
