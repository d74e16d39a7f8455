// What must always hold of a run's bucket, checked at every change, and what must hold of it at the end. It knows the protocol
// from its promises alone: which bytes a unit has was found by a worker that nobody disturbed.

import { createHash } from "node:crypto";
import { unitName } from "../../src/plan/unit.js";
import { type Commit, decodeCommit } from "../../src/run/commit.js";
import { decodeRunFile } from "../../src/run/identity.js";
import type { Bucket, Change } from "./bucket.js";
import type { Counts } from "./counts.js";
import type { SimulatedDataset } from "./datasets.js";

/** Something that must never happen has happened. */
export class InvariantBroken extends Error {
  constructor(message: string) {
    super(message);
    this.name = "InvariantBroken";
  }
}

type Json = Readonly<Record<string, unknown>>;

const COMMIT = /^(tpu_(\d+)\/shard_\d+)\.json$/;
const DATA = /^tpu_\d+\/(alt\/)?shard_\d+(-[0-9a-f]{8})?\.safetensors$/;
const REPLACED =
  /^(workers\/[^/]+\.json|tpu_\d+\/(metadata|commits)\.json|checkpoints\/[^/]+\.json|index\.json)$/;

/** Who may do what no worker may. */
export const WORLD = "world";

/** Whether a machine of any kind computes those bytes for that unit; null for a unit without data. */
export type IsExpected = (unit: string, sha256: string | null) => boolean;

/** Watches a bucket. */
export class Checker {
  /** By name. */
  readonly commits = new Map<string, Commit>();
  readonly #bucket: Bucket;
  readonly #dataset: SimulatedDataset;
  readonly #isExpected: IsExpected;
  readonly #counts: Counts;
  #run: string | undefined;

