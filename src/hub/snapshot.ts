// A repository's files in the standard cache, as huggingface_hub makes it: what lies there already is used, and what comes
// anew is found by Python. Only the files that are wanted come.

import { randomUUID } from "node:crypto";
import { mkdir, readdir, rename, rm, stat, statfs, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { SluiceError, systemCode } from "../base/errors.js";
import { downloadBlob, type HubFile } from "./download.js";
import { cachedCommit, describeRepo, type HubRepo, isCommit, repoFolder } from "./repo.js";
import { type HubClient, HubUnreachable, requestHub } from "./request.js";
import { type HubSettings, readHubSettings } from "./settings.js";

/** How far a download is. Bytes of the files that had to come. */
export interface HubProgress {
  readonly repo: HubRepo;
  readonly done: number;
  readonly total: number;
}

/** What goes with a download. All parts are optional. */
export interface DownloadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: HubProgress) => void) | undefined;
  /** Something that the user should know, such as that an older copy is used. */
  readonly warn?: ((message: string) => void) | undefined;
  readonly settings?: HubSettings | undefined;
  /** Milliseconds before a second attempt (1 s), and until a silent connection is given up (30 s). */
  readonly retryMs?: number | undefined;
  readonly silenceMs?: number | undefined;
}

/** A repository's files at one commit. */
export interface Snapshot {
  readonly folder: string;
  readonly commit: string;
  /** Paths inside the folder, as chosen. */
  readonly files: readonly string[];
}

/** Chooses from all paths of a repository. @throws SluiceError where what is needed is not among them. */
export type ChooseFiles = (paths: readonly string[]) => readonly string[];

/**
 * Brings the chosen files of a repository into the cache.
 * @throws SluiceError `config` where there is no such repository, revision or file, access is restricted, or (offline) it is not in the cache; `store` where the Hub cannot be reached and the cache has nothing.
 */
export async function downloadSnapshot(
  repo: HubRepo,
  choose: ChooseFiles,
  options: DownloadOptions = {},
): Promise<Snapshot> {
  const settings = options.settings ?? (await readHubSettings());
  const client: HubClient = {
    settings,
    repo,
    signal: options.signal,
    retryMs: options.retryMs ?? 1000,
    silenceMs: options.silenceMs ?? 30_000,
  };
  if (settings.isOffline) {
    const snapshot = await openCached(settings, repo, choose);
    if (snapshot) return snapshot;
    throw new SluiceError("config", `${describeRepo(repo)} is not in the cache, and HF_HUB_OFFLINE is set`, {
      found: `nothing usable in ${repoFolder(settings.cache, repo)}`,
      fix: "Unset HF_HUB_OFFLINE, or download it before (hf download).",
    });
  }
  try {
    return await download(client, choose, options);
  } catch (error) {
    const snapshot = error instanceof HubUnreachable ? await openCached(settings, repo, choose) : null;
    if (!snapshot) throw error;
    options.warn?.(
      `${settings.endpoint} cannot be reached: taking ${describeRepo(repo)} from the cache, commit ${snapshot.commit}`,
    );
    return snapshot;
  }
}

/** Brings one file into the cache. @returns its path there. @throws SluiceError as {@link downloadSnapshot} does. */
export async function openHubFile(
  repo: HubRepo,
  path: string,
  options: DownloadOptions = {},
): Promise<string> {
  const { folder } = await downloadSnapshot(repo, (paths) => [requirePath(repo, path, paths)], options);
  return join(folder, path);
}

function requirePath(repo: HubRepo, path: string, paths: readonly string[]): string {
  if (paths.includes(path)) return path;
  const end = /\.[^.]+$/.exec(path)?.[0] ?? "";
  const like = paths.filter((other) => other.endsWith(end)).slice(0, 20);
  throw new SluiceError("config", `${describeRepo(repo)} has no file ${path}`, {
    expected: like.length > 0 ? like.join(", ") : undefined,
  });
}

