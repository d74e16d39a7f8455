// One file of the Hub into the cache's blobs: resumed where an earlier attempt ended, checked against its hash, and shared
// by workers that start together. Two of them writing at once would write the same bytes to the same places: the mark
// that one is at work saves bandwidth, and nothing depends on it.

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, mkdir, open, rename, rm, stat, utimes } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SluiceError, systemCode } from "../base/errors.js";
import { describeRepo } from "./repo.js";
import { type HubClient, HubUnreachable, requestHub } from "./request.js";

/** A file of a repository, as the Hub lists it. */
export interface HubFile {
  readonly path: string;
  readonly size: number;
  /** SHA-256 of a large file (64 digits), git's SHA-1 of a small one (40): the blob's name in the cache. */
  readonly etag: string;
}

/** A mark that was not touched for so long belongs to nobody. */
const STALE_MS = 20_000;
const TOUCH_MS = 5_000;
const POLL_MS = 500;
/** Broken connections in a row, without a byte between them. */
const BROKEN_ATTEMPTS = 5;

/**
 * Downloads a file's bytes to `blob`, unless they are there. @param onBytes called with the bytes that are there so far.
 * @throws SluiceError `config` where the Hub refuses it, `store` where it cannot be reached, the disk is full, or the bytes are not those it promised.
 */
export async function downloadBlob(
  client: HubClient,
  commit: string,
  file: HubFile,
  blob: string,
  onBytes: (done: number) => void,
): Promise<void> {
  await mkdir(dirname(blob), { recursive: true });
  // Not huggingface_hub's own name for it: that one may be at work too.
  const partial = `${blob}.sluice.incomplete`;
  const mark = `${blob}.sluice.lock`;
  while (!(await isFile(blob))) {
    if (!(await takeMark(mark))) {
      onBytes((await stat(partial).catch(() => null))?.size ?? 0);
      await sleep(POLL_MS, undefined, { signal: client.signal });
      continue;
    }
    const timer = setInterval(() => void utimes(mark, new Date(), new Date()).catch(() => {}), TOUCH_MS);
    try {
      await fetchAll(client, commit, file, partial, onBytes);
      await checkHash(client, file, partial);
      await rename(partial, blob);
    } catch (error) {
      if (await isFile(blob)) return; // Another process was quicker.
      throw asStoreError(error, partial);
    } finally {
      clearInterval(timer);
      await rm(mark, { force: true });
    }
  }
  onBytes(file.size);
}

/** Creates the mark; false where somebody else's is fresh. */
async function takeMark(mark: string): Promise<boolean> {
  try {
    await (await open(mark, "wx")).close();
    return true;
  } catch (error) {
    if (systemCode(error) !== "EEXIST") throw error;
    const facts = await stat(mark).catch(() => null);
    if (facts && Date.now() - facts.mtimeMs > STALE_MS) await rm(mark, { force: true });
    return false;
  }
}

async function fetchAll(
  client: HubClient,
  commit: string,
  file: HubFile,
  partial: string,
  onBytes: (done: number) => void,
): Promise<void> {
  const handle = await open(partial, "a").then(async (made) => {
    await made.close(); // Made where it was missing; written by place below.
    return open(partial, "r+");
  });
  try {
    let done = Math.min((await handle.stat()).size, file.size);
    for (let broken = 0; done < file.size; ) {
      const before = done;
      try {
        done = await fetchFrom(client, commit, file, handle, done, onBytes);
        if (done < file.size) throw new Error("the connection closed early");
      } catch (error) {
        if (error instanceof SluiceError || systemCode(error) === "ENOSPC") throw error;
        client.signal?.throwIfAborted();
        done = Math.min((await handle.stat()).size, file.size);
        broken = done > before ? 0 : broken + 1;
        if (broken >= BROKEN_ATTEMPTS) throw new HubUnreachable(client, error);
        await sleep(client.retryMs * 2 ** broken, undefined, { signal: client.signal });
      }
    }
    await handle.truncate(file.size);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes what one request gives. @returns the bytes that are there then. */
async function fetchFrom(
  client: HubClient,
  commit: string,
  file: HubFile,
  handle: FileHandle,
  from: number,
  onBytes: (done: number) => void,
): Promise<number> {
  const range: Record<string, string> = from === 0 ? {} : { range: `bytes=${from}-` };
  const response = await requestHub(client, resolveUrl(client, commit, file.path), range);
  let at = response.status === 206 ? startOf(response, from) : 0;
  const reader = response.body?.getReader();
  const stalled = setTimeout(() => void reader?.cancel().catch(() => {}), client.silenceMs);
  try {
    for (let part = await reader?.read(); part?.value && at <= file.size; part = await reader?.read()) {
      stalled.refresh();
      await handle.write(part.value, 0, part.value.length, at);
      at += part.value.length;
      onBytes(Math.min(at, file.size));
    }
  } finally {
    clearTimeout(stalled);
    await reader?.cancel().catch(() => {});
  }
  return at;
}

function startOf(response: Response, asked: number): number {
  const start = /^bytes (\d+)-/.exec(response.headers.get("content-range") ?? "")?.[1];
  return start === undefined || Number(start) > asked ? 0 : Number(start);
}

function resolveUrl({ settings, repo }: HubClient, commit: string, path: string): string {
  const prefix = repo.kind === "model" ? "" : "datasets/";
  return `${settings.endpoint}/${prefix}${repo.name}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`;
}

async function checkHash(client: HubClient, file: HubFile, partial: string): Promise<void> {
  const isSha256 = file.etag.length === 64;
  const hash = createHash(isSha256 ? "sha256" : "sha1");
  if (!isSha256) hash.update(`blob ${file.size}\0`);
  for await (const piece of createReadStream(partial, { signal: client.signal, highWaterMark: 2 ** 20 }))
    hash.update(piece as Buffer);
  const found = hash.digest("hex");
  if (found === file.etag) return;
  await rm(partial, { force: true });
  throw new SluiceError(
    "store",
    `${file.path} of ${describeRepo(client.repo)} came with other bytes than it has`,
    {
      found: `hash ${found}`,
      expected: file.etag,
      fix: "Try again: the download starts anew.",
    },
  );
}

function asStoreError(error: unknown, partial: string): unknown {
  const code = systemCode(error);
  if (code === undefined || !/^E[A-Z]+$/.test(code) || error instanceof SluiceError) return error;
  return new SluiceError("store", `cannot write ${partial}`, {
    found: code,
    fix: "Free space there, or name another folder with HF_HUB_CACHE.",
    cause: error,
  });
}

async function isFile(path: string): Promise<boolean> {
  return stat(path).then(
    (facts) => facts.isFile(),
    () => false,
  );
}
