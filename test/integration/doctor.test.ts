// `sluice doctor`, the built program, on real servers: it proves them, and leaves nothing.

import { describe, expect, it } from "vitest";
import { openStore } from "../../src/store/stores.js";
import { runSluice } from "../helpers.js";
import { FAKE_GCS_SERVER, startFakeGcsServer } from "./fake-gcs-server.js";
import { startVersitygw, VERSITYGW } from "./versitygw.js";

async function expectProof(output: string, env: Readonly<Record<string, string>>): Promise<void> {
  const { stdout, code } = await runSluice(["doctor", "--output", output], env);
  expect(stdout).toMatch(/^ok {6}store: create-only holds: in 24 races/m);
  expect(stdout).toMatch(/^ok {6}store: create-only holds for large objects/m);
  expect(stdout).toMatch(/^(ok {6}|warning )store: uploads go at \d+ MB\/s$/m);
  expect(stdout).toMatch(/^ok {6}clock: .*the store's$/m);
  expect(code).toBe(0);
  Object.assign(process.env, env);
  for await (const { name } of openStore(output).list("")) expect.fail(`${name} is left`);
}

describe.skipIf(VERSITYGW === undefined)("versitygw", () => {
  it("passes", async () => {
    const server = await startVersitygw();
    try {
      await expectProof("s3://sluice-test/run", server.env);
      const wrong = { ...server.env, AWS_SECRET_ACCESS_KEY: "a-wrong-secret" };
      const refused = await runSluice(["doctor", "--output", "s3://sluice-test/run"], wrong);
      expect(refused.code).toBe(78);
      expect(refused.stdout).toMatch(/^FAILURE store: creating an object/m);
      expect(refused.stdout + refused.stderr).not.toContain("a-wrong-secret");
    } finally {
      await server.stop();
    }
  });
});

describe.skipIf(FAKE_GCS_SERVER === undefined)("fake-gcs-server", () => {
  it("passes", async () => {
    const server = await startFakeGcsServer("bucket");
    try {
      await expectProof("gs://bucket/run", { STORAGE_EMULATOR_HOST: server.url });
    } finally {
      await server.stop();
    }
  });
});
