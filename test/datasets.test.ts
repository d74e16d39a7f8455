// The kinds of datasets as a user runs them: the same records give the same samples, whatever file they are in; dialogues
// through a chat template; a changed file is refused.

import { createHash } from "node:crypto";
import { copyFile, cp, open, readFile, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { ParquetFile } from "../src/data/parquet-file.js";
import { openRunForReading } from "../src/read/open-run.js";
import { readInt32, readTensor } from "../src/read/read-tensor.js";
import { FileStore } from "../src/store/file.js";
import {
  BUNDLED_MODEL,
  callSluice,
  listCommits,
  runSluice,
  smallRun,
  temporaryFolder,
  writeJsonl,
} from "./helpers.js";

const PARQUET = fileURLToPath(new URL("./fixtures/parquet/", import.meta.url));

/** All that a run's shards say of their samples, and the rows, whose bytes do not depend on the file's kind. */
async function contentsOf(run: string) {
  const { log, store } = await openRunForReading(new FileStore(run));
  const contents = [];
  for (const commit of await log.readAll()) {
    const tensors = Object.keys(commit.tensors).sort();
    const bytes = await Promise.all(
      tensors.map(async (name) => Buffer.from(await readTensor(store, commit, name))),
    );
    const sums = bytes.map((b) => createHash("sha256").update(b).digest("hex"));
    contents.push({ tensors, sums, skipped: commit.skipped });
  }
  return contents;
}

it("Parquet, a folder of it, its streams and the same lines of JSON give the same samples", async () => {
  const folder = await temporaryFolder();
  const rows = gunzipSync(await readFile(join(PARQUET, "rows.jsonl.gz"))).toString();
  await writeFile(join(folder, "rows.jsonl"), rows + rows);
  await cp(join(PARQUET, "snappy.parquet"), join(folder, "many/a.parquet"));
  await cp(join(PARQUET, "lz4.parquet"), join(folder, "many/b.parquet"));
  const split = [
    "streams",
    "--dataset",
    `${folder}/many/{a,b}.parquet`,
    "--num-streams",
    "1",
    "--output-dir",
    join(folder, "s"),
  ];
  expect(await callSluice(split)).toMatchObject({ code: 0 });
  const flags = [
    "--column",
    "token_ids",
    "--keep-columns",
    "language,meta.source,big",
    "--samples-per-shard",
    "60",
  ];
  const runs = [];
  for (const dataset of ["rows.jsonl", "many", "s"]) {
    const run = join(folder, `run-${dataset}`);
    const ended = await runSluice([...smallRun(join(folder, dataset), run, "--layers", "1"), ...flags]);
    expect(ended, ended.stderr).toMatchObject({ code: 0 });
    runs.push(await contentsOf(run));
  }
  expect(runs[0]).toHaveLength(5);
  expect(runs[1]).toEqual(runs[0]);
  expect(runs[2]).toEqual(runs[0]);
});

it("a Parquet file that was edited is refused, with the rows named", async () => {
  const folder = await temporaryFolder();
  const path = join(folder, "d.parquet");
  await copyFile(join(PARQUET, "snappy.parquet"), path);
  const run = smallRun(
    path,
    join(folder, "run"),
    "--column",
    "long_ids",
    "--layers",
    "1",
    "--samples-per-shard",
    "50",
  );
  expect(await runSluice(run)).toMatchObject({ code: 0 });
  const verify = ["verify", join(folder, "run"), "--dataset", path];
  expect(await callSluice(verify)).toMatchObject({ code: 0 });
  const commits = await listCommits(join(folder, "run"));
  expect(commits).toHaveLength(3);
  const opened = await ParquetFile.open(path, ["long_ids"]);
  const place = Number(opened.groups[1]?.chunks[0]?.data_page_offset) + 20;
  await opened.close();
  const file = await open(path, "r+");
  await file.write(Buffer.of(0xee), 0, 1, place);
  await file.close();
  expect(await callSluice(verify)).toMatchObject({ code: 65 });
  await unlink(join(folder, "run", commits[1] ?? ""));
  const ended = await runSluice(run);
  expect(ended.code).toBe(78);
  expect(ended.stderr).toMatch(/edited since the run was created: stream 0, unit 1 \(records 50 to 99\)/);
});

it("dialogues go through the model's template, and a role's words can be selected", async () => {
  const folder = await temporaryFolder();
  const model = join(folder, "model");
  await cp(BUNDLED_MODEL, model, { recursive: true });
  const template =
    "{% for m in messages %}{{ m.role[0] }} {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}a {% endif %}";
  await writeFile(join(model, "chat_template.jinja"), template);
  const dataset = await writeJsonl(join(folder, "d.jsonl"), [
    {
      messages: [
        { role: "user", content: "1 2" },
        { role: "assistant", content: "3 4 5" },
        { role: "user", content: "6" },
      ],
    },
    { messages: [{ role: "user", content: "7" }] },
    { messages: "none" },
  ]);
  const flags = ["--model", model, "--dataset", dataset, "--layers", "-1", "--threads", "1"];
  const run = join(folder, "run");
  const extract = ["extract", ...flags, "--output", run, "--prompt", "chat", "--positions", "role:assistant"];
  expect(await runSluice(extract)).toMatchObject({ code: 0 });
  expect(await readFile(join(run, "model/chat_template.jinja"), "utf8")).toBe(template);
  const { log, store } = await openRunForReading(new FileStore(run));
  const [commit] = await log.readAll();
  if (!commit) throw new Error("no commit");
  expect(commit).toMatchObject({ samples: 2, skipped: [{ record: 2, reason: "messages are no list" }] });
  const inspected = JSON.parse((await callSluice(["inspect", run, "--json"])).stdout) as {
    first: { text: string }[];
  };
  expect(inspected.first.map(({ text }) => text)).toEqual(["u 1 2\na 3 4 5\nu 6\na ", "u 7\na "]);
  const positions = await readInt32(store, commit, "positions");
  const ids = await readInt32(store, commit, "token_ids");
  expect(positions.length).toBe(ids.length);
  // "u", " 1", " 2", "\\n", "a", then the words " 3", " 4", " 5".
  expect([...positions]).toEqual([5, 6, 7]);
  const flagsOf = [...(await readTensor(store, commit, "token_flags"))];
  expect(flagsOf.every((flag) => (flag & 16) !== 0 && (flag & 8) === 0)).toBe(true);
  const refused = await runSluice([
    "extract",
    ...flags,
    "--output",
    join(folder, "r"),
    "--positions",
    "role:user",
  ]);
  expect(refused).toMatchObject({ code: 64 });
  expect(refused.stderr).toContain("--prompt chat");
});
