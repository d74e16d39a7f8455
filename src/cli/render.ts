// Numbers, tables and progress lines for people. A terminal gets a bar that is drawn again in place; anything else gets
// plain lines. Colours only on a terminal, and never with NO_COLOR.

import { printable } from "../base/printable.js";

/** 1,234,567 */
export function formatCount(n: number): string {
  return Math.round(n).toLocaleString("en-US");
}

/** The lines of a text, broken between words so that none is longer than `width`, but for a word that is. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last === undefined || last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = `${last} ${word}`;
  }
  return lines;
}

/** 1h 02m, 3m 04s, 5 s; `?` where it is not known. */
export function formatSeconds(seconds: number): string {
  if (!Number.isFinite(seconds)) return "?";
  const s = Math.round(seconds);
  if (s >= 3600) return `${Math.floor(s / 3600)}h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")}m`;
  if (s >= 60) return `${Math.floor(s / 60)}m ${String(s % 60).padStart(2, "0")}s`;
  return `${s} s`;
}

/** Columns aligned by their widest cell; numbers to the right. */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly (string | number)[])[],
): string {
  const cells = rows.map((row) =>
    row.map((cell) => (typeof cell === "number" ? formatCount(cell) : printable(cell))),
  );
  const numeric = header.map((_, c) => rows.length > 0 && rows.every((row) => typeof row[c] === "number"));
  const widths = header.map((title, c) => Math.max(title.length, ...cells.map((row) => row[c]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, c) => (numeric[c] ? cell.padStart(widths[c] ?? 0) : cell.padEnd(widths[c] ?? 0)))
      .join("  ")
      .trimEnd();
  return [line(header), line(widths.map((w) => "-".repeat(w))), ...cells.map(line)].join("\n");
}

/** A bar of 20 cells. @param share 0 to 1. */
export function formatBar(share: number): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * 20);
  return `[${"#".repeat(full)}${".".repeat(20 - full)}]`;
}

/** Marks text on a terminal that shows colours. */
export function paint(
  text: string,
  colour: "green" | "red" | "yellow" | "bold",
  stream: NodeJS.WriteStream = process.stdout,
): string {
  if (!stream.isTTY || process.env.NO_COLOR) return text;
  const code = { green: 32, red: 31, yellow: 33, bold: 1 }[colour];
  return `\u001b[${code}m${text}\u001b[0m`;
}

/** A line about work under way, drawn in place on a terminal and printed every ten seconds elsewhere. */
export class ProgressLine {
  readonly #stream: NodeJS.WriteStream;
  readonly #describe: () => string;
  readonly #timer: NodeJS.Timeout;
  #drawn = false;
  #isStopped = false;

  /** @param describe an empty text is not drawn. */
  constructor(describe: () => string, stream: NodeJS.WriteStream = process.stderr) {
    this.#stream = stream;
    this.#describe = describe;
    this.#timer = setInterval(() => this.#draw(), stream.isTTY ? 250 : 10_000);
    this.#timer.unref();
  }

  /** Prints a message on a line of its own, above the progress. */
  print(message: string): void {
    this.#erase();
    this.#stream.write(`${message}\n`);
  }

  /** Stops drawing, and leaves the last state on the screen: before the result is printed. Nothing the second time. */
  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    clearInterval(this.#timer);
    if (this.#stream.isTTY) this.#draw();
    if (this.#drawn) this.#stream.write("\n");
    this.#drawn = false;
  }

  #draw(): void {
    const text = printable(this.#describe());
    if (text === "") {
      this.#erase();
      return;
    }
    if (!this.#stream.isTTY) {
      this.#stream.write(`${text}\n`);
      return;
    }
    this.#stream.write(`\r\u001b[K${text.slice(0, Math.max(20, (this.#stream.columns || 80) - 1))}`);
    this.#drawn = true;
  }

  #erase(): void {
    if (this.#drawn) this.#stream.write("\r\u001b[K");
    this.#drawn = false;
  }
}
