// A run opened for reading: its identity and its log. Needs nothing but the run's folder.

import { SluiceError } from "../base/errors.js";
import { decodeRunFile, type RunFile } from "../run/identity.js";
import { CommitLog } from "../run/log.js";
import type { Store } from "../store/store.js";

/** The config of a model is the largest part of it; a hundred thousand streams would be the next. */
const MAX_RUN_FILE_BYTES = 64_000_000;

/** A run and its commits. */
export interface ReadableRun {
  readonly store: Store;
  readonly run: RunFile;
  /** Refreshed once. */
  readonly log: CommitLog;
}

/** Opens a run. @throws SluiceError `config` where there is none; `data` where run.json is damaged. */
export async function openRunForReading(store: Store): Promise<ReadableRun> {
  const head = await store.head("run.json");
  if (head === null) {
    for await (const _worker of store.list("workers/")) {
      throw new SluiceError("config", `the run at ${store.uri} has not been created yet`, {
        found: "a worker's heartbeat, and no run.json",
        fix: "The first worker reads the dataset once; look again later, or start extract where none is running.",
      });
    }
    throw new SluiceError("config", `there is no run at ${store.uri}`, {
      expected: "a folder with run.json",
      fix: "Check the path.",
    });
  }
  if (head.size > MAX_RUN_FILE_BYTES)
    throw new SluiceError("data", `${store.uri}/run.json is too large to be one`, {
      found: `${head.size} bytes`,
      expected: `at most ${MAX_RUN_FILE_BYTES}`,
    });
  const bytes = await store.read("run.json");
  const run = decodeRunFile(bytes, store.uri);
  const log = new CommitLog(store, run, bytes);
  await log.refresh(true);
  return { store, run, log };
}
