// The native libraries that come with `npm ci` neither report what is run nor leave anything of their own on the machine.

import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { runSluice, smallRun, temporaryFolder, tokenRecords, writeJsonl } from "./helpers.js";

it("a run leaves nothing but Sluice's own cache in the home, the cache and the temporary folder", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(8));
  const places = { HOME: "home", XDG_CACHE_HOME: "cache", TMPDIR: "tmp" };
  const env: Record<string, string> = {};
  for (const [name, place] of Object.entries(places)) {
    env[name] = join(folder, place);
    await mkdir(join(folder, place));
  }
  const ended = await runSluice(smallRun(dataset, join(folder, "run")), env);
  expect(ended.code, ended.stderr).toBe(0);
  for (const place of Object.values(env)) {
    const left = await readdir(place, { recursive: true });
    expect(left.filter((name) => !name.startsWith("sluice"))).toEqual([]);
  }
});
