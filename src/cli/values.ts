// Reading the values of flags and environment variables. Each parser names the flag, the value and what was expected.

import { SluiceError } from "../base/errors.js";
import { schemeOf } from "../store/bucket-uri.js";

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 1024,
  mib: 2 ** 20,
  gib: 2 ** 30,
};

/** A size such as `1GB`, `500MB`, `64MiB` or a plain number of bytes; MB and GB are 10^6 and 10^9. @throws SluiceError `usage`. */
export function parseBytes(flag: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim());
  const unit = UNITS[match?.[2]?.toLowerCase() ?? "?"];
  const bytes = match && unit !== undefined ? Math.round(Number(match[1]) * unit) : 0;
  if (bytes >= 1) return bytes;
  throw new SluiceError("usage", `${flag} is not a size`, {
    found: text,
    expected: "for example 1GB, 500MB or 64MiB",
  });
}

/** A whole number within bounds. @throws SluiceError `usage`. */
export function parseWhole(flag: string, text: string, min = 0, max = Number.MAX_SAFE_INTEGER): number {
  const value = /^-?\d+$/.test(text.trim()) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  const upTo = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
  throw new SluiceError("usage", `${flag} is out of range or no whole number`, {
    found: text,
    expected: `a whole number ${upTo}`,
  });
}

/** A positive number. @throws SluiceError `usage`. */
export function parsePositive(flag: string, text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value) && value > 0) return value;
  throw new SluiceError("usage", `${flag} is not a positive number`, {
    found: text,
    expected: "a number above 0",
  });
}

/** Names between commas, each once; none where nothing is given. @throws SluiceError `usage`. */
export function parseNames(flag: string, text: string | undefined): string[] {
  if (text === undefined) return [];
  const names = text.split(",").map((name) => name.trim());
  if (!names.includes("")) return [...new Set(names)];
  throw new SluiceError("usage", `${flag} cannot be read`, { found: text, expected: "names between commas" });
}

/** One of a list; `later` holds values of the contract that this version does not have. @throws SluiceError `usage`. */
export function parseChoice<T extends string>(
  flag: string,
  text: string,
  choices: readonly T[],
  later: readonly string[] = [],
): T {
  const found = choices.find((choice) => choice === text);
  if (found !== undefined) return found;
  if (later.includes(text)) throw notInThisVersion(`${flag} ${text}`, choices);
  throw new SluiceError("usage", `${flag} has an unknown value`, {
    found: text,
    expected: choices.join(", "),
  });
}

/** What the contract promises for later: 64, by name. */
export function notInThisVersion(what: string, instead: readonly string[] = []): SluiceError {
  const has = instead.length > 0 ? { expected: instead.join(", ") } : {};
  return new SluiceError("usage", `${what} is not in this version`, has);
}

/** `true`, `1`, `yes` and their opposites, as launch scripts write them. @throws SluiceError `usage`. */
export function parseSwitch(name: string, text: string): boolean {
  const value = text.trim().toLowerCase();
  if (["true", "1", "yes", "on"].includes(value)) return true;
  if (["false", "0", "no", "off", ""].includes(value)) return false;
  throw new SluiceError("usage", `${name} is neither true nor false`, {
    found: text,
    expected: "true or false",
  });
}

/** `--output "$RUN"` of a script that never set RUN. @throws SluiceError `usage`. */
export function refuseEmpty(what: string, text: string): void {
  if (text !== "") return;
  throw new SluiceError("usage", `${what} is empty`, {
    expected: "a value",
    fix: "Is a variable of your script not set?",
  });
}

/** The folder, where it is one on a disk. @throws SluiceError `usage` otherwise. */
export function localFolder(flag: string, folder: string): string {
  refuseEmpty(flag, folder);
  if (schemeOf(folder) === undefined) return folder;
  throw new SluiceError("usage", `${flag} is no local folder`, {
    found: folder,
    fix: `Name one with ${flag} ./folder.`,
  });
}
