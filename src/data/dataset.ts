// A dataset on disk: one file of lines, or a folder of streams that `sluice streams` made. Opening it reads no record.

import { readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { SluiceError, systemCode } from "../base/errors.js";

/** One ordered list of records: a file of lines. */
export interface DatasetStream {
  readonly file: string;
  readonly bytes: number;
}

/** An opened dataset. Record i of it is record floor(i / S) of stream i mod S. */
export interface Dataset {
  /** Without any local path. */
  readonly name: string;
  /** Where it was given, for messages. */
  readonly path: string;
  readonly streams: readonly DatasetStream[];
  /** Whether a line is JSON, or a text as it stands. */
  readonly lines: "json" | "text";
}

/** What `sluice streams` writes beside the streams. */
export const streamsFileSchema = z.looseObject({
  format: z.literal("sluice-streams-1"),
  dataset: z.string(),
  num_streams: z.number().int().positive(),
  records: z.number().int().nonnegative(),
  streams: z.array(
    z.object({
      file: z.string(),
      records: z.number().int().nonnegative(),
      bytes: z.number().int().nonnegative(),
      sha256: z.string(),
    }),
  ),
});

/** `streams.json`. */
export type StreamsFile = z.infer<typeof streamsFileSchema>;

/** The name of a stream's file: `stream_000.jsonl`. */
export function streamFileName(stream: number): string {
  return `stream_${String(stream).padStart(3, "0")}.jsonl`;
}

/**
 * Opens a dataset by path.
 * @throws SluiceError `config` where it is missing, incomplete, empty or compressed; `usage` for a kind that is not in this version.
 */
export async function openDataset(path: string): Promise<Dataset> {
  const facts = await stat(path).catch((cause: unknown) => {
    throw missing(path, cause);
  });
  if (facts.isDirectory()) return openStreams(path);
  if (/\.(gz|zst)$/i.test(path)) {
    throw new SluiceError("config", `the dataset ${path} is compressed, which no worker can seek in`, {
      fix: `Split it first: sluice streams --dataset ${path} --num-streams 4 --output-dir streams, then --dataset streams.`,
    });
  }
  const kind = /\.([a-z0-9]+)$/i.exec(path)?.[1]?.toLowerCase() ?? "";
  if (["parquet", "csv", "arrow"].includes(kind)) {
    throw new SluiceError("usage", `.${kind} datasets are not in this version`, {
      found: path,
      expected: ".jsonl, .txt or a streams folder",
    });
  }
  if (!["jsonl", "ndjson", "json", "txt"].includes(kind)) {
    throw new SluiceError("config", `the dataset ${path} is of an unknown kind`, {
      expected: ".jsonl, .txt or a streams folder",
    });
  }
  if (facts.size === 0) throw empty(path);
  return {
    name: basename(path),
    path,
    streams: [{ file: path, bytes: facts.size }],
    lines: kind === "txt" ? "text" : "json",
  };
}

async function openStreams(folder: string): Promise<Dataset> {
  const file = join(folder, "streams.json");
  const text = await readFile(file, "utf8").catch((cause: unknown) => {
    if (systemCode(cause) !== "ENOENT") throw cause;
    throw new SluiceError("config", `${folder} is no streams folder: it has no streams.json`, {
      fix: "Make one with sluice streams, or name a file.",
      cause,
    });
  });
  const parsed = streamsFileSchema.safeParse(parseJson(text));
  if (!parsed.success)
    throw new SluiceError("config", `${file} is not what sluice streams writes`, {
      fix: "Make the folder again.",
    });
  const { dataset, num_streams, streams, records } = parsed.data;
  if (streams.length !== num_streams || streams.some((s, i) => s.file !== streamFileName(i))) {
    throw new SluiceError("config", `${file} does not list ${num_streams} streams in order`, {
      fix: "Make the folder again.",
    });
  }
  if (records === 0) throw empty(folder);
  const opened = await Promise.all(
    streams.map(async (stream) => {
      const path = join(folder, stream.file);
      const facts = await stat(path).catch((cause: unknown) => {
        throw missing(path, cause);
      });
      return { file: path, bytes: facts.size };
    }),
  );
  return { name: dataset, path: folder, streams: opened, lines: "json" };
}

function missing(path: string, cause: unknown): unknown {
  if (systemCode(cause) !== "ENOENT" && systemCode(cause) !== "ENOTDIR") return cause;
  return new SluiceError("config", `there is no dataset at ${path}`, {
    expected: "a .jsonl or .txt file, or a streams folder",
    fix: "Check --dataset.",
    cause,
  });
}

function empty(path: string): SluiceError {
  return new SluiceError("config", `the dataset ${path} has no records`, {
    expected: "at least one line that is not blank",
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
