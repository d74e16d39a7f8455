// What happened over many seeds, counted: a simulation in which nothing interesting happens proves nothing.

import { REQUEST_FAULTS, STORE_FAULTS, WORKER_FAULTS } from "./faults.js";

/** What must happen now and then, besides every kind of fault. */
const INTERESTING = [
  "commits of alt/ data",
  "commits found to be their own",
  "commits taken by another",
  "data found to be their own",
  "data taken by another",
  "ended: complete",
  "ended: preempted",
  "ended: store",
  "failed attempts noted",
  "finished shards taken over",
  "files of the run found to be their own",
  "files of the run taken by another",
  "heartbeats while waiting",
  "leases found to be their own",
  "leases taken by another",
  "notes written",
  "left within the grace, leases released",
  "orphans collected",
  "repairs",
  "retries",
  "takeovers",
  "units of other streams done",
  "workers killed",
];

/** Counters by name. */
export class Counts {
  readonly values = new Map<string, number>();

  add(name: string, count = 1): void {
    this.values.set(name, (this.values.get(name) ?? 0) + count);
  }

  of(name: string): number {
    return this.values.get(name) ?? 0;
  }

  /** Adds another's. */
  merge(other: Iterable<readonly [string, number]>): void {
    for (const [name, count] of other) this.add(name, count);
  }

  /** What should have happened in that many seeds, and has not. */
  missing(): string[] {
    const faults = [...REQUEST_FAULTS, ...WORKER_FAULTS, ...STORE_FAULTS].map((fault) => `fault: ${fault}`);
    return [...INTERESTING, ...faults].filter((name) => this.of(name) === 0);
  }

  /** One line a counter, in alphabetical order. */
  table(): string {
    const names = [...this.values.keys()].sort();
    const width = Math.max(0, ...names.map((name) => name.length));
    return names.map((name) => `${name.padEnd(width)}  ${this.of(name).toLocaleString("en")}`).join("\n");
  }
}
