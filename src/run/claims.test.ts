// When a worker that waits asks again: a wait that nothing ends would be a worker that hangs.

import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import type { Unit } from "../plan/unit.js";
import { Claims } from "./claims.js";
import type { Leases } from "./leases.js";
import type { CommitLog } from "./log.js";

const OWN: Unit = { stream: 0, index: 0, from: 0, to: 8 };
const OTHER: Unit = { stream: 1, index: 0, from: 0, to: 8 };

/** A run of one unit a stream, of which the other stream's is committed and its data missing. */
function openClaims(steal: boolean) {
  const committed = new Set<Unit>([OTHER]);
  const log = {
    isRemote: true,
    unitTotal: 2,
    unitCounts: [1, 1],
    get committed() {
      return committed.size;
    },
    isComplete: () => committed.has(OWN),
    units: () => [OWN, OTHER],
    unitsOf: (stream: number) => [stream === 0 ? OWN : OTHER],
    seems: (unit: Unit) => committed.has(unit),
    isCommitted: async (unit: Unit) => committed.has(unit),
    lookAtOpen: async () => 1,
  };
  const leases = {
    refresh: async () => {},
    held: () => [],
    isLeased: () => false,
    failures: () => 0,
    shareOf: () => [0, 1],
    claim: async (what: string) => (what.startsWith("tpu_0/") ? { what } : null),
  };
  const claims = new Claims(log as unknown as CommitLog, leases as unknown as Leases, {
    stream: 0,
    steal,
    uuid: "a",
    repair: Promise.resolve([OTHER]),
  });
  return { claims, committed };
}

it("a worker that holds all that is left to it goes on when that is stored, also where others' data is missing", async () => {
  const { claims, committed } = openClaims(false);
  expect(await claims.next()).toMatchObject({ unit: OWN });
  expect(await claims.next()).toEqual({ kind: "wait" });
  const waited = claims.wait(60_000, new AbortController().signal, AbortSignal.abort());
  committed.add(OWN);
  claims.forget(OWN, true);
  await waited;
  expect(await claims.next()).toEqual({ kind: "complete" });
});

it("a worker that holds all that is left to it waits for that, and no longer than it may", async () => {
  const { claims } = openClaims(false);
  await claims.next();
  const told = new AbortController();
  let isOver = false;
  const waited = claims.wait(1, told.signal, AbortSignal.abort()).then(() => {
    isOver = true;
  });
  await sleep(30);
  expect(isOver, "polls are for those who wait for others").toBe(false);
  told.abort();
  await waited;
});

it("a worker that waits for others looks again after a while", async () => {
  const { claims } = openClaims(true);
  await claims.next();
  expect(await claims.next()).toEqual({ kind: "wait" });
  await claims.wait(1, new AbortController().signal, AbortSignal.abort());
});

it("a worker that waits for others while its engine is busy looks again when it is not", async () => {
  const { claims } = openClaims(true);
  await claims.next();
  expect(await claims.next()).toEqual({ kind: "wait" });
  const wanted = new AbortController();
  let isOver = false;
  const waited = claims.wait(1, new AbortController().signal, wanted.signal).then(() => {
    isOver = true;
  });
  await sleep(30);
  expect(isOver, "nobody wants a unit").toBe(false);
  wanted.abort();
  await waited;
});
