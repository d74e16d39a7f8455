// A fault at every store call and every file-system call of a small run, one at a time, of every kind; and the power cut at
// every point of its history. What test/faults.test.ts does in part.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { FaultKind } from "../../src/store/faulty.js";
import {
  cutPower,
  endTrial,
  failFileCall,
  failStoreCall,
  findWrong,
  journalOfTwo,
  startTrial,
  survivals,
  type Trial,
} from "../fault-sweep.js";

const FILE_FAULTS: readonly FaultKind[] = ["refused", "lost", "full", "killed"];
const STORE_FAULTS: readonly FaultKind[] = ["refused", "lost", "repeated"];

describe.each(["safetensors", "pkl.gz"] as const)("%s", (format) => {
  let trial: Trial;
  beforeAll(async () => {
    trial = await startTrial({ format });
  });
  afterAll(() => endTrial(trial));

  // The calls that a format makes differ in number only: every kind of fault for the one, one after the other for the other.
  const isWhole = format === "safetensors";
  const some = <T>(items: readonly T[], at: number) =>
    isWhole ? items : items.filter((_, i) => i === at % items.length);

  it("a fault in any call to the disk", async () => {
    expect(trial.fileCalls.length).toBeGreaterThan(200);
    const trials = trial.fileCalls.flatMap((_, at) =>
      some(FILE_FAULTS, at).map((kind) => () => failFileCall(trial, at, kind)),
    );
    console.log(`${trials.length} faults in ${trial.fileCalls.length} calls to the disk`);
    expect(await findWrong(trials)).toEqual([]);
  });

  it.each(["file", "memory"] as const)("a fault in any call to the %s store", async (kind) => {
    const trials = trial.storeCalls.flatMap((_, at) =>
      some(STORE_FAULTS, at).map((fault) => () => failStoreCall(trial, kind, at, fault)),
    );
    console.log(`${trials.length} faults in ${trial.storeCalls.length} calls to the store`);
    expect(await findWrong(trials)).toEqual([]);
  });

  it("a power cut at any point, and a worker started on what is left", async () => {
    const { journal } = trial;
    const states = survivals(isWhole ? 30 : 5).flatMap((survives, i) =>
      Array.from(
        { length: journal.length + 1 },
        (_, point) => () => cutPower(trial, journal, point, survives, isWhole && i < 2),
      ),
    );
    console.log(`${states.length} states of the disk after a power cut`);
    expect(await findWrong(states)).toEqual([]);
  });

  it("a power cut after a worker was killed anywhere between making a name and making it durable", async () => {
    for (const linked of trial.fileCalls.filter((call) => /^link (tpu_|units|run\.json)/.test(call))) {
      const journal = await journalOfTwo(trial, linked.slice("link ".length));
      const states = survivals(10).flatMap((survives) =>
        Array.from(
          { length: journal.length + 1 },
          (_, point) => () => cutPower(trial, journal, point, survives, false),
        ),
      );
      expect(await findWrong(states), linked).toEqual([]);
    }
  });
});
