// A dataset on disk: a file, a folder or pattern of files, or a folder of streams that `sluice streams` made. Opening it reads
// no record.

import { basename } from "node:path";
import { z } from "zod";
import { SluiceError } from "../base/errors.js";
import { parseJson } from "../base/parse-json.js";
import { plural } from "../base/plural.js";
import type { DownloadOptions } from "../hub/snapshot.js";
import { joinData, openData, readDataText, statData } from "./data-file.js";
import { EXPECTED, type FileKind, isCompressed, kindOf, type TextKind } from "./file-kind.js";
import { locateDataset, missing } from "./locate-dataset.js";

/** A file, and its size in bytes. */
export interface DatasetFile {
  readonly path: string;
  readonly bytes: number;
}

/** One ordered list of records: those of its files, one file after the other. Plain data: it crosses a thread boundary. */
export interface DatasetStream {
  readonly kind: FileKind;
  readonly files: readonly DatasetFile[];
  /** Of all files. */
  readonly bytes: number;
  /** The columns, by their first names, that records are read by; null for all. Files that keep columns apart read and hash these. */
  readonly columns: readonly string[] | null;
}

/** An opened dataset. Record i of it is record floor(i / S) of stream i mod S. */
export interface Dataset {
  /** Without any local path. */
  readonly name: string;
  /** Where it was given, for messages. */
  readonly path: string;
  readonly streams: readonly DatasetStream[];
  /** Files that do not have the size that `sluice streams` wrote down: cut short by a copy, or edited. */
  readonly resized?: readonly { readonly file: DatasetFile; readonly expected: number }[];
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
 * Opens a dataset: a file, a streams folder, a folder of data files, a pattern such as `data/*.parquet`, or a Hub id.
 * @param columns those that records are read by; null for all.
 * @throws SluiceError `config` where it is missing, incomplete, empty, compressed or of an unknown kind; `store` where the Hub cannot be reached.
 */
export async function openDataset(
  path: string,
  columns: readonly string[] | null = null,
  download: DownloadOptions = {},
): Promise<Dataset> {
  const { name, files: paths } = await locateDataset(path, download);
  if (paths === "streams") return openStreams(path);
  const compressed = paths.find(isCompressed);
  if (compressed !== undefined) {
    throw new SluiceError("config", `the dataset ${compressed} is compressed, which no worker can seek in`, {
      fix: `Split it first: sluice streams --dataset ${quote(path)} --num-streams 4 --output-dir streams, then --dataset streams.`,
    });
  }
  const stream = await describeStream(path, paths, columns);
  if (stream.bytes === 0) throw empty(path);
  return { name, path, streams: [stream] };
}

/** Files of one kind as one stream. @throws SluiceError `config` where they are not of one known kind. */
async function describeStream(
  path: string,
  paths: readonly string[],
  columns: readonly string[] | null,
): Promise<DatasetStream> {
  const kinds = new Map(paths.map((file) => [kindOf(file), file]));
  const [kind] = kinds.keys();
  if (kinds.has(null) || kind === null || kind === undefined) {
    throw new SluiceError("config", `the dataset ${kinds.get(null) ?? path} is of an unknown kind`, {
      expected: EXPECTED,
    });
  }
  if (kinds.size > 1) {
    throw new SluiceError("config", `the dataset ${path} holds files of ${kinds.size} kinds`, {
      found: [...kinds.values()].map((file) => basename(file)).join(", "),
      expected: "files of one kind",
      fix: `Name one kind with a pattern such as '${joinData(path, `*${/\.[^.]+$/.exec(paths[0] ?? "")?.[0] ?? ""}`)}'.`,
    });
  }
  const files: DatasetFile[] = [];
  for (const file of paths) {
    files.push({ path: file, bytes: await sizeOf(file) });
    if (kind !== "parquet") await refuseOtherText(file, kind);
  }
  return { kind, files, bytes: files.reduce((sum, file) => sum + file.bytes, 0), columns };
}

/** Refuses a text file whose first bytes say that it is something else. @throws SluiceError `config`. */
export async function refuseOtherText(path: string, kind: TextKind): Promise<void> {
  const file = await openData(path);
  const head = Buffer.alloc(64);
  let size: number;
  try {
    size = (await file.read(head, 0, head.length, 0)).bytesRead;
  } finally {
    await file.close();
  }
  const fail = (found: string, expected: string, fix: string) =>
    new SluiceError("config", `the dataset ${path} is not what its name says`, { found, expected, fix });
  if ((head[0] === 0xff && head[1] === 0xfe) || (head[0] === 0xfe && head[1] === 0xff))
    throw fail("UTF-16", "UTF-8", "Convert it: iconv -f UTF-16 -t UTF-8.");
  if (head.toString("latin1", 0, 4) === "PAR1") throw fail("Parquet", `.${kind}`, "Rename it to .parquet.");
  if (head[0] === 0x1f && head[1] === 0x8b)
    throw fail("gzip", `.${kind}`, "Rename it to .gz and split it with sluice streams.");
  if (kind === "json" && head.toString("utf8", 0, size).trimStart().startsWith("["))
    throw fail(
      "one JSON array",
      "JSON lines, one object a line",
      `Convert it: jq -c '.[]' ${quote(path)} > data.jsonl`,
    );
}

async function openStreams(folder: string): Promise<Dataset> {
  const file = joinData(folder, "streams.json");
  const parsed = streamsFileSchema.safeParse(parseOrNothing(await readDataText(file)));
  if (!parsed.success)
    throw new SluiceError("config", `${file} is not what sluice streams writes`, {
      fix: "Make the folder again.",
    });
  const { dataset, num_streams, streams, records } = parsed.data;
  if (streams.length !== num_streams || streams.some((s, i) => s.file !== streamFileName(i))) {
    throw new SluiceError("config", `${file} does not list ${plural(num_streams, "stream")} in order`, {
      fix: "Make the folder again.",
    });
  }
  if (records === 0) throw empty(folder);
  const opened = await Promise.all(
    streams.map(async (stream): Promise<DatasetStream> => {
      const path = joinData(folder, stream.file);
      const bytes = await sizeOf(path);
      return { kind: "json", files: [{ path, bytes }], bytes, columns: null };
    }),
  );
  const resized = opened.flatMap(({ files }, s) =>
    files.map((file) => ({ file, expected: streams[s]?.bytes ?? 0 })),
  );
  return {
    name: dataset,
    path: folder,
    streams: opened,
    resized: resized.filter(({ file, expected }) => file.bytes !== expected),
  };
}

async function sizeOf(path: string): Promise<number> {
  const facts = await statData(path);
  if (facts === null) throw missing(path);
  return facts.size;
}

function empty(path: string): SluiceError {
  return new SluiceError("config", `the dataset ${path} has no records`, {
    expected: "at least one line that is not blank",
  });
}

function parseOrNothing(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    return undefined;
  }
}

/** As a shell needs it. */
function quote(path: string): string {
  return /^[\w./:=@-]+$/.test(path) ? path : `'${path}'`;
}
