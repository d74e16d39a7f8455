import { expect, it } from "vitest";
import { ownProcess } from "../base/process-identity.js";
import type { HeartbeatState } from "../run/heartbeat.js";
import { MemoryStore } from "../store/memory.js";
import { readWorkers } from "./workers.js";

const NOW = Date.parse("2030-01-01T00:00:00Z");
const ELSEWHERE = { boot: "another", namespace: "n", pid: 7, start: "1" };

async function put(store: MemoryStore, uuid: string, state: Partial<HeartbeatState>): Promise<void> {
  const full: HeartbeatState = {
    uuid,
    worker_id: 0,
    host: "h",
    pid: 7,
    process: ELSEWHERE,
    status: "running",
    beat: 5,
    beat_seconds: 1,
    at: new Date(NOW).toISOString(),
    started: uuid,
    unit: null,
    shards: 0,
    samples: 0,
    tokens: 0,
    tokens_computed: 0,
    bytes: 0,
    seconds: 1,
    message: null,
    ...state,
  };
  await store.replace(`workers/${uuid}.json`, Buffer.from(JSON.stringify(full)));
}

const old = new Date(NOW - 60_000).toISOString();

it("believes the machine where the process is its own, and the worker that says it has ended", async () => {
  const store = new MemoryStore();
  const own = ownProcess();
  if (!own) return; // Only Linux tells.
  await put(store, "a", { process: own, at: old });
  await put(store, "b", { process: { ...own, start: "1" } });
  await put(store, "c", { status: "preempted", at: old });
  const neverWait = () => Promise.reject(new Error("waited"));
  const seen = await readWorkers(store, { now: () => NOW, wait: neverWait });
  expect(seen.map((w) => [w.uuid, w.alive, w.lost])).toEqual([
    ["a", true, null],
    ["b", false, "gone"],
    ["c", false, null],
  ]);
});

it("looks twice at a worker elsewhere that seems old, whatever its clock says", async () => {
  const store = new MemoryStore();
  await put(store, "dead", { at: old });
  await put(store, "slow-clock", { at: old });
  await put(store, "fast-clock", { at: new Date(NOW + 3_600_000).toISOString() });
  await put(store, "ending", { at: old });
  await put(store, "fresh", {});
  const waits: number[] = [];
  const seen = await readWorkers(store, {
    now: () => NOW,
    wait: async (ms) => {
      waits.push(ms);
      if (waits.length !== 2) return;
      await put(store, "slow-clock", { at: old, beat: 6 });
      await put(store, "fast-clock", { at: old, beat: 6 });
      await put(store, "ending", { at: old, beat: 6, status: "complete" });
    },
  });
  expect(Object.fromEntries(seen.map((w) => [w.uuid, w.lost ?? w.alive]))).toEqual({
    dead: "silent",
    "slow-clock": true,
    "fast-clock": true,
    ending: false,
    fresh: true,
  });
  const total = waits.reduce((a, b) => a + b, 0);
  expect(total).toBeGreaterThanOrEqual(2000);
  expect(total).toBeLessThanOrEqual(3000);
});

it("leaves out what cannot be read, and reads heartbeats of before", async () => {
  const store = new MemoryStore();
  await store.replace("workers/torn.json", Buffer.from("{"));
  await put(store, "before", { status: "complete" });
  const text = Buffer.from(await store.read("workers/before.json")).toString();
  const { process: _process, beat_seconds: _beat, ...rest } = JSON.parse(text);
  await store.replace("workers/before.json", Buffer.from(JSON.stringify(rest)));
  expect((await readWorkers(store, { now: () => NOW })).map((w) => w.uuid)).toEqual(["before"]);
});
