// What on the Hub is meant, and where the standard cache keeps it (huggingface_hub, "Understand caching"):
// models--org--name/refs/REVISION holds a commit, snapshots/COMMIT/PATH links to blobs/ETAG.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "../base/errors.js";

/** A repository at a revision. */
export interface HubRepo {
  readonly kind: "model" | "dataset";
  /** `org/name`. */
  readonly name: string;
  /** A branch, a tag, or a commit. */
  readonly revision: string;
}

const ID = /^([\w.-]+\/[\w.-]+)((?:\/[^@]+)?)(?:@([\w./-]+))?$/;
const COMMIT = /^[0-9a-f]{40}$/;

/**
 * `org/name`, `org/name@revision`, or either with a file's path inside, `org/name/file.gguf@revision`; null for anything
 * else, such as a path that starts with a dot or a slash.
 */
export function parseHubId(
  text: string,
  kind: HubRepo["kind"],
): { repo: HubRepo; path: string | null } | null {
  const [, name, path = "", revision = "main"] = ID.exec(text) ?? [];
  if (name === undefined || /(^|\/)\.{1,2}(\/|$)/.test(text) || text.startsWith(".")) return null;
  return { repo: { kind, name, revision }, path: path === "" ? null : path.slice(1) };
}

/** `org/name` or `org/name@revision`, for people. */
export function describeRepo({ kind, name, revision }: HubRepo): string {
  return `${kind} ${name}${revision === "main" ? "" : `@${revision}`}`;
}

/** Whether a revision is a commit, which never changes. */
export function isCommit(revision: string): boolean {
  return COMMIT.test(revision);
}

/** The folder of a repository in the cache. */
export function repoFolder(cache: string, { kind, name }: HubRepo): string {
  return join(cache, `${kind}s--${name.replaceAll("/", "--")}`);
}

/** The commit that the cache knows for a revision; null where it knows none. */
export async function cachedCommit(cache: string, repo: HubRepo): Promise<string | null> {
  if (isCommit(repo.revision)) return repo.revision;
  try {
    const text = (await readFile(join(repoFolder(cache, repo), "refs", repo.revision), "utf8")).trim();
    return isCommit(text) ? text : null;
  } catch (error) {
    if (systemCode(error) === undefined) throw error;
    return null;
  }
}

/** The commit of a folder that is a snapshot in a cache; null for any other folder. */
export function commitOfSnapshot(path: string): string | null {
  return (
    /[\\/](?:models|datasets)--[^\\/]+[\\/]snapshots[\\/]([0-9a-f]{40})(?:[\\/]|$)/.exec(path)?.[1] ?? null
  );
}

/** The SHA-256 that a cached blob's name says; null for small files, whose names are git's hashes. */
export function sha256OfBlob(path: string): string | null {
  return /[\\/](?:models|datasets)--[^\\/]+[\\/]blobs[\\/]([0-9a-f]{64})$/.exec(path)?.[1] ?? null;
}
