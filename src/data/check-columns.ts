// A misspelt column is refused before anything starts, with the names that are near: it would make every record unusable.

import { SluiceError } from "../base/errors.js";
import { nearMatches } from "../base/near-matches.js";
import type { Dataset } from "./dataset.js";
import { fieldAt } from "./fields.js";
import { openRecordStream, type SampledRecord } from "./record-stream.js";
import type { RecordRules } from "./records.js";

/**
 * Refuses --column and --keep-columns that are in none of the records that were looked at, and in no file's schema or header.
 * @throws SluiceError `usage`.
 */
export async function refuseMissingColumns(
  dataset: Dataset,
  looked: readonly SampledRecord[],
  rules: Pick<RecordRules, "column" | "keepColumns">,
): Promise<void> {
  const usable = looked.flatMap(({ raw }) => ("fields" in raw ? [raw.fields] : []));
  if (usable.length === 0) return; // Every record's own reason is better than anything said here.
  const names = new Set(usable.flatMap((fields) => Object.keys(fields)));
  for (const stream of dataset.streams.slice(0, 1)) {
    const opened = openRecordStream(stream);
    try {
      for (const name of (await opened.columns()) ?? []) names.add(name);
    } finally {
      await opened.close();
    }
  }
  const isThere = (column: string) =>
    names.has(column) || usable.some((fields) => fieldAt(fields, column) !== undefined);
  const wanted: [string, string][] = rules.keepColumns.map((column) => ["--keep-columns", column]);
  if (rules.column !== "text") wanted.unshift(["--column", rules.column]);
  for (const [flag, column] of wanted) {
    if (!isThere(column)) throw missingColumn(flag, column, [...names], "the dataset");
  }
}

/** A column that is not there, with the names that are near. @param where what does not have it. */
export function missingColumn(
  flag: string,
  column: string,
  names: readonly string[],
  where: string,
): SluiceError {
  const near = nearMatches(column, names);
  return new SluiceError("usage", `${flag} names a column that ${where} does not have`, {
    found: column,
    expected: near.length > 0 ? `perhaps ${near.join(" or ")}` : `one of ${names.slice(0, 12).join(", ")}`,
    values: { column },
  });
}
