// Models and files from the Hub, against a server that behaves like it: the cache is laid out as huggingface_hub lays it
// out, downloads go on where they broke, and every refusal says what to do.

import { readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { mkdir, readFile, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { cachedCommit, parseHubId, sha256OfBlob } from "../src/hub/repo.js";
import { readHubSettings } from "../src/hub/settings.js";
import {
  type DownloadOptions,
  downloadSnapshot,
  type HubProgress,
  openHubFile,
} from "../src/hub/snapshot.js";
import { locateModel } from "../src/model/locate.js";
import { openModel } from "../src/model/model.js";
import { runSluice, TINY_MODEL, temporaryFolder, tokenRecords, writeJsonl } from "./helpers.js";
import { etagOf, HubServer } from "./hub-server.js";

const COMMIT = "0123456789abcdef0123456789abcdef01234567";
const MODEL_FILES = Object.fromEntries(
  ["config.json", "model.safetensors"].map((name) => [name, readFileSync(join(TINY_MODEL, name))]),
);
const BIG = Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * 7919) >> 3));
const repo = { kind: "model", name: "org/tiny", revision: "main" } as const;

let hub: HubServer;
let cache: string;
let options: DownloadOptions;

beforeEach(async () => {
  hub = await new HubServer().start();
  cache = await temporaryFolder();
  const settings = { endpoint: hub.endpoint, cache, token: null, isOffline: false };
  options = { settings, retryMs: 5, silenceMs: 60_000 };
  const files = {
    ...MODEL_FILES,
    "README.md": Buffer.from("# Tiny"),
    "onnx/big.bin": BIG,
    "pytorch_model.bin": BIG,
  };
  hub.repos.set("models/org/tiny", { commit: COMMIT, files });
  hub.repos.set("datasets/org/data", {
    commit: COMMIT,
    files: { "data/train.parquet": BIG, "README.md": Buffer.from("x") },
  });
});
afterEach(() => hub.stop());

const offline = () => ({
  ...options,
  settings: { endpoint: hub.endpoint, cache, token: null, isOffline: true },
});
const withToken = (token: string) => ({
  ...options,
  settings: { endpoint: hub.endpoint, cache, token, isOffline: false },
});
const fetches = () => hub.requests.filter((line) => line.startsWith("FILE"));

describe("the cache", () => {
  it("holds what a model needs and nothing else, as blobs, links and a ref", async () => {
    const folder = await locateModel("org/tiny", options);
    expect(folder).toBe(join(cache, "models--org--tiny/snapshots", COMMIT));
    expect(readdirSync(folder).sort()).toEqual(["config.json", "model.safetensors"]);
    expect(await readFile(join(cache, "models--org--tiny/refs/main"), "utf8")).toBe(COMMIT);
    const weights = MODEL_FILES["model.safetensors"] ?? Buffer.alloc(0);
    expect(readlinkSync(join(folder, "model.safetensors"))).toBe(join("../../blobs", etagOf(weights)));
    expect(readdirSync(join(cache, "models--org--tiny/blobs")).sort()).toEqual(
      Object.values(MODEL_FILES).map(etagOf).sort(),
    );
    const model = await openModel(folder);
    expect(model).toMatchObject({ family: "qwen2", revision: COMMIT });
    expect(model.weights.files.map(sha256OfBlob)).toEqual([etagOf(weights)]);
  });

  it("is used: a second time nothing is fetched, a commit is never asked for, and offline it is enough", async () => {
    const folder = await locateModel("org/tiny", options);
    const before = fetches().length;
    expect(await locateModel("org/tiny", options)).toBe(folder);
    expect(await locateModel(`org/tiny@${COMMIT}`, options)).toBe(folder);
    expect(fetches()).toHaveLength(before);
    const asked = hub.requests.length;
    expect(await locateModel("org/tiny", offline())).toBe(folder);
    expect(await locateModel(`org/tiny@${COMMIT}`, offline())).toBe(folder);
    expect(hub.requests).toHaveLength(asked);
  });

  it("made by huggingface_hub is used", async () => {
    const base = join(cache, "models--org--tiny");
    const snapshot = join(base, "snapshots", COMMIT);
    for (const folder of [snapshot, join(base, "blobs"), join(base, "refs")])
      await mkdir(folder, { recursive: true });
    await writeFile(join(base, "refs/main"), COMMIT);
    for (const [name, bytes] of Object.entries(MODEL_FILES)) {
      await writeFile(join(base, "blobs", etagOf(bytes)), bytes);
      await symlink(join("../../blobs", etagOf(bytes)), join(snapshot, name));
    }
    expect(await locateModel("org/tiny", offline())).toBe(snapshot);
    expect(await locateModel("org/tiny", options)).toBe(snapshot);
    expect(fetches()).toEqual([]);
    // A link to a blob that is gone, and a blob that has no link, are mended.
    const weights = MODEL_FILES["model.safetensors"] ?? Buffer.alloc(0);
    await rm(join(base, "blobs", etagOf(weights)));
    await rm(join(snapshot, "config.json"));
    await locateModel("org/tiny", options);
    expect(await readFile(join(snapshot, "model.safetensors"))).toEqual(weights);
    expect(fetches()).toEqual(["FILE model.safetensors from 0"]);
  });

  it("is where the environment says", async () => {
    const home = await temporaryFolder();
    await writeFile(join(home, "token"), "hf_file\n");
    expect(await readHubSettings({ HF_HOME: home, HF_ENDPOINT: "https://mirror/" })).toEqual({
      endpoint: "https://mirror",
      cache: join(home, "hub"),
      token: "hf_file",
      isOffline: false,
    });
    const more = { HF_HUB_CACHE: "/c", HF_TOKEN: "hf_env", HF_HUB_OFFLINE: "1" };
    expect(await readHubSettings({ HF_HOME: home, ...more })).toMatchObject({
      cache: "/c",
      token: "hf_env",
      isOffline: true,
    });
  });
});

