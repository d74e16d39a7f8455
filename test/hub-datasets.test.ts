// Datasets of the Hub, against a server that behaves like it.

import { readFileSync } from "node:fs";
import { unlink } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterEach, beforeEach, expect, it } from "vitest";
import { openDataset } from "../src/data/dataset.js";
import { chooseDataFiles } from "../src/data/locate-dataset.js";
import { listCommits, runSluice, smallRun, temporaryFolder } from "./helpers.js";
import { HubServer } from "./hub-server.js";

const PARQUET = fileURLToPath(new URL("./fixtures/parquet/", import.meta.url));
const COMMIT = "89abcdef0123456789abcdef0123456789abcdef";
const repo = { kind: "dataset", name: "org/data", revision: "main" } as const;
const parts = {
  "data/train-00000-of-00002.parquet": readFileSync(join(PARQUET, "snappy.parquet")),
  "data/train-00001-of-00002.parquet": readFileSync(join(PARQUET, "zstd-v2.parquet")),
  "data/test-00000-of-00001.parquet": readFileSync(join(PARQUET, "lz4.parquet")),
  "README.md": Buffer.from("# Data"),
  "dataset_infos.json": Buffer.from("{}"),
};

let hub: HubServer;
let folder: string;
let env: Record<string, string>;
beforeEach(async () => {
  hub = await new HubServer().start();
  folder = await temporaryFolder();
  env = {
    HF_ENDPOINT: hub.endpoint,
    HF_HUB_CACHE: join(folder, "cache"),
    HF_TOKEN_PATH: join(folder, "none"),
  };
  hub.repos.set("datasets/org/data", { commit: COMMIT, files: parts });
});
afterEach(() => hub.stop());

it("a run reads the Parquet files of the training table, online and then offline", async () => {
  const run = smallRun("org/data", join(folder, "run"), "--column", "token_ids", "--layers", "1");
  const flags = [...run, "--samples-per-shard", "100", "--max-skipped", "all"];
  expect(await runSluice(flags, env)).toMatchObject({ code: 0 });
  expect(await listCommits(join(folder, "run"))).toHaveLength(3);
  const fetched = hub.requests.filter((line) => line.startsWith("FILE") || line.includes("/resolve/"));
  expect(fetched.some((line) => line.includes("test-00000"))).toBe(false);
  const runFile = JSON.parse(readFileSync(join(folder, "run/run.json"), "utf8")) as {
    identity: { dataset: { name: string; records: number } };
  };
  expect(runFile.identity.dataset).toMatchObject({ name: "org/data", records: 260 });
  await hub.stop();
  const again = await runSluice(flags, { ...env, HF_HUB_OFFLINE: "1" });
  expect(again).toMatchObject({ code: 0 });
  expect(again.stdout).toContain("Nothing left to do");
  // A cache with some parts only would be a smaller dataset that nobody notices.
  await unlink(
    join(folder, `cache/datasets--org--data/snapshots/${COMMIT}/data/train-00001-of-00002.parquet`),
  );
  const partial = await runSluice(flags, { ...env, HF_HUB_OFFLINE: "1" });
  expect(partial).toMatchObject({ code: 78 });
  expect(partial.stderr).toContain("such as data/train-00001-of-00002.parquet");
});

it("sluice streams takes columns of one, by file, folder or pattern, and other kinds of files", async () => {
  const rows = gunzipSync(readFileSync(join(PARQUET, "rows.jsonl.gz")))
    .toString()
    .trim()
    .split("\n");
  const split = async (dataset: string, into: string) => {
    const flags = ["streams", "--dataset", dataset, "--num-streams", "1", "--output-dir", join(folder, into)];
    const ended = await runSluice([...flags, "--column", "examples", "--json"], env);
    expect(ended).toMatchObject({ code: 0 });
    return readFileSync(join(folder, into, "stream_000.jsonl"), "utf8")
      .trim()
      .split("\n");
  };
  const expected = rows.map((line) => {
    const { id, examples } = JSON.parse(line) as { id: string; examples: unknown };
    return JSON.stringify({ id, examples });
  });
  expect(await split("org/data/data/test-*.parquet", "a")).toEqual(expected);
  expect(await split("org/data/data/train-00001-of-00002.parquet", "b")).toEqual(expected);
  hub.repos.set("datasets/org/lines", {
    commit: COMMIT,
    files: { "d.jsonl.gz": gzipSync(`${rows.join("\n")}\n`) },
  });
  expect(await split("org/lines", "c")).toEqual(expected);
});

it("files are chosen by table", () => {
  const choose = (paths: readonly string[], path: string | null = null) => chooseDataFiles(repo, path, paths);
  expect(choose(Object.keys(parts))).toEqual([
    "data/train-00000-of-00002.parquet",
    "data/train-00001-of-00002.parquet",
  ]);
  expect(
    choose(["default/train/0001.parquet", "default/train/0000.parquet", "default/test/0000.parquet"]),
  ).toEqual(["default/train/0000.parquet", "default/train/0001.parquet"]);
  expect(choose(["a.csv", "README.md"])).toEqual(["a.csv"]);
  expect(choose(["a.csv", "b.parquet"])).toEqual(["b.parquet"]);
  expect(choose(["en/train.jsonl", "de/train.jsonl"], "de")).toEqual(["de/train.jsonl"]);
  expect(choose(["x.json", "y.csv"], "x.json")).toEqual(["x.json"]);
  expect(() => choose(["en/train.jsonl", "de/train.jsonl"])).toThrow(/holds 2 tables: name one/);
  expect(() => choose(["a.csv", "b.csv"])).toThrow(/holds 2 tables/);
  expect(() => choose(["README.md"])).toThrow(/no data files/);
  expect(() => choose(Object.keys(parts), "nowhere")).toThrow(/no data files at nowhere/);
  const half = ["data/train-00001-of-00002.parquet"];
  expect(() => choose(half)).toThrow(/is not complete/);
  expect(() => choose(half, "data/*.parquet")).toThrow(/is not complete/);
  expect(choose(half, half[0])).toEqual(half);
  expect(choose(half, "data/train-00001*")).toEqual(half);
});

it("a path that is not there is no Hub id where it looks like a path", async () => {
  for (const path of ["data/train.jsonl", "./org/data", "/org/data", "src/nowhere", "nowhere"])
    await expect(openDataset(path)).rejects.toThrow(/there is no dataset at/);
  expect(hub.requests).toEqual([]);
});
