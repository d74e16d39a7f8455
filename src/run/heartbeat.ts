// A worker's heartbeat: `workers/<uuid>.json`, written again by a timer on the main thread. It tells the others that the
// worker's leases are to be respected, and `status` what it is doing. Nothing depends on it for correctness.

import { z } from "zod";
import { type Clock, realClock } from "../base/clock.js";
import { type ProcessIdentity, processIdentitySchema } from "../base/process-identity.js";
import type { Store } from "../store/store.js";

/** What a worker is doing, for `status` and for scripts. */
export const heartbeatSchema = z.object({
  uuid: z.string(),
  worker_id: z.number().int(),
  host: z.string(),
  pid: z.number().int(),
  /** Which process of which machine; null where its system does not tell. */
  process: processIdentitySchema.nullable().default(null),
  status: z.enum(["starting", "running", "waiting", "complete", "preempted", "failed"]),
  /** Counts up with every beat, so that the content changes. */
  beat: z.number().int(),
  /** Seconds between beats. */
  beat_seconds: z.number().positive().default(10),
  /** The worker's own clock; shown to people, never compared. */
  at: z.string(),
  started: z.string(),
  /** The unit that is being computed, such as `tpu_0/shard_0003`. */
  unit: z.string().nullable(),
  /** Since the start of this worker. */
  shards: z.number(),
  samples: z.number(),
  tokens: z.number(),
  tokens_computed: z.number(),
  bytes: z.number(),
  seconds: z.number(),
  message: z.string().nullable(),
});

/** One heartbeat. */
export type HeartbeatState = z.infer<typeof heartbeatSchema>;
/** What the worker says of itself; the rest is the heartbeat's own. */
export type DescribedState = Omit<HeartbeatState, "beat" | "beat_seconds" | "at">;

/** Writes a worker's heartbeat until stopped. */
export class Heartbeat {
  readonly #store: Store;
  readonly #name: string;
  readonly #describe: () => DescribedState;
  readonly #clock: Clock;
  #beat = 0;
  #beatSeconds = 10;
  #end: (() => void) | undefined;
  #writing: Promise<unknown> = Promise.resolve();

  constructor(store: Store, uuid: string, describe: () => DescribedState, clock: Clock = realClock) {
    this.#store = store;
    this.#name = `workers/${uuid}.json`;
    this.#describe = describe;
    this.#clock = clock;
  }

  /** Writes the first beat, and then one every interval ({@link Pace.beatMs}). */
  async start(beatMs: number): Promise<void> {
    this.#beatSeconds = beatMs / 1000;
    await this.#write();
    let isWriting = false;
    this.#end = this.#clock.every(beatMs, () => {
      if (isWriting) return; // A store that stalls would else get all the late ones at once.
      isWriting = true;
      // A beat that fails costs at most a lease: the worker's own calls to the store will say what is wrong with it.
      this.#writing = this.#write()
        .catch(() => {})
        .finally(() => {
          isWriting = false;
        });
    });
  }

  /** Stops beating and writes the last state. */
  async stop(): Promise<void> {
    this.#end?.();
    await this.#writing;
    await this.#write();
  }

  async #write(): Promise<void> {
    const state: HeartbeatState = {
      ...this.#describe(),
      beat: this.#beat++,
      beat_seconds: this.#beatSeconds,
      at: this.#clock.date().toISOString(),
    };
    await this.#store.replace(this.#name, Buffer.from(`${JSON.stringify(state)}\n`));
  }
}

/** Facts of this process that heartbeats and commits carry. */
export interface WorkerIdentity {
  readonly uuid: string;
  readonly workerId: number;
  readonly host: string;
  readonly process: ProcessIdentity | null;
  readonly started: string;
}
