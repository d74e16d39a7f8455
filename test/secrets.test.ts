// No credential reaches what is printed or kept: neither from the environment, nor from an address that has one in it.

import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { expect, it } from "vitest";
import { hideSecrets } from "../src/base/redact.js";
import {
  type Ended,
  runSluice,
  smallRun,
  TINY_MODEL,
  temporaryFolder,
  tokenRecords,
  writeJsonl,
} from "./helpers.js";

/** Each holds the word that must be nowhere. */
const ENV = {
  HF_TOKEN: "hf_leakedleakedleakedleaked",
  AWS_ACCESS_KEY_ID: "AKIALEAKED0LEAKED0LE",
  AWS_SECRET_ACCESS_KEY: "leaked/secret",
  AWS_SESSION_TOKEN: "leakedsession",
  AWS_REGION: "us-east-1",
  AWS_ENDPOINT_URL: "http://user:leakedendpoint@127.0.0.1:9",
  HTTPS_PROXY: "http://user:leakedproxy@127.0.0.1:9",
};
const USER = "https://user:leaked@host/x";
const SIGNED =
  "https://host/d.jsonl?X-Amz-Credential=leaked&X-Amz-Signature=leaked&X-Amz-Security-Token=leaked";

it("keeps secrets out of output, errors, stack traces and the run's files", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(8));
  const run = join(folder, "run");
  const said: Ended[] = [];
  const say = async (...args: string[]) => said.push(await runSluice(args, ENV));
  // The command line is kept in run.json.
  const flags = smallRun(dataset, run, "--checkpoint-dir", `${folder}/https://user:leaked@host`);
  await say(...flags);
  expect(said[0]?.code).toBe(0);
  await say("verify", "gs://user:leaked@bucket/x");
  await say("extract", "--model", TINY_MODEL, "--dataset", dataset, "--output", USER, "--debug");
  await say("extract", "--model", TINY_MODEL, "--dataset", SIGNED, "--output", join(folder, "none"));
  await say("extract", "--model", USER, "--dataset", dataset, "--output", join(folder, "none"));
  await say("doctor", "--model", SIGNED, "--dataset", USER, "--output", USER, "--json");
  expect(said.filter(({ code }) => code !== 0).length).toBe(5);
  for (const { stdout, stderr } of said) expect(stdout + stderr).not.toMatch(/leaked/i);
  let files = 0;
  for (const name of await readdir(run, { recursive: true })) {
    if (!(await stat(join(run, name))).isFile()) continue;
    files += 1;
    expect(await readFile(join(run, name), "latin1"), name).not.toMatch(/leaked/i);
  }
  expect(files).toBeGreaterThan(5);
});

it("hides what is a credential and nothing else", () => {
  expect(hideSecrets(`cannot open ${USER} or ${SIGNED}`)).toBe(
    "cannot open https://host/x or https://host/d.jsonl?X-Amz-Credential=***&X-Amz-Signature=***&X-Amz-Security-Token=***",
  );
  expect(hideSecrets("Authorization: Bearer abc.def-ghi")).not.toContain("abc");
  const plain = "the run at gs://bucket/run?x=1#y has model org/name@main; token ids are [1, 2]\nsecond line";
  expect(hideSecrets(plain)).toBe(plain);
});
