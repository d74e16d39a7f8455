// Who may work on what, as two workers see it, each by its own clock.

import { beforeEach, expect, it } from "vitest";
import { realClock } from "../base/clock.js";
import { ownProcess } from "../base/process-identity.js";
import { Faults, FaultyStore } from "../store/faulty.js";
import { MemoryStore } from "../store/memory.js";
import type { Store } from "../store/store.js";
import { Leases } from "./leases.js";

const UNIT = { stream: 0, index: 0, from: 0, to: 8 };
const WHAT = "tpu_0/shard_0001";
let store: MemoryStore;
/** The clock of whoever looks; nobody else's is ever read. */
let now: number;
beforeEach(() => {
  store = new MemoryStore();
  now = 1e6;
});

/** A worker of which nothing is known but its heartbeat, unless a process is given. */
function leasesOf(worker: string, process: ReturnType<typeof ownProcess> = null, through: Store = store) {
  return new Leases(through, { worker, process, leaseSeconds: 60, clock: { ...realClock, now: () => now } });
}

async function beat(worker: string, count: number, status = "running"): Promise<void> {
  await store.replace(`workers/${worker}.json`, Buffer.from(JSON.stringify({ status, count })));
}

async function names(): Promise<string[]> {
  const found: string[] = [];
  for await (const { name } of store.list("leases/")) found.push(name);
  return found;
}

it("is one worker's until it is given up", async () => {
  const [a, b] = [leasesOf("a"), leasesOf("b")];
  await beat("a", 1);
  const lease = await a.claim(WHAT);
  expect(lease).toMatchObject({ name: `leases/${WHAT}.0` });
  expect(await a.claim(WHAT), "held by itself").toBeNull();
  expect(await b.claim(WHAT), "taken in this moment").toBeNull();
  await b.refresh();
  expect(await b.claim(WHAT)).toBeNull();
  if (lease) await a.release(lease);
  await b.refresh();
  expect(await b.claim(WHAT)).toMatchObject({ what: WHAT });
});

it("passes on when its holder's heartbeat has not changed between two looks, a lease time apart", async () => {
  const [a, b] = [leasesOf("a"), leasesOf("b")];
  await beat("a", 1);
  await a.claim(WHAT);
  await b.refresh();
  now += 59_999;
  await b.refresh();
  expect(await b.isHeld(WHAT)).toBe(true);
  await beat("a", 2);
  now += 59_999;
  await b.refresh();
  now += 59_999;
  await b.refresh();
  expect(await b.claim(WHAT), "it was seen to beat less than a lease time ago").toBeNull();
  now += 1;
  expect(await b.claim(WHAT)).toMatchObject({ name: `leases/${WHAT}.1` });
  expect(await names()).toEqual([`leases/${WHAT}.1`]);
});

it("passes on at once when its holder said that it had ended, or is a process of this machine that is gone", async () => {
  const b = leasesOf("b");
  await beat("a", 1, "preempted");
  await leasesOf("a").claim(WHAT);
  const me = ownProcess();
  if (me) await leasesOf("dead", { ...me, pid: 2 ** 22 + 1 }).claim("tpu_0/shard_0002");
  if (me) await leasesOf("alive", me).claim("tpu_0/shard_0003");
  await b.refresh();
  expect(await b.claim(WHAT)).not.toBeNull();
  if (me) expect(await b.claim("tpu_0/shard_0002")).not.toBeNull();
  if (me) expect(await b.claim("tpu_0/shard_0003")).toBeNull();
});

it("of which nothing is known but that it is taken is nobody's to take over before the next look", async () => {
  const me = ownProcess();
  if (!me) return;
  const b = new Leases(store, { worker: "b", process: me, leaseSeconds: 60, readsPerLook: 16 });
  await b.refresh();
  await leasesOf("dead", { ...me, pid: 2 ** 22 + 1 }).claim(WHAT);
  expect(await b.claim(WHAT), "the store says that it exists").toBeNull();
  expect(await b.claim(WHAT), "its version is not known, and so it cannot be removed").toBeNull();
  await b.refresh();
  await b.refresh();
  expect(await b.claim(WHAT)).toBeNull(); // Young, where requests count.
  expect(await names()).toEqual([`leases/${WHAT}.0`]);
});

it("of ours that we do not hold is nobody's: the reply to its creation was lost", async () => {
  const faults = new Faults((calls) => calls.at(-1) === `create leases/${WHAT}.0`, "repeated");
  const a = leasesOf("a", ownProcess(), new FaultyStore(store, faults));
  expect(await a.claim(WHAT), "the store says that it exists").toBeNull();
  expect(await a.claim(WHAT)).toMatchObject({ name: `leases/${WHAT}.1` });
  expect(await names()).toEqual([`leases/${WHAT}.1`]);
});

it("counts a failure once whose reply was lost", async () => {
  const faults = new Faults((calls) => calls.at(-1) === `create leases/${WHAT}.failed.1`, "repeated");
  const a = leasesOf("a", null, new FaultyStore(store, faults));
  expect(await a.noteFailure(UNIT, "one")).toBe(1);
  expect(await names()).toEqual([`leases/${WHAT}.failed.1`]);
});

it("counts the failures of all workers, and forgets them when asked to", async () => {
  const [a, b] = [leasesOf("a"), leasesOf("b")];
  expect(await a.noteFailure(UNIT, "one")).toBe(1);
  expect(await b.noteFailure(UNIT, "two"), "by somebody who had not looked").toBe(2);
  await a.refresh();
  expect(a.failures(UNIT)).toBe(2);
  expect(await a.lastFailure(UNIT)).toBe("two");
  await a.clearFailures();
  expect(a.failures(UNIT)).toBe(0);
  expect(await names()).toEqual([]);
});

it("has given up everything when it says so, also what somebody else was giving up", async () => {
  let remove = () => {};
  const slow = new Promise<void>((resolve) => {
    remove = resolve;
  });
  const a = leasesOf("a", null, {
    uri: store.uri,
    create: (name, body) => store.create(name, body),
    replace: (name, body) => store.replace(name, body),
    head: (name) => store.head(name),
    read: (name) => store.read(name),
    list: (prefix) => store.list(prefix),
    remove: (name, version) => slow.then(() => store.remove(name, version)),
  });
  const lease = await a.claim(WHAT);
  if (!lease) throw new Error("no lease");
  void a.release(lease);
  const all = a.releaseAll();
  remove();
  await all;
  expect(await names()).toEqual([]);
});
