// Who works on a run, and who only seems to. A worker that was killed cannot say so: where its process was one of this
// machine, the machine tells; elsewhere a heartbeat that does not change between two looks is the sign. For people only:
// nothing that matters depends on it (leases look for themselves).

import { setTimeout as sleep } from "node:timers/promises";
import { parseJsonBytes } from "../base/parse-json.js";
import { isAlive } from "../base/process-identity.js";
import { mapAhead } from "../base/read-ahead.js";
import { type HeartbeatState, heartbeatSchema } from "../run/heartbeat.js";
import type { Store } from "../store/store.js";

/** A worker's last heartbeat, and what is to be thought of it. */
export type WorkerState = HeartbeatState & {
  /** False for a worker that has ended, is gone or silent. */
  readonly alive: boolean;
  /** Of a worker that did not end in order: its process is gone, or it has not been heard of between two looks. */
  readonly lost: "gone" | "silent" | null;
};

/** How the looks are taken; the clocks are for tests. */
export interface WorkerLook {
  readonly onWait?: ((workers: number, seconds: number) => void) | undefined;
  /** Milliseconds of the wall clock. Only ever says whether a second look is worth the wait. */
  readonly now?: () => number;
  readonly wait?: (ms: number) => Promise<unknown>;
}

const ENDED: readonly string[] = ["complete", "preempted", "failed"];
/** Beats that may be late before a second look is worth it, and beats that it waits for. */
const FRESH_BEATS = 3;
const WAITED_BEATS = 2.5;
const POLL_MS = 500;
const READS_AT_ONCE = 64;

/** The workers' last heartbeats, by worker id and start. Waits some seconds where one of them can only be told dead by its silence. */
export async function readWorkers(store: Store, look: WorkerLook = {}): Promise<WorkerState[]> {
  const { now = Date.now, wait = sleep, onWait } = look;
  const workers: WorkerState[] = [];
  const doubtful = new Map<string, { state: HeartbeatState; name: string }>();
  const names: string[] = [];
  for await (const { name } of store.list("workers/")) names.push(name);
  const read = async (name: string) => ({ name, state: await readHeartbeat(store, name) });
  for await (const { name, state } of mapAhead(names, READS_AT_ONCE, read)) {
    if (!state) continue;
    const process = state.process ? isAlive(state.process) : undefined;
    const age = now() - Date.parse(state.at);
    if (ENDED.includes(state.status)) workers.push({ ...state, alive: false, lost: null });
    else if (process === false) workers.push({ ...state, alive: false, lost: "gone" });
    else if (process === true || Math.abs(age) < FRESH_BEATS * 1000 * state.beat_seconds)
      workers.push({ ...state, alive: true, lost: null });
    else doubtful.set(state.uuid, { state, name });
  }
  const longest = Math.max(0, ...[...doubtful.values()].map(({ state }) => state.beat_seconds));
  const waitMs = longest * 1000 * WAITED_BEATS;
  if (doubtful.size > 0) onWait?.(doubtful.size, waitMs / 1000);
  for (let waited = 0; doubtful.size > 0 && waited < waitMs; waited += POLL_MS) {
    await wait(POLL_MS);
    for (const [uuid, { state, name }] of doubtful) {
      const again = await readHeartbeat(store, name);
      if (!again || again.beat === state.beat) continue;
      workers.push({ ...again, alive: !ENDED.includes(again.status), lost: null });
      doubtful.delete(uuid);
    }
  }
  for (const { state } of doubtful.values()) workers.push({ ...state, alive: false, lost: "silent" });
  return workers.sort((a, b) => a.worker_id - b.worker_id || a.started.localeCompare(b.started));
}

/** Null for one that cannot be read: heartbeats are for information. */
async function readHeartbeat(store: Store, name: string): Promise<HeartbeatState | null> {
  try {
    return heartbeatSchema.parse(parseJsonBytes(await store.read(name)));
  } catch {
    return null;
  }
}
