// `quickstart` as a newcomer meets it: stopped, killed with all its workers, started again, and started once more when all is done.

import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { expect, it } from "vitest";
import { temporaryName } from "../../src/store/temporary.js";
import { DEAD } from "../dead-process.js";
import { Gate } from "../fleet/gate.js";
import { listCommits, type Running, runSluice, startSluice, temporaryFolder, until } from "../helpers.js";

it("goes on after every interruption, and says when all is done", async () => {
  const folder = await temporaryFolder();
  const run = join(folder, "run");
  const start = (env = {}) => startSluice(["quickstart", "--output", folder], env, true);
  // Some shards, and no more before all workers live: on a busy machine most of them may be stored when the last one begins. (Who finds
  // the gate open at the same time goes through it together: three more, and fewer than those after which the quickstart kills one itself.)
  const gate = await Gate.close(await temporaryFolder());
  /** Until there are so many commits, and so many workers have said that they live. */
  const untilThere = (program: Running, commits: number, workers: number) =>
    until(async () => {
      const seen = await readdir(join(run, "workers")).catch(() => []);
      return (await listCommits(run)).length >= commits && seen.length >= workers;
    }, program);

  // Streams half written: what a crash in the first second leaves.
  await mkdir(join(folder, "streams"));
  const torn = join(folder, "streams", `${temporaryName(DEAD)}.tmp`);
  await writeFile(torn, '{"id": "torn');

  // Told to stop: the workers, which know nothing of the signal, stop too.
  await gate.allow(2);
  const stopped = start(gate.env);
  await untilThere(stopped, 2, 4);
  stopped.child.kill("SIGTERM");
  await gate.allow(Number.POSITIVE_INFINITY);
  const ended = await stopped.ended;
  expect(ended).toMatchObject({ code: 75, stderr: expect.stringContaining("Start the same command again") });
  const status = JSON.parse((await runSluice(["status", run, "--json"])).stdout);
  const workers: { alive: boolean; lost: string | null }[] = status.workers;
  expect(workers.length).toBeGreaterThanOrEqual(4);
  expect(workers.filter(({ alive }) => alive)).toEqual([]);
  expect(workers.filter(({ lost }) => lost !== null)).toEqual([]);

  // Killed, workers and all.
  const before = (await listCommits(run)).length;
  await gate.allow((await gate.countBegun()) + 3);
  const killed = start(gate.env);
  await untilThere(killed, before + 3, workers.length + 4);
  process.kill(-(killed.child.pid ?? 0), "SIGKILL");
  expect(await killed.ended).toMatchObject({ signal: "SIGKILL" });
  const after = (await runSluice(["status", run])).stdout;
  expect(after.match(/ gone /g)?.length).toBeGreaterThanOrEqual(4);
  expect(after).toContain("nobody is running");

  const whole = await start().ended;
  expect(whole, whole.stderr).toMatchObject({ code: 0 });
  expect(whole.stdout).toMatch(/Going on with the run in .*: \d+ of 80 shards/);
  expect(whole.stderr).toMatch(/worker 1 was killed \(SIGKILL\) at \d+ of 80 shards, and is started again/);
  expect(whole.stdout).toContain("complete: 800 of 800 records are committed, each once");
  expect(whole.stdout).toContain("Try next:");
  const streams = JSON.parse(await readFile(join(folder, "streams/streams.json"), "utf8"));
  expect(streams).toMatchObject({ records: 800, num_streams: 4 });
  expect(await readdir(join(folder, "streams"))).not.toContain(basename(torn));

  const again = await start().ended;
  expect(again).toMatchObject({ code: 0, stdout: expect.stringContaining("is complete already") });
  expect(again.stdout).toContain("complete: 800 of 800 records");
});