async function download(client: HubClient, choose: ChooseFiles, options: DownloadOptions): Promise<Snapshot> {
  const { repo, settings } = client;
  const commit = await askCommit(client);
  const listed = await listAll(client, commit);
  const files = choose([...listed.keys()]).map((path) => {
    const file = listed.get(path);
    if (!file) throw new SluiceError("bug", `${path} was chosen, and is not in ${repo.name}`);
    return file;
  });
  const base = repoFolder(settings.cache, repo);
  const folder = join(base, "snapshots", commit);
  const missing: HubFile[] = [];
  for (const file of files) if (!(await exists(join(folder, file.path)))) missing.push(file);
  const blobOf = (file: HubFile) => join(base, "blobs", file.etag);
  const toFetch: HubFile[] = [];
  for (const file of missing) if (!(await exists(blobOf(file)))) toFetch.push(file);
  await refuseFullDisk(base, toFetch);
  const total = toFetch.reduce((sum, file) => sum + file.size, 0);
  let before = 0;
  for (const file of missing) {
    if (toFetch.includes(file)) {
      await downloadBlob(client, commit, file, blobOf(file), (done) =>
        options.onProgress?.({ repo, done: before + done, total }),
      );
      before += file.size;
    }
    await link(blobOf(file), join(folder, file.path));
  }
  if (repo.revision !== commit) await writeAtomically(join(base, "refs", repo.revision), commit);
  return { folder, commit, files: files.map((file) => file.path) };
}

async function askCommit(client: HubClient): Promise<string> {
  const { repo } = client;
  if (isCommit(repo.revision)) return repo.revision;
  const { datasetInfo, modelInfo } = await import("@huggingface/hub"); // Whoever asks the Hub nothing starts sooner without it.
  const question = { name: repo.name, revision: repo.revision, ...access(client) };
  const { sha } =
    repo.kind === "model"
      ? await modelInfo({ ...question, additionalFields: ["sha"] })
      : await datasetInfo({ ...question, additionalFields: ["sha"] });
  if (typeof sha === "string" && isCommit(sha)) return sha;
  throw new HubUnreachable(client, new Error(`it gave no commit for ${describeRepo(repo)}`));
}

async function listAll(client: HubClient, commit: string): Promise<Map<string, HubFile>> {
  const { repo } = client;
  const { listFiles } = await import("@huggingface/hub");
  const found = new Map<string, HubFile>();
  const what = { type: repo.kind, name: repo.name };
  for await (const entry of listFiles({ repo: what, revision: commit, recursive: true, ...access(client) })) {
    const etag = entry.lfs?.oid ?? entry.oid ?? "";
    const isSafe = !entry.path.split(/[\\/]/).some((part) => part === "" || part === "." || part === "..");
    if (entry.type !== "file" || !isSafe || !/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(etag)) continue;
    found.set(entry.path, { path: entry.path, size: entry.lfs?.size ?? entry.size, etag });
  }
  return found;
}

/** The library's requests go through ours: retries, silence, and refusals in words. */
function access(client: HubClient) {
  return {
    hubUrl: client.settings.endpoint,
    fetch: (url: string | URL | Request) => requestHub(client, String(url), { accept: "application/json" }),
  };
}

/** The chosen files of the snapshot that the cache has; null where it has none, or not all that is needed. */
async function openCached(
  settings: HubSettings,
  repo: HubRepo,
  choose: ChooseFiles,
): Promise<Snapshot | null> {
  const commit = await cachedCommit(settings.cache, repo);
  if (commit === null) return null;
  const folder = join(repoFolder(settings.cache, repo), "snapshots", commit);
  const paths: string[] = [];
  for (const path of await readdir(folder, { recursive: true }).catch(() => [])) {
    const facts = await stat(join(folder, path)).catch(() => null);
    if (facts?.isFile()) paths.push(path.replaceAll("\\", "/"));
  }
  if (paths.length === 0) return null;
  return { folder, commit, files: choose(paths) };
}

/** A relative link, as huggingface_hub makes it. Another process may have made it. */
async function link(blob: string, path: string): Promise<void> {
  if (await exists(path)) return;
  await mkdir(dirname(path), { recursive: true });
  await rm(path, { force: true }); // A link to a blob that is gone.
  try {
    await symlink(relative(dirname(path), blob), path);
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw error;
  }
}

async function writeAtomically(path: string, text: string): Promise<void> {
  const temporary = `${path}.${randomUUID()}`;
  await mkdir(dirname(path), { recursive: true });
  await writeFile(temporary, text);
  await rename(temporary, path);
}

async function refuseFullDisk(folder: string, files: readonly HubFile[]): Promise<void> {
  const needed = files.reduce((sum, file) => sum + file.size, 0);
  if (needed === 0) return;
  await mkdir(folder, { recursive: true });
  const { bavail, bsize } = await statfs(folder);
  if (needed <= bavail * bsize) return;
  throw new SluiceError("store", `there is no room for the download in ${folder}`, {
    found: `${((bavail * bsize) / 1e9).toFixed(1)} GB free`,
    expected: `${(needed / 1e9).toFixed(1)} GB`,
    fix: "Free space there, or name another folder with HF_HUB_CACHE.",
  });
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