describe("a download", () => {
  it("goes on where the connection broke, fell silent, or an earlier process ended, and tells how far it is", async () => {
    hub.trouble.silences.push(20_000);
    hub.trouble.breaks.push(50_000, 30_000);
    const seen: HubProgress[] = [];
    const onProgress = (progress: HubProgress) => {
      seen.push(progress);
      hub.received = progress.done;
    };
    // So short a silence that the test need not wait long, so long that a busy machine does not keep it.
    const path = await openHubFile(repo, "onnx/big.bin", { ...options, silenceMs: 2_000, onProgress });
    expect(await readFile(path)).toEqual(BIG);
    const places = fetches().map((line) => Number(line.split(" ").at(-1)));
    expect(places).toEqual([0, 20_000, 70_000, 100_000]);
    expect(seen.at(-1)).toMatchObject({ done: BIG.length, total: BIG.length });
    expect(seen.map((p) => p.done)).toEqual(seen.map((p) => p.done).sort((a, b) => a - b));

    const other = { kind: "dataset", name: "org/data", revision: "main" } as const;
    const stop = new AbortController();
    hub.trouble.silences.push(100_000);
    const stopped = openHubFile(other, "data/train.parquet", {
      ...options,
      signal: stop.signal,
      onProgress: ({ done }) => done > 50_000 && stop.abort(new Error("pre-empted")),
    });
    await expect(stopped).rejects.toThrow("pre-empted");
    const parquet = await openHubFile(other, "data/train.parquet", options);
    expect(await readFile(parquet)).toEqual(BIG);
    expect(parquet).toContain("datasets--org--data");
    expect(Number(fetches().at(-1)?.split(" ").at(-1))).toBeGreaterThan(50_000);
  });

  it("tries again where the Hub is busy, and gives up with a word about it", async () => {
    hub.trouble.statuses.push(429, 503);
    await locateModel("org/tiny", options);
    hub.trouble.statuses.push(500, 500, 500, 500, 500);
    await rm(join(cache, "models--org--tiny"), { recursive: true });
    await expect(locateModel("org/tiny", options)).rejects.toMatchObject({
      kind: "store",
      message: expect.stringMatching(
        /cannot be reached for model org\/tiny; found status 500.*HF_HUB_OFFLINE/,
      ),
    });
  });

  it("takes the cache's copy, and says so, where the Hub cannot be reached", async () => {
    const folder = await locateModel("org/tiny", options);
    const { endpoint } = hub;
    await hub.stop();
    const warnings: string[] = [];
    const warn = (message: string) => warnings.push(message);
    expect(await locateModel("org/tiny", { ...options, warn })).toBe(folder);
    expect(warnings.join()).toContain(`${endpoint} cannot be reached: taking model org/tiny from the cache`);
  });

  it("refuses bytes that are not those that the Hub promised, and fetches them anew", async () => {
    hub.trouble.wrongBytes = 1;
    await expect(openHubFile(repo, "onnx/big.bin", options)).rejects.toThrow(
      /came with other bytes than it has/,
    );
    expect(await readFile(await openHubFile(repo, "onnx/big.bin", options))).toEqual(BIG);
  });

  it("is shared by workers that start together; a dead one's mark is taken over", async () => {
    const all = await Promise.all(
      Array.from({ length: 6 }, () => openHubFile(repo, "onnx/big.bin", options)),
    );
    expect(new Set(all).size).toBe(1);
    expect(fetches()).toHaveLength(1);
    const blobs = join(cache, "models--org--tiny/blobs");
    expect(readdirSync(blobs)).toEqual([etagOf(BIG)]);
    await rm(join(blobs, etagOf(BIG)));
    const mark = join(blobs, `${etagOf(BIG)}.sluice.lock`);
    await writeFile(mark, "");
    await utimes(mark, new Date(0), new Date(0));
    expect(await readFile(await openHubFile(repo, "onnx/big.bin", options))).toEqual(BIG);
  });

  it("never shows the token to another host", async () => {
    hub.repos.set("models/org/tiny", {
      commit: COMMIT,
      files: { ...MODEL_FILES, "onnx/big.bin": BIG },
      access: "private",
    });
    await locateModel("org/tiny", withToken("hf_right"));
    expect(fetches().length).toBeGreaterThan(0);
    expect(hub.leaked).toEqual([]);
  });
});

