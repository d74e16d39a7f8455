// From what the user calls a dataset to its files: a path of this machine, or a Hub id, whose data files are brought into the
// standard cache.

import { stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { SluiceError, systemCode } from "../base/errors.js";
import { describeRepo, type HubRepo, parseHubId } from "../hub/repo.js";
import { type DownloadOptions, downloadSnapshot } from "../hub/snapshot.js";
import { isRemotePath, joinData, listData, noRegularFile, statData } from "./data-file.js";
import { EXPECTED, isCompressed, kindOf, plainName } from "./file-kind.js";
import { byCodePoint, expandGlob, isGlob, matchesGlob } from "./globs.js";

/** A dataset's files. */
export interface LocatedDataset {
  /** Without any local path. */
  readonly name: string;
  /** In their order; `streams` for a folder that `sluice streams` made. */
  readonly files: readonly string[] | "streams";
}

/**
 * Finds a dataset's files. What exists as a path is one: a file, a folder, or a pattern. Else `org/name`, `org/name@revision` and
 * `org/name/path` (a file, a folder or a pattern in it) are datasets of the Hub.
 * @throws SluiceError `config` where there are none, or where it is a pipe or a device; `store` where the Hub cannot be reached.
 */
export async function locateDataset(path: string, download: DownloadOptions = {}): Promise<LocatedDataset> {
  const facts = await statData(path);
  const name = basename(path);
  if (facts?.isFolder) return { name, files: await listFolder(path) };
  if (facts?.isFile) return { name, files: [path] };
  if (facts) throw noRegularFile(path);
  if (isGlob(path)) {
    const files = await expandGlob(path);
    if (files.length > 0) return { name, files };
  }
  const id = isRemotePath(path) || (await isLocal(path)) ? null : parseHubId(path, "dataset");
  if (id) {
    const { folder, files } = await downloadSnapshot(
      id.repo,
      (paths) => chooseDataFiles(id.repo, id.path, paths),
      download,
    );
    return {
      name: id.path === null ? id.repo.name : `${id.repo.name}/${id.path}`,
      files: files.map((file) => join(folder, file)),
    };
  }
  if (!isGlob(path)) throw missing(path);
  throw new SluiceError("config", `no file matches the dataset's pattern ${path}`, {
    expected: EXPECTED,
    fix: "Check --dataset.",
  });
}

/** A dataset that is not there. @param cause what looking for it gave; anything but its absence stays as it is. */
export function missing(path: string, cause?: unknown): unknown {
  if (cause !== undefined && systemCode(cause) !== "ENOENT" && systemCode(cause) !== "ENOTDIR") return cause;
  return new SluiceError("config", `there is no dataset at ${path}`, {
    expected: `${EXPECTED}, or a Hub id (org/name)`,
    fix: "Check --dataset.",
    cause,
  });
}

/** Whether a path that is not there was meant as one: a data file's name, or one in a folder that is there. */
async function isLocal(path: string): Promise<boolean> {
  const parts = path.split("/");
  if (parts.length === 2 && (kindOf(path) !== null || isCompressed(path))) return true;
  return stat(parts[0] || "/").then(
    () => true,
    () => false,
  );
}

async function listFolder(path: string): Promise<readonly string[] | "streams"> {
  const names = await listData(path);
  if (names.includes("streams.json")) return "streams";
  const data = names.filter(isDataFile);
  if (data.length > 0) return data.sort(byCodePoint).map((name) => joinData(path, name));
  throw new SluiceError("config", `${path} is no streams folder and holds no data files`, {
    found: names.slice(0, 5).join(", ") || "nothing",
    expected: EXPECTED,
    fix: `Name the files with a pattern such as '${joinData(path, "**/*.parquet")}', or make a streams folder with sluice streams.`,
  });
}

/** Whether a file in a folder is data by its name. There .json is what tools write beside the data. */
function isDataFile(path: string): boolean {
  const name = basename(path);
  return !name.startsWith(".") && !/\.json$/i.test(name) && kindOf(plainName(name)) !== null;
}

/**
 * The files of a repository that are meant: those that the path names; without one its Parquet files, or where it has none its other
 * data files: all where they are parts of one table, else those of the one that is for training.
 * @throws SluiceError `config` where there are none, where it is not clear which, or where parts are missing.
 */
export function chooseDataFiles(repo: HubRepo, path: string | null, paths: readonly string[]): string[] {
  const data = paths.filter(isDataFile).sort(byCodePoint);
  const named =
    path === null
      ? null
      : paths.includes(path)
        ? [path]
        : data.filter((file) => (isGlob(path) ? matchesGlob(path, file) : file.startsWith(`${path}/`)));
  const parquet = data.filter((file) => kindOf(file) === "parquet");
  const chosen = named ?? chooseTable(repo, parquet.length > 0 ? parquet : data);
  if (chosen.length === 0) {
    throw new SluiceError(
      "config",
      `${describeRepo(repo)} has no data files${path === null ? "" : ` at ${path}`}`,
      {
        found: (data.length > 0 ? data : paths).slice(0, 10).join(", "),
        expected: ".parquet, .jsonl, .csv, .tsv or .txt files",
        fix: `The Hub may have its own conversion to Parquet: ${repo.name}@refs/convert/parquet`,
      },
    );
  }
  if (path === null || !paths.includes(path))
    refuseMissingParts(repo, chosen, (part) => path === null || !isGlob(path) || matchesGlob(path, part));
  return chosen;
}

/** A table's files by what their names share: `data/train-00000-of-00002.parquet` and its like are `data/train*.parquet`. */
function tableOf(path: string): string {
  return path.replace(/(?:-?\d+(?:-of-\d+)?)?(\.[^/]+)$/, "*$1");
}

function chooseTable(repo: HubRepo, files: readonly string[]): string[] {
  const tables = new Map<string, string[]>();
  for (const file of files) tables.set(tableOf(file), [...(tables.get(tableOf(file)) ?? []), file]);
  const all = [...tables.keys()];
  const training = all.filter((table) => /(^|[/_.-])train(ing)?([/_.*-]|$)/i.test(table));
  const wanted = all.length <= 1 ? all : training;
  if (wanted.length <= 1 && (wanted.length === 1 || all.length === 0))
    return tables.get(wanted[0] ?? "") ?? [];
  throw new SluiceError("config", `${describeRepo(repo)} holds ${all.length} tables: name one`, {
    found: all.slice(0, 12).join(", "),
    fix: `For example --dataset '${repo.name}/${all[0]}'.`,
  });
}

/** A cache may hold some parts of a table only, which offline nobody would notice. @param isMeant whether a part was asked for. */
function refuseMissingParts(
  repo: HubRepo,
  files: readonly string[],
  isMeant: (path: string) => boolean,
): void {
  for (const file of files) {
    const [, head = "", digits = "", count = "", tail = ""] =
      /^(.*-)(\d+)-of-(\d+)(\.[^/]+)$/.exec(file) ?? [];
    const parts = Array.from(
      { length: Number(count) },
      (_, part) => `${head}${String(part).padStart(digits.length, "0")}-of-${count}${tail}`,
    );
    const missing = parts.filter((part) => isMeant(part) && !files.includes(part));
    if (missing.length === 0) continue;
    throw new SluiceError(
      "config",
      `${describeRepo(repo)} is not complete: parts of ${tableOf(file)} are missing`,
      {
        found: `${missing.length} of ${parts.length} are not there, such as ${missing[0]}`,
        fix: "Download it again without HF_HUB_OFFLINE, or name the parts that you want.",
      },
    );
  }
}
