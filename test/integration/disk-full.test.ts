// A disk that is too small, and one that fills up: a file system of a few MB, mounted for the test (root only; elsewhere it is skipped).

import { execFileSync } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { runSluice, smallRun, temporaryFolder, tokenRecords, writeJsonl } from "../helpers.js";

/** Mounts a file system of that size for an action; false where that is not possible. */
async function onSmallDisk(size: string, action: (folder: string) => Promise<void>): Promise<boolean> {
  const folder = await temporaryFolder();
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", folder], { stdio: "ignore" });
  } catch {
    return false;
  }
  try {
    await action(folder);
  } finally {
    execFileSync("umount", [folder]);
  }
  return true;
}

it("refuses a run that does not fit, survives a disk that fills up, and goes on when there is room", async (test) => {
  const dataset = await writeJsonl(join(await temporaryFolder(), "d.jsonl"), tokenRecords(1000));
  const isMounted = await onSmallDisk("2m", async (disk) => {
    const run = join(disk, "run");
    const refused = await runSluice(smallRun(dataset, run, "--dtype", "float32"));
    expect(refused).toMatchObject({ code: 74, stderr: expect.stringContaining("does not fit the disk of") });
    await expect(readFile(join(run, "run.json"))).rejects.toThrow("ENOENT");
    const filled = await runSluice(smallRun(dataset, run, "--dtype", "float32", "--yes"));
    expect(filled.code, filled.stderr).toBe(74);
    expect(filled.stderr).toMatch(/free, which is too little/);
    expect(filled.stderr).toMatch(/the disk of \S+ is full.*Free space/);
    expect(filled.stderr).not.toMatch(/\n\s+at |this is a bug/);
    execFileSync("mount", ["-o", "remount,size=200m", disk]);
    expect(await runSluice(smallRun(dataset, run, "--dtype", "float32"))).toMatchObject({ code: 0 });
    const report = JSON.parse((await runSluice(["verify", run, "--deep", "--json"])).stdout);
    expect(report).toMatchObject({ complete: true, records: 1000, corrupt: [], missing: [] });
  });
  if (!isMounted) test.skip("no file system can be mounted here");
});

it("leaves nothing of a shard whose compressed form does not fit beside it", async (test) => {
  const dataset = await writeJsonl(join(await temporaryFolder(), "d.jsonl"), tokenRecords(200));
  const isMounted = await onSmallDisk("2m", async (disk) => {
    const run = join(disk, "run");
    const flags = smallRun(dataset, run, "--format", "pkl.gz", "--samples-per-shard", "200", "--yes");
    const filled = await runSluice(flags);
    expect(filled).toMatchObject({ code: 74, stderr: expect.stringContaining("is full") });
    expect(await readdir(join(run, ".tmp"))).toEqual([]);
    execFileSync("mount", ["-o", "remount,size=200m", disk]);
    expect(await runSluice(flags)).toMatchObject({ code: 0 });
  });
  if (!isMounted) test.skip("no file system can be mounted here");
});