describe("refusals", () => {
  const refused = (model: string, o: DownloadOptions = options) =>
    locateModel(model, o).then(
      () => "accepted",
      (error: { kind: string; message: string }) => `${error.kind}: ${error.message}`,
    );

  it("say which it is and what to do", async () => {
    expect(await refused("org/none")).toMatch(
      /^config: there is no model org\/none at http.*or it is private; found status 401 RepoNotFound.*set HF_TOKEN/,
    );
    expect(await refused("org/tiny@v9")).toMatch(
      /^config: model org\/tiny@v9: there is no such revision; found v9/,
    );
    expect(await refused("org/tiny", offline())).toMatch(
      /^config: model org\/tiny is not in the cache, and HF_HUB_OFFLINE is set/,
    );
    expect(await refused("org/tiny/a.gguf")).toMatch(/^config: model org\/tiny has no file a.gguf/);
    expect(await refused("org/tiny/a.txt")).toMatch(
      /^config: there is no model at org\/tiny\/a.txt; expected a folder/,
    );
    hub.repos.set("models/org/gated", { commit: COMMIT, files: MODEL_FILES, access: "gated" });
    const gated = await refused("org/gated");
    expect(gated).toMatch(/^config: access to model org\/gated is restricted; found status 403 GatedRepo/);
    expect(gated).toContain(`Accept its conditions at ${hub.endpoint}/org/gated, then set HF_TOKEN`);
    expect(await refused("org/gated", withToken("hf_wrong"))).toContain("an account that may");
    expect(await refused("org/gated", withToken("hf_right"))).toBe("accepted");
    hub.repos.set("models/org/old", {
      commit: COMMIT,
      files: { "config.json": Buffer.from("{}"), "pytorch_model.bin": BIG },
    });
    expect(await refused("org/old")).toMatch(
      /^config: model org\/old has no model.safetensors; found pytorch_model.bin/,
    );
    hub.repos.set("models/org/q", { commit: COMMIT, files: { "m.Q4_K.gguf": BIG } });
    expect(await refused("org/q")).toContain("--model org/q/m.Q4_K.gguf");
    expect(await refused("org/q/m.Q4_K.gguf")).toBe("accepted");
  });

  it("leave paths alone", () => {
    for (const text of [
      "./org/x",
      "/org/x",
      "../x/y",
      "a/../b",
      "x",
      "~/m/x",
      "a/b/../../c",
      "org/x@",
      "C:\\m\\x",
      "a b/c",
    ])
      expect(parseHubId(text, "model"), text).toBeNull();
    expect(parseHubId("org/x.y-z@refs/pr/1", "dataset")?.repo).toEqual({
      kind: "dataset",
      name: "org/x.y-z",
      revision: "refs/pr/1",
    });
  });
});

it("sluice extract takes a Hub id; the commit is part of the run, and the same files by their path are the same run", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(10));
  const run = join(folder, "run");
  const env = { HF_ENDPOINT: hub.endpoint, HF_HUB_CACHE: cache, XDG_CACHE_HOME: folder };
  const extract = (model: string, more: Record<string, string> = {}) =>
    runSluice(["extract", "--model", model, "--dataset", dataset, "--output", run, "--threads", "1"], {
      ...env,
      ...more,
    });
  const first = await extract("org/tiny");
  expect(first, first.stderr).toMatchObject({ code: 0 });
  expect(first.stderr).toMatch(/model org\/tiny: .* of .*downloaded/);
  const { identity } = JSON.parse(await readFile(join(run, "run.json"), "utf8"));
  expect(identity.model.revision).toBe(COMMIT);
  const commit = await cachedCommit(cache, repo);
  const again = await extract(realpathSync(join(cache, "models--org--tiny/snapshots", String(commit))));
  expect(again, again.stderr).toMatchObject({ code: 0 });
  expect(again.stdout).toContain("Nothing left to do");
  const away = await extract("org/none");
  expect(away.code).toBe(78);
  expect(away.stderr).toContain("there is no model org/none");
  await hub.stop();
  expect(await extract("org/tiny", { HF_HUB_OFFLINE: "1" })).toMatchObject({ code: 0 });
});

it("files of a snapshot are chosen by the caller", async () => {
  const data = { kind: "dataset", name: "org/data", revision: COMMIT } as const;
  const choose = (paths: readonly string[]) => paths.filter((path) => path.endsWith(".parquet"));
  const { files, folder, commit } = await downloadSnapshot(data, choose, options);
  expect(files).toEqual(["data/train.parquet"]);
  expect(commit).toBe(COMMIT);
  expect(await readFile(join(folder, "data/train.parquet"))).toEqual(BIG);
});
