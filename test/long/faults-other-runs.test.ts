// One fault after the other in a run of another format, and in one that is in need of repair.

import { expect } from "vitest";
import type { DiskState } from "../../src/store/disk-journal.js";
import { sweepFaults } from "./fault-sweeps.suite.js";

sweepFaults({ name: "a new run of pkl.gz", format: "pkl.gz", isThorough: false });
sweepFaults({ name: "a run in need of repair", format: "safetensors", damage, isThorough: false });

/** Other hardware left data without a commit under one shard's name; the data of another, committed, is gone. */
function damage(whole: DiskState): DiskState {
  const state = new Map(whole);
  const orphan = "tpu_0/shard_0001.safetensors";
  for (const name of ["index.json", "tpu_0/shard_0001.json", "tpu_0/shard_0002.safetensors"])
    expect(state.delete(name)).toBe(true);
  state.set(
    orphan,
    (state.get(orphan) ?? new Uint8Array()).map((byte, i, { length }) =>
      i === length - 1 ? byte ^ 1 : byte,
    ),
  );
  return state;
}
