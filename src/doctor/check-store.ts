// A store as a run would use it, tried with objects of the check's own below a folder of their own, which is gone afterwards, also
// when the check fails or is told to stop.

import { randomUUID } from "node:crypto";
import { mkdtemp, rm, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { messageOf, SluiceError } from "../base/errors.js";
import { mapAhead } from "../base/read-ahead.js";
import { nodeFileSystem } from "../store/file-system.js";
import { isRemote, type Store, type Stored } from "../store/store.js";
import { checkLargeRace, checkSmallRaces, makeFile } from "./check-create-only.js";
import { checkFolder } from "./check-folder.js";
import { checkVerbs } from "./check-verbs.js";
import { type Finding, findingsOf } from "./finding.js";

const { ok, warning, raised } = findingsOf("store");

/** Of a large object: more than any store takes in one request from us (16 MiB), so that it goes in parts or in a session. */
const LARGE_BYTES = 17 << 20;
const UPLOAD_BYTES = 64_000_000;
/** The measurement of uploads is left out where it would take longer than this. */
const UPLOAD_SECONDS = 8;
const SLOW_BYTES_PER_SECOND = 10e6;
const ROUNDS = 24;

/** What to check, and how. */
export interface CheckStoreOptions {
  /** Where a run would live. */
  readonly output: string;
  /** Opens a place; each call with connections of its own. */
  readonly open: (uri: string) => Store;
  readonly signal?: AbortSignal | undefined;
}

/** Checks a store. @throws the signal's reason, once what was created is removed. */
export async function* checkStore({ output, open, signal }: CheckStoreOptions): AsyncGenerator<Finding> {
  const place = `${output.replace(/\/+$/, "")}/doctor-${randomUUID()}`;
  let stores: [Store, Store];
  try {
    stores = [open(place), open(place)];
  } catch (error) {
    yield raised(output, error);
    return;
  }
  const [store] = stores;
  const isLocal = !isRemote(store);
  const made = isLocal ? await missingParent(store.uri) : undefined;
  const folder = isLocal ? (store.spool ?? "") : await mkdtemp(join(tmpdir(), "sluice-doctor-"));
  let isUsable = true;
  let hasCreated = false;
  try {
    for await (const finding of checkVerbs(store)) {
      signal?.throwIfAborted();
      isUsable &&= finding.state !== "failure";
      hasCreated ||= finding.state === "ok";
      yield finding;
    }
    if (!isUsable) return;
    yield await checkSmallRaces({ stores, signal }, ROUNDS);
    const { finding, bytesPerSecond } = await checkLargeRace({ stores, signal }, folder, LARGE_BYTES);
    yield finding;
    if (isLocal) yield* checkFolder(store.uri, folder, output);
    else if (bytesPerSecond > 0) yield await measureUpload(store, folder, bytesPerSecond, signal);
    signal?.throwIfAborted();
  } finally {
    const left = isLocal ? await removeFolder(store.uri, made) : await removeObjects(open(place));
    if (!isLocal) await rm(folder, { recursive: true, force: true });
    if (left !== null && hasCreated && !signal?.aborted)
      yield warning(`the check could not clean up: ${left}`, `Remove ${place} by hand.`);
  }
}

/** How fast a file goes to the store. @param roughly what the race gave: small objects, two at once. */
async function measureUpload(
  store: Store,
  folder: string,
  roughly: number,
  signal: AbortSignal | undefined,
): Promise<Finding> {
  let rate = roughly;
  try {
    if (UPLOAD_BYTES / roughly < UPLOAD_SECONDS) {
      const { body } = await makeFile(join(folder, "upload"), UPLOAD_BYTES);
      const started = performance.now();
      await store.create("upload", body, signal ? { signal } : {});
      rate = UPLOAD_BYTES / ((performance.now() - started) / 1000);
    }
  } catch (error) {
    signal?.throwIfAborted();
    return raised("uploading", error);
  }
  const values = { upload_mb_per_second: rate / 1e6 };
  const text = `uploads go at ${(rate / 1e6).toFixed(0)} MB/s`;
  if (rate >= SLOW_BYTES_PER_SECOND) return ok(text, values);
  return warning(text, "Run where the bucket is: workers may compute faster than they can upload.", values);
}

/** Removes all that lies in a store of the check's own. @returns why it could not, or null. */
async function removeObjects(store: Store): Promise<string | null> {
  try {
    const found: Stored[] = [];
    for await (const stored of store.list("")) found.push(stored);
    for await (const _ of mapAhead(found, 16, ({ name, version }) => store.remove(name, version)));
    if (store.uploads) for await (const upload of store.uploads.list("")) await store.uploads.abort(upload);
    for await (const { name } of store.list("")) return `${name} is still there`;
    return null;
  } catch (error) {
    return messageOf(error);
  }
}

/** The topmost folder of a path that is not there yet. */
async function missingParent(path: string): Promise<string | undefined> {
  let missing: string | undefined;
  for (let at = path; !(await nodeFileSystem.stat(at)); at = dirname(at)) {
    if (at === dirname(at)) throw new SluiceError("bug", `${path} has no parent`);
    missing = at;
  }
  return missing;
}

/** Removes the check's folder, and its parents that were made for it. */
async function removeFolder(folder: string, topmost: string | undefined): Promise<string | null> {
  try {
    await rm(folder, { recursive: true, force: true });
    for (let at = folder; topmost !== undefined && at.length > topmost.length; ) {
      at = dirname(at);
      await rmdir(at).catch(() => {}); // Somebody has put something there meanwhile.
    }
    return null;
  } catch (error) {
    return messageOf(error);
  }
}
