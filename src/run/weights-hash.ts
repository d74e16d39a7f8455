// The SHA-256 of a checkpoint's weights, part of a run's identity. Reading 16 GB takes ten seconds and more, so the result
// is remembered in the user's cache folder under path, size, time and inode; a cache that is lost costs only the time.

import { createHash } from "node:crypto";
import { mkdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { cacheFolder } from "../base/cache-folder.js";
import { sha256OfFile } from "../base/sha256.js";
import { sha256OfBlob } from "../hub/repo.js";
import type { FileHasher } from "../shard/hash.js";

const cacheSchema = z.record(z.string(), z.string());

/**
 * The SHA-256 over the hashes of a checkpoint's weight files. A blob of the Hub's cache has its hash for a name.
 * @param files real paths, in the order of the checkpoint's own names, which blobs do not have. @param hasher does the reading, off the main thread.
 * @param onProgress gets the bytes done so far, and those of all files.
 */
export async function hashWeights(
  files: readonly string[],
  hasher: FileHasher,
  signal?: AbortSignal,
  onProgress?: (bytes: number, total: number) => void,
): Promise<string> {
  const all = createHash("sha256");
  const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  let before = 0;
  for (const [i, file] of files.entries()) {
    const tell = (bytes: number) => onProgress?.(before + bytes, total);
    all.update(sha256OfBlob(file) ?? (await hashFileCached(file, hasher, signal, tell)));
    before += sizes[i] ?? 0;
    onProgress?.(before, total);
  }
  return all.digest("hex");
}

/** The SHA-256 of one small file, such as an adapter. @param file real path. */
export async function hashFile(file: string): Promise<string> {
  return sha256OfBlob(file) ?? sha256OfFile(file);
}

async function hashFileCached(
  file: string,
  hasher: FileHasher,
  signal?: AbortSignal,
  onProgress?: (bytes: number) => void,
): Promise<string> {
  const facts = await stat(file, { bigint: true });
  const key = `${file} ${facts.size} ${facts.mtimeNs} ${facts.ino}`;
  const cache = await readCache();
  const known = cache[key];
  if (known) return known;
  const { sha256 } = await hasher.hash(file, [], signal, onProgress);
  await writeCache({ ...(await readCache()), [key]: sha256 });
  return sha256;
}

function cacheFile(): string {
  return cacheFolder("weights.json");
}

async function readCache(): Promise<Record<string, string>> {
  try {
    return cacheSchema.parse(JSON.parse(await readFile(cacheFile(), "utf8")));
  } catch {
    return {};
  }
}

async function writeCache(entries: Record<string, string>): Promise<void> {
  try {
    const file = cacheFile();
    await mkdir(join(file, ".."), { recursive: true });
    const temporary = `${file}.${process.pid}`;
    await writeFile(temporary, JSON.stringify(Object.fromEntries(Object.entries(entries).slice(-200))));
    await rename(temporary, file);
  } catch {
    // No home, or a full disk: the hash is computed again next time.
  }
}
