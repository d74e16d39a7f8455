// What `extract` tells while it works, on stderr: first the passes over dataset and weights that a new run begins with, then
// the worker's progress.

import { formatBytes } from "../base/format-bytes.js";
import { plural } from "../base/plural.js";
import { printable } from "../base/printable.js";
import { hideSecrets } from "../base/redact.js";
import type { ExtractReporter } from "../run/extract.js";
import type { OpenedRun } from "../run/open-run.js";
import type { Progress } from "../run/progress.js";
import { formatBar, formatCount, formatSeconds, ProgressLine, paint } from "./render.js";

/** A pass over fewer bytes is over before anybody has read of it. */
const WORTH_A_NOTE = 100_000_000;

/** Notes, warnings and progress of one worker. */
export class TerminalReporter implements ExtractReporter {
  readonly #stream: NodeJS.WriteStream;
  #line: ProgressLine | undefined;
  /** Passes that come before the loop, by what they do. */
  readonly #passes = new Map<string, Pass>();

  constructor(stream: NodeJS.WriteStream = process.stderr) {
    this.#stream = stream;
  }

  note(message: string): void {
    this.#print(`sluice: ${printable(hideSecrets(message))}`);
  }

  warn(message: string): void {
    this.#print(`sluice: ${paint("warning", "yellow", this.#stream)}: ${printable(hideSecrets(message))}`);
  }

  reading(what: string, bytes: number, total: number): void {
    const pass = this.#passes.get(what) ?? { what, bytes: 0, total, started: performance.now() };
    const ends = pass.bytes < total && bytes >= total && total >= WORTH_A_NOTE;
    pass.bytes = bytes;
    this.#passes.set(what, pass);
    if (ends) this.note(`${what}: ${formatBytes(total)} in ${formatSeconds(secondsSince(pass.started))}`);
    this.#line ??= new ProgressLine(() => {
      const open = [...this.#passes.values()].find((p) => p.bytes < p.total);
      return open ? describePass(open) : "";
    }, this.#stream);
  }

  started(progress: Progress, opened: OpenedRun, committed: () => number): void {
    this.stop();
    const total = opened.tables.reduce((sum, table) => sum + table.units.length, 0);
    const atStart = committed();
    const what = opened.isNew ? "created" : atStart > 0 ? "resuming" : "joined";
    this.note(
      `${what} run ${opened.run.run.slice(0, 12)}: ${atStart} of ${plural(total, "shard")} committed`,
    );
    this.#line = new ProgressLine(
      () => describeProgress(progress, committed(), atStart, total),
      this.#stream,
    );
  }

  stop(): void {
    this.#line?.stop();
    this.#line = undefined;
  }

  #print(message: string): void {
    if (this.#line) this.#line.print(message);
    else this.#stream.write(`${message}\n`);
  }
}

/** A pass over many bytes. */
interface Pass {
  readonly what: string;
  bytes: number;
  readonly total: number;
  readonly started: number;
}

function secondsSince(started: number): number {
  return (performance.now() - started) / 1000;
}

function describePass({ what, bytes, total, started }: Pass): string {
  const seconds = secondsSince(started);
  const left = bytes > 0 ? ((total - bytes) * seconds) / bytes : Number.POSITIVE_INFINITY;
  return [
    `${formatBar(bytes / total)} ${what}: ${formatBytes(bytes)} of ${formatBytes(total)}`,
    `${(bytes / 1e6 / seconds).toFixed(0)} MB/s`,
    `left ${formatSeconds(left)}`,
  ].join("  ");
}

function describeProgress(p: Progress, committed: number, atStart: number, total: number): string {
  const { seconds } = p;
  const left =
    committed > atStart ? ((total - committed) * seconds) / (committed - atStart) : Number.POSITIVE_INFINITY;
  const padding = p.tokensComputed === 0 ? 0 : 1 - p.tokens / p.tokensComputed;
  const doing = p.unit ?? (p.isWaiting ? "waiting for other workers" : "");
  return [
    `${formatBar(total === 0 ? 1 : committed / total)} shard ${committed}/${total}`,
    `${plural(p.samples, "sample")}`,
    `${formatCount(p.tokensDone / seconds)} tokens/s`,
    `${(p.bytes / 1e6 / seconds).toFixed(1)} MB/s`,
    `padding ${(padding * 100).toFixed(1)} %`,
    `left ${formatSeconds(left)}`,
    doing,
  ].join("  ");
}
