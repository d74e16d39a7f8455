// What `quickstart` refuses, and leaves alone. That it does its job, also after an interruption, is an integration test.

import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { runSluice, temporaryFolder } from "./helpers.js";

it("refuses a folder that is not its own, and touches nothing in it", async () => {
  const folder = await temporaryFolder();
  await writeFile(join(folder, "file"), "mine");
  expect(await runSluice(["quickstart", "--output", join(folder, "file")])).toMatchObject({
    code: 78,
    stderr: expect.stringContaining(`a file is in the way: ${join(folder, "file")}`),
  });
  expect(await runSluice(["quickstart", "--output", join(folder, "file/below")])).toMatchObject({
    code: 78,
    stderr: expect.stringContaining(`a file is in the way: ${join(folder, "file")}`),
  });
  await mkdir(join(folder, "streams"));
  await writeFile(join(folder, "streams/precious.txt"), "mine");
  expect(await runSluice(["quickstart", "--output", folder])).toMatchObject({
    code: 78,
    stderr: expect.stringContaining(
      "streams is not of a quickstart; found precious.txt. Name another --output.",
    ),
  });
  expect(await readFile(join(folder, "streams/precious.txt"), "utf8")).toBe("mine");
  expect((await readdir(folder)).sort()).toEqual(["file", "streams"]);
});

it("refuses streams of another dataset", async () => {
  const folder = await temporaryFolder();
  const streams = ["--num-streams", "2", "--output-dir", join(folder, "streams"), "--max-samples", "4"];
  await runSluice(["streams", "--dataset", "arc", ...streams]);
  expect(await runSluice(["quickstart", "--output", folder])).toMatchObject({
    code: 78,
    stderr: expect.stringContaining("streams of another dataset"),
  });
});

it("says what its workers could not do, once, with their exit code", async () => {
  const folder = await temporaryFolder();
  await writeFile(join(folder, "run"), "mine");
  const ended = await runSluice(["quickstart", "--output", folder]);
  expect(ended.code).toBe(78);
  expect(ended.stderr).toContain("no shards yet. Worker 0 said:");
  expect(ended.stderr.match(/run is in the way of a folder/g)).toHaveLength(1);
});
