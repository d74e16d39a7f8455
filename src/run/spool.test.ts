// What a worker leaves in its spool folder when it ends.

import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Spool } from "./spool.js";

it("removes a shard, its compressed form, or both: each is known by its own name", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-spool-test-"));
  try {
    const spool = new Spool(folder);
    const layout = { size: 0, literals: [], tensors: [], places: new Float64Array() };
    const compress = async (file: string) => {
      const compressed = spool.compressedName(file);
      await writeFile(compressed, "compressed");
      return compressed;
    };
    const whole = await spool.create(layout); // Told to stop in the middle of compressing.
    await compress(whole);
    const failed = await spool.create(layout); // No room for the compressed form.
    await spool.remove(await compress(failed));
    const done = await spool.create(layout); // Told to stop while the compressed form is hashed.
    await compress(done);
    await spool.remove(done);
    expect(await readdir(folder)).toHaveLength(4);
    await spool.removeAll();
    expect(await readdir(folder)).toEqual([]);
  } finally {
    await rm(folder, { recursive: true });
  }
});
