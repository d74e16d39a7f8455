// Which kinds of files hold records, by their names.

/** Kinds of text files. */
export type TextKind = "json" | "text" | "csv" | "tsv";
/** Kinds of files that hold records. */
export type FileKind = TextKind | "parquet";

const KIND_OF: Readonly<Record<string, FileKind>> = {
  jsonl: "json",
  ndjson: "json",
  json: "json",
  txt: "text",
  csv: "csv",
  tsv: "tsv",
  parquet: "parquet",
};
/** For messages. */
export const EXPECTED = ".jsonl, .txt, .csv, .tsv or .parquet files, or a streams folder";

/** The kind of a file by its name; null for one that is none of a dataset. */
export function kindOf(path: string): FileKind | null {
  return KIND_OF[/\.([a-z0-9]+)$/i.exec(path)?.[1]?.toLowerCase() ?? ""] ?? null;
}

/** The name of what a compressed file holds; of any other its own. */
export function plainName(path: string): string {
  return isCompressed(path) ? path.replace(/\.[^.]+$/, "") : path;
}

/** Whether a file is compressed, by its name. */
export function isCompressed(path: string): boolean {
  return /\.(gz|zst|zstd)$/i.test(path);
}
