// A fault at every store call and every file-system call of a small run, one at a time, of every kind; and the power cut at
// every point of its history. What test/faults.test.ts does in part. Several files call it, each for other runs, to go side by side.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DiskJournal, DiskState } from "../../src/store/disk-journal.js";
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

/** The ways in which a call to the disk can fail that are not those of another call: no reply is lost where there is no effect. */
function faultsOf(call: string): readonly FaultKind[] {
  if (/^(stat|list|read|close) /.test(call)) return ["refused"];
  if (/^sync/.test(call)) return ["refused", "killed"];
  if (/^(rename|unlink) /.test(call)) return ["refused", "lost", "killed"];
  return ["refused", "lost", "full", "killed"];
}
const STORE_FAULTS: readonly FaultKind[] = ["refused", "lost", "repeated"];

/** A run to be swept. */
interface SweptRun {
  readonly name: string;
  readonly format: "safetensors" | "pkl.gz";
  /** What the run starts from. */
  readonly damage?: (whole: DiskState) => DiskState;
  /** Every kind of fault in every call; else one kind after the other. */
  readonly isThorough: boolean;
}

/** The sweeps over one run's calls and effects. */
export function sweepFaults({ name, format, damage, isThorough }: SweptRun): void {
  describe(name, () => {
    let trial: Trial;
    beforeAll(async () => {
      trial = await startTrial({ format }, damage);
    });
    afterAll(() => endTrial(trial));

    const some = <T>(items: readonly T[], at: number) =>
      isThorough ? items : items.filter((_, i) => i === at % items.length);
    const pointsOf = (journal: DiskJournal) =>
      Array.from({ length: journal.length + 1 - journal.start }, (_, i) => journal.start + i);

    it("a fault in any call to the disk", async () => {
      expect(trial.fileCalls.length).toBeGreaterThan(200);
      expect(Object.keys(trial.objects).some((name) => name.includes("/alt/"))).toBe(damage !== undefined);
      const trials = trial.fileCalls.flatMap((call, at) =>
        some(faultsOf(call), at).map((kind) => () => failFileCall(trial, at, kind)),
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
      const states = survivals(isThorough ? 27 : 5).flatMap((survives, i) =>
        pointsOf(journal).map(
          (point) => () => cutPower(trial, journal, point, survives, isThorough && i < 1),
        ),
      );
      console.log(`${states.length} states of the disk after a power cut`);
      expect(await findWrong(states)).toEqual([]);
    });

    it("a power cut after a worker was killed anywhere between making a name and making it durable", async () => {
      for (const linked of trial.fileCalls.filter((call) => /^link (tpu_|units|run\.json)/.test(call))) {
        const journal = await journalOfTwo(trial, linked.slice("link ".length));
        const states = survivals(7).flatMap((survives) =>
          pointsOf(journal).map((point) => () => cutPower(trial, journal, point, survives, false)),
        );
        expect(await findWrong(states), linked).toEqual([]);
      }
    });
  });
}
