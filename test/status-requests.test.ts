// How far a run in a bucket is, asked with few requests: a commit is read only where nothing else says yet what is in it.

import { expect, it } from "vitest";
import { unitAt } from "../src/plan/unit.js";
import { openRunForReading } from "../src/read/open-run.js";
import { readStatus } from "../src/read/status.js";
import { describeStream, writeDescribed, writeIndex } from "../src/run/derived.js";
import { CommitLog, commitName } from "../src/run/log.js";
import { CountingStore } from "./fleet/counting-store.js";
import { commitOf, dataOf, makeRun, RECORDS_A_SHARD } from "./fleet/made-run.js";

const STREAMS = 4;
const UNITS = 200;

/** A run in which so many units of each stream are committed, each with numbers of its own. */
async function fillRun(committed: readonly number[]) {
  const store = new CountingStore();
  const { run, bytes } = makeRun(STREAMS, UNITS);
  store.fill("run.json", bytes);
  for (const [stream, count] of committed.entries())
    for (let index = 0; index < count; index++) {
      const unit = unitAt(stream, index, UNITS * RECORDS_A_SHARD, RECORDS_A_SHARD);
      const isEmpty = index % 50 === 7;
      const commit = {
        ...commitOf(run, unit, "a"),
        ...(isEmpty ? { data: null, size: 0, samples: 0, tokens: 0 } : { tokens: 1000 * stream + index }),
      };
      store.fill(commitName(unit), Buffer.from(`${JSON.stringify(commit)}\n`));
      if (!isEmpty) store.fill(commitName(unit).replace(".json", ".safetensors"), dataOf(unit));
    }
  const log = new CommitLog(store, run, bytes);
  await log.refresh();
  const summaries = await log.summarise();
  return { store, run, log, summaries };
}

type Filled = Awaited<ReturnType<typeof fillRun>>;

/** The status, and what it asked for; against the sums over all commits. */
async function ask({ store, summaries }: Filled) {
  for (const kind of Object.keys(store.requests)) delete store.requests[kind];
  const { shards, records, samples, tokens, bytes } = await readStatus(await openRunForReading(store));
  const { list = 0, "read commit": commits = 0, ...others } = store.requests;
  const all = [...summaries.all()];
  const sum = (of: (one: (typeof all)[number]) => number) => all.reduce((total, one) => total + of(one), 0);
  expect({ shards, records, samples, tokens, bytes }).toEqual({
    shards: all.length,
    records: sum(({ from, to }) => to - from),
    samples: sum((one) => one.samples),
    tokens: sum((one) => one.tokens),
    bytes: sum(({ size }) => size),
  });
  return { list, commits, others: Object.values(others).reduce((total, one) => total + one, 0) };
}

it("reads the index of a complete run, and no commit", async () => {
  const filled = await fillRun([UNITS, UNITS, UNITS, UNITS]);
  const { store, run, summaries } = filled;
  // Nobody has written anything yet: all must be read.
  expect((await ask(filled)).commits).toBe(STREAMS * UNITS);
  await writeIndex(store, run, summaries, {});
  // run.json and index.json, each looked for and read; workers, and the run in two pages.
  expect(await ask(filled)).toEqual({ commits: 0, others: 4, list: 3 });
});

it("reads a file of each stream, and the commits that came since it was written", async () => {
  const filled = await fillRun([UNITS, 150, 150, 0]);
  const { store, run, log, summaries } = filled;
  await writeDescribed(store, run, 0, await log.describeCommits(0));
  const early = summaries.of(1).filter(({ unit }) => unit < 140);
  const metadata = describeStream(run, early, { records: 0, tensors: {} });
  store.fill("tpu_1/metadata.json", Buffer.from(JSON.stringify(metadata)));
  store.fill("tpu_2/metadata.json", Buffer.from(JSON.stringify({ ...Object(metadata), run: "another" })));
  // Of stream 1: ten commits, and three that hold no sample, which metadata.json does not name.
  expect(await ask(filled)).toMatchObject({ commits: 13 + 150, others: 2 + 3 });

  // What was written down of a commit that is another object by now is not believed.
  const unit = unitAt(0, 5, UNITS * RECORDS_A_SHARD, RECORDS_A_SHARD);
  const again = { ...commitOf(run, unit, "b"), tokens: 5 };
  await store.replace(commitName(unit), Buffer.from(`${JSON.stringify(again)}\n`));
  expect(await ask(filled)).toMatchObject({ commits: 1 + 13 + 150 });
});
