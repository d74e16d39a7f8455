// Each file of a run is deleted, one at a time, and random halves of them: of a run that is finished, and of one that was stopped
// in the middle. A worker that is started on what is left completes it, or says that data are bad; it never ends well while something is missing.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { randomNumbers } from "../../src/base/random.js";
import type { DiskState } from "../../src/store/disk-journal.js";
import { deleteFiles, endTrial, findWrong, startTrial, stoppedAt, type Trial } from "../fault-sweep.js";

const HALVES = 24;

let trial: Trial;
beforeAll(async () => {
  trial = await startTrial();
});
afterAll(() => endTrial(trial));

describe.each([
  ["a finished run", () => [trial.journal.length]],
  [
    "a run that was stopped before, between and after its commits",
    () => [0.4, 0.6, 0.75, 0.9].map((share) => Math.floor(share * trial.journal.length)),
  ],
] as const)("%s", (name, pointsOf) => {
  const states = (): DiskState[] => pointsOf().map((point) => stoppedAt(trial, point));
  const filesOf = (state: DiskState) => [...state.keys()].filter((path) => !path.endsWith("/"));

  it("can lose any one file", async () => {
    const trials = states().flatMap((state) =>
      filesOf(state).map((lost) => () => deleteFiles(trial, state, (path) => path === lost)),
    );
    const commits = states().map(
      (state) => filesOf(state).filter((path) => /^tpu_\d\/shard_\d+\.json$/.test(path)).length,
    );
    console.log(`${trials.length} files of ${name}; commits: ${commits.join(", ")}`);
    expect(trials.length).toBeGreaterThan(10);
    expect(await findWrong(trials)).toEqual([]);
  });

  it("can lose any half of its files", async () => {
    const random = randomNumbers(name);
    const trials = states().flatMap((state) =>
      Array.from({ length: HALVES }, () => {
        const lost = new Set(filesOf(state).filter(() => random() % 2 === 0));
        return () => deleteFiles(trial, state, (path) => lost.has(path));
      }),
    );
    expect(await findWrong(trials)).toEqual([]);
  });
});
