// `sluice doctor` as a program: each line, the exit code, secrets that stay secret, and SIGINT.

import { mkdir, readdir, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterEach, expect, it, vi } from "vitest";
import { checkClock, clockUrl } from "../src/doctor/check-clock.js";
import { Hold } from "./held.js";
import { runSluice, startSluice, TINY_MODEL, temporaryFolder, tokenRecords, writeJsonl } from "./helpers.js";

it("checks all that a run needs, and says of each what it found", async () => {
  const folder = await temporaryFolder();
  const dataset = await writeJsonl(join(folder, "d.jsonl"), tokenRecords(30));
  const output = join(folder, "run");
  const secrets = {
    HF_TOKEN: "hf_verysecret",
    AWS_SECRET_ACCESS_KEY: "aws-very-secret",
    HTTPS_PROXY: "http://user:proxysecret@proxy:8080",
  };
  const flags = ["doctor", "--model", TINY_MODEL, "--dataset", dataset, "--output", output];
  const plain = await runSluice(flags, secrets);
  expect(plain).toMatchObject({ code: 0, stderr: "" });
  for (const line of [
    /^ok {6}machine: Node 2/m,
    /^ok {6}environment: HF_TOKEN is set$/m,
    /^ok {6}environment: HTTPS_PROXY=http:\/\/proxy:8080$/m,
    /^ok {6}model: .* hook points$/m,
    /^warning model: there is no tokenizer.json/m,
    /^ok {6}dataset: 100 % of the records looked at give samples/m,
    /^ok {6}engine: onnx .* agrees with the reference to \de-[567]$/m,
    /^ok {6}store: create-only holds: in 24 races/m,
  ])
    expect(plain.stdout).toMatch(line);
  expect(plain.stdout).not.toContain("secret");
  expect(await readdir(folder)).toEqual(["d.jsonl"]);
  const json = await runSluice([...flags, "--json"], secrets);
  expect(json.stdout).not.toContain("secret");
  expect(JSON.parse(json.stdout)).toMatchObject({ ok: true, not_checked: [] });
});

it("fails with what to do, and does not stop at the first failure", async () => {
  const folder = await temporaryFolder();
  const broken = join(folder, "model");
  await mkdir(broken);
  await writeFile(join(broken, "config.json"), "{");
  await writeFile(join(folder, "taken"), "a file");
  const ended = await runSluice([
    "doctor",
    "--model",
    broken,
    "--dataset",
    join(folder, "none.jsonl"),
    "--output",
    join(folder, "taken"),
  ]);
  expect(ended.code).toBe(78);
  expect(ended.stdout).toMatch(/^FAILURE model: .*is not a JSON object/m);
  expect(ended.stdout).toMatch(/^FAILURE dataset: .*there is no dataset at/m);
  expect(ended.stdout).toMatch(/^FAILURE store: creating an object: .*is in the way of a folder/m);
  expect(await runSluice(["doctor", "--engine", "warp"])).toMatchObject({ code: 64 });
});

it("removes what it made when it is interrupted", async () => {
  const folder = await temporaryFolder();
  const hold = new Hold(join(await temporaryFolder(), "steps"), "trying the store");
  const doctor = startSluice(["doctor", "--output", join(folder, "run")], hold.env);
  await hold.reached(doctor);
  expect(await readdir(folder)).toEqual(["run"]);
  doctor.child.kill("SIGINT");
  hold.release();
  expect(await doctor.ended).toMatchObject({
    code: 75,
    stderr: expect.stringContaining("stopped by SIGINT"),
  });
  expect(await readdir(folder)).toEqual([]);
});

afterEach(() => void vi.useRealTimers());
it("compares the clock with the store's", async () => {
  vi.useFakeTimers({ toFake: ["Date"], now: 1_790_000_000_000 });
  let date = new Date().toUTCString();
  const server = createServer((_request, reply) => reply.writeHead(403, { date }).end());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  expect(clockUrl("s3://b", { AWS_ENDPOINT_URL: url })).toBe(url);
  expect(clockUrl("gs://b", { STORAGE_EMULATOR_HOST: url.slice(7) })).toBe(url);
  expect(clockUrl("./run", {})).toBeNull();
  expect(await checkClock(url)).toMatchObject({ state: "ok" });
  date = new Date(Date.now() + 900_000).toUTCString();
  expect(await checkClock(url)).toMatchObject({
    state: "warning",
    text: expect.stringMatching(/^this machine's clock is 900 s behind the store's$/),
  });
  server.close();
  expect(await checkClock(url)).toMatchObject({ state: "ok", text: expect.stringContaining("not known") });
});