  constructor(bucket: Bucket, dataset: SimulatedDataset, isExpected: IsExpected, counts: Counts) {
    this.#bucket = bucket;
    this.#dataset = dataset;
    this.#isExpected = isExpected;
    this.#counts = counts;
    bucket.watch((change, who) => this.#see(change, who));
  }

  get isComplete(): boolean {
    return this.commits.size === this.#dataset.units;
  }

  /** The leases that name a worker of that host. */
  leasesOf(host: string): string[] {
    const read = (name: string) => JSON.parse(Buffer.from(this.#bucket.read(name)).toString()) as Json;
    const names = this.#bucket.names();
    const workers = names.filter((name) => name.startsWith("workers/")).map(read);
    const own = new Set(workers.filter((worker) => worker.host === host).map(({ uuid }) => uuid));
    return names.filter(
      (name) => /^leases\/.*\.\d+$/.test(name) && !name.includes(".failed.") && own.has(read(name).worker),
    );
  }

  #see(change: Change, who: string): void {
    const { kind, name } = change;
    if (who === WORLD) return;
    if (kind === "create") this.#seeCreation(name, change.bytes);
    else if (kind === "replace") this.#seeReplacement(name, change.bytes);
    else this.#seeRemoval(name);
  }

  #seeCreation(name: string, bytes: Uint8Array): void {
    if (name === "run.json") this.#run = decodeRunFile(bytes, "run.json").run;
    if (/^leases\/.*\.failed\.\d+$/.test(name)) this.#counts.add("failed attempts noted");
    else if (/^leases\/.*\.[1-9]\d*$/.test(name)) this.#counts.add("takeovers");
    if (/^tpu_\d+\/commits\//.test(name)) this.#counts.add("notes written");
    if (COMMIT.test(name)) this.#seeCommit(name, bytes);
    else if (DATA.test(name)) this.#seeData(name, bytes);
  }

  #seeCommit(name: string, bytes: Uint8Array): void {
    const commit = decodeCommit(name, bytes);
    const unit = unitName({ stream: commit.stream, index: commit.unit });
    if (`${unit}.json` !== name || commit.run !== this.#run)
      throw new InvariantBroken(`${name} is of ${unit}, run ${commit.run}`);
    if (!this.#isExpected(unit, commit.sha256))
      throw new InvariantBroken(`${name} names bytes that no machine computes`);
    if (commit.data !== null) this.#checkData(name, commit);
    this.commits.set(name, commit);
    if (commit.by.worker_id !== commit.stream) this.#counts.add("units of other streams done");
    if (commit.data?.startsWith("alt/")) this.#counts.add("commits of alt/ data");
  }

  /** The data that a commit names are there, and are what it says. */
  #checkData(name: string, commit: Commit): void {
    const data = `tpu_${commit.stream}/${commit.data}`;
    const there = this.#bucket.head(data);
    if (!there) throw new InvariantBroken(`${name} names ${data}, which is not there`);
    if (there.size !== commit.size || sha256(this.#bucket.read(data)) !== commit.sha256)
      throw new InvariantBroken(`${name} names ${data}, which holds other bytes`);
  }

  #seeData(name: string, bytes: Uint8Array): void {
    const unit = name.replace("alt/", "").replace(/(-[0-9a-f]{8})?\.safetensors$/, "");
    if (!this.#isExpected(unit, sha256(bytes)))
      throw new InvariantBroken(`${name} holds bytes that no machine computes`);
    const commit = this.commits.get(`${unit}.json`);
    if (commit && `tpu_${commit.stream}/${commit.data}` === name) this.#counts.add("repairs");
  }

  #seeReplacement(name: string, bytes: Uint8Array): void {
    if (!REPLACED.test(name)) throw new InvariantBroken(`${name} was overwritten`);
    if (name === "index.json" && !this.isComplete)
      throw new InvariantBroken("index.json of a run that is not complete");
    if (name.startsWith("workers/") && Buffer.from(bytes).includes('"status":"waiting"'))
      this.#counts.add("heartbeats while waiting");
  }

  /** Leases, heartbeats and notes go at any time, and so may data that no commit names, whoever removes them; nothing else. */
  #seeRemoval(name: string): void {
    if (/^(leases|workers|tpu_\d+\/commits)\//.test(name)) return;
    if (!DATA.test(name)) throw new InvariantBroken(`${name} was removed`);
    for (const commit of this.commits.values())
      if (`tpu_${commit.stream}/${commit.data}` === name)
        throw new InvariantBroken(`${name} was removed, which a commit names`);
    this.#counts.add("orphans collected");
  }

  /** The run is whole: every unit has its commit and data, every record is there once, and the index says so. */
  checkEnd(): void {
    const found = new Array<number>(this.#dataset.records).fill(0);
    for (const [stream, { units }] of this.#dataset.tables.entries()) {
      for (const index of units.keys()) {
        const name = `${unitName({ stream, index })}.json`;
        const commit = this.#readCommit(name);
        for (const { record } of commit.skipped) found[record] = (found[record] ?? 0) + 1;
        if (commit.data === null) continue;
        this.#checkData(name, commit);
        const shard = this.#bucket.read(`tpu_${stream}/${commit.data}`);
        for (const record of recordsIn(shard)) found[record] = (found[record] ?? 0) + 1;
      }
    }
    const wrong = found.findIndex((times) => times !== 1);
    if (wrong >= 0) throw new InvariantBroken(`record ${wrong} is there ${found[wrong]} times`);
    this.#checkIndex();
  }

  /** The commit that is there now, which must be the one that was created. */
  #readCommit(name: string): Commit {
    const commit = this.commits.get(name);
    if (!commit || !this.#bucket.head(name)) throw new InvariantBroken(`${name} is not there`);
    const now = decodeCommit(name, this.#bucket.read(name));
    if (now.by.attempt !== commit.by.attempt) throw new InvariantBroken(`${name} has changed`);
    return commit;
  }

  #checkIndex(): void {
    if (!this.#bucket.head("index.json")) throw new InvariantBroken("index.json is not there");
    const index = JSON.parse(Buffer.from(this.#bucket.read("index.json")).toString()) as {
      readonly shards: readonly {
        readonly stream: number;
        readonly unit: number;
        readonly sha256: string | null;
      }[];
    };
    const listed = index.shards.map(
      ({ stream, unit, sha256 }) => `${unitName({ stream, index: unit })}.json ${sha256}`,
    );
    const committed = [...this.commits].map(([name, commit]) => `${name} ${commit.sha256}`);
    if (listed.sort().join() !== committed.sort().join())
      throw new InvariantBroken("index.json is not that of the commits");
  }
}

/** The dataset's records that a shard holds, by its own index (safetensors: a header's length, the header, the tensors). */
function recordsIn(shard: Uint8Array): number[] {
  const view = new DataView(shard.buffer, shard.byteOffset, shard.byteLength);
  const start = 8 + Number(view.getBigUint64(0, true));
  const header = JSON.parse(Buffer.from(shard.subarray(8, start)).toString()) as {
    readonly sample_ids: { readonly data_offsets: readonly [number, number] };
  };
  const [from, to] = header.sample_ids.data_offsets;
  return Array.from({ length: (to - from) / 8 }, (_, i) =>
    Number(view.getBigInt64(start + from + 8 * i, true)),
  );
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
