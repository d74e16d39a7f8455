// What is found of others in a spool folder, and what of it may go.

import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { commitOf, makeRun } from "../../test/fleet/made-run.js";
import { realClock } from "../base/clock.js";
import type { ProcessIdentity } from "../base/process-identity.js";
import { unitAt, unitName } from "../plan/unit.js";
import { nodeFileSystem } from "../store/file-system.js";
import { type Maker, temporaryName } from "../store/temporary.js";
import { FinishedShards, MARK } from "./finished-shards.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-finished-"));
});
afterAll(() => rm(folder, { recursive: true }));

/** A process of one boot, in a container of its own where the namespace is another. */
function makerOf(namespace: string, pid: number): Maker {
  const me: ProcessIdentity = { boot: "b00", namespace, pid, start: "1" };
  const isAlive = (other: ProcessIdentity) => (other.namespace === namespace ? other.pid === pid : undefined);
  return { clock: realClock, processes: { own: () => me, isAlive } };
}

it("keeps no more of the dead than is of use, and leaves what another container may be storing", async () => {
  const { run } = makeRun(1, 40);
  const leave = async (index: number, maker: Maker) => {
    const unit = unitAt(0, index, 160, 4);
    const file = join(folder, `${temporaryName(maker)}.shard`);
    await writeFile(file, "bytes");
    const mark = {
      unit: unitName(unit),
      hash: { size: 5, sha256: "0", crc32c: "0" },
      compressed: null,
      commit: commitOf(run, unit, "a"),
    };
    await new FinishedShards(folder, nodeFileSystem, run.run, maker).mark(file, mark);
    return file;
  };
  const files = [];
  for (let index = 0; index < 20; index++) files.push(await leave(index, makerOf("pid:[2]", 1000 + index)));
  const me = makerOf("pid:[1]", 7);
  const shards = new FinishedShards(folder, nodeFileSystem, run.run, me);
  await shards.find();
  expect(shards.units()).toHaveLength(16);
  expect((await readdir(folder)).length, "those of a container of which nothing is known").toBe(40);

  for (let index = 20; index < 40; index++) await leave(index, makerOf("pid:[1]", 1000 + index));
  const next = new FinishedShards(folder, nodeFileSystem, run.run, me);
  await next.find();
  expect(next.units()).toHaveLength(16);
  const left = (await readdir(folder)).filter((name) => name.endsWith(MARK));
  expect(left.length, "of the dead of this container only what was chosen").toBeLessThanOrEqual(36);
  expect(left.length).toBeGreaterThanOrEqual(20);
});
