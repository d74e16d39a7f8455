// The few kinds of error Sluice raises, each with the exit code a scheduler acts on (CLI contract, `sysexits.h`).
// A message names the thing, what was found, what was expected and what to do; the values stay readable as fields.

/** What an error says besides its first sentence. All parts are optional; `cause` is kept as the standard field. */
export interface ErrorDetails {
  /** The value that was found, as the user would recognise it. */
  readonly found?: unknown;
  /** What would have been accepted. */
  readonly expected?: string;
  /** What the user can do now. */
  readonly fix?: string;
  /** Further values for machines (`--json`), such as `{stream, unit}`. */
  readonly values?: Readonly<Record<string, unknown>>;
  readonly cause?: unknown;
}

/** The kinds of error, and the exit code of each. */
export const EXIT_CODES = {
  /** Unknown flag or command, a value that cannot be read or is out of range. */
  usage: 64,
  /** Too many unusable records, a corrupt, foreign or missing shard, a unit that fails five times. */
  data: 65,
  /** A broken invariant of our own. */
  bug: 70,
  /** Store unreachable after retries, disk full. */
  store: 74,
  /** Told to stop (pre-emption, signal) before the work was done: start me again. */
  preempted: 75,
  /** Model or dataset missing, truncated, changed or of an unknown kind; a run with another identity. */
  config: 78,
} as const;

/** The tag of an error: one of the keys of {@link EXIT_CODES}. */
export type ErrorKind = keyof typeof EXIT_CODES;

/**
 * Every error that Sluice raises on purpose.
 *
 * @example throw new SluiceError("config", "no model at ./m", { expected: "a folder with config.json", fix: "pass --model" });
 */
export class SluiceError extends Error {
  readonly kind: ErrorKind;
  readonly details: ErrorDetails;

  constructor(kind: ErrorKind, what: string, details: ErrorDetails = {}) {
    super(composeMessage(what, details), details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "SluiceError";
    this.kind = kind;
    this.details = details;
  }

  /** The process's exit code for this error. */
  get exitCode(): number {
    return EXIT_CODES[this.kind];
  }
}

/** True for a {@link SluiceError}, of the given kind where one is named. */
export function isSluiceError(error: unknown, kind?: ErrorKind): error is SluiceError {
  return error instanceof SluiceError && (kind === undefined || error.kind === kind);
}

/** The `code` of a Node system error (`ENOENT`, `ENOSPC`), or undefined. */
export function systemCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : undefined;
}

/** One line of an unknown thrown value, without a stack trace. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function composeMessage(what: string, details: ErrorDetails): string {
  const parts = [what];
  if (details.found !== undefined) parts.push(`found ${describeValue(details.found)}`);
  if (details.expected !== undefined) parts.push(`expected ${details.expected}`);
  const sentence = parts.join("; ");
  return details.fix === undefined ? sentence : `${sentence}. ${details.fix}`;
}

function describeValue(value: unknown): string {
  if (typeof value === "string") return value === "" ? "an empty text" : value;
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 300 ? `${text.slice(0, 297)}...` : text;
}
