// fake-gcs-server: an emulator of Google Cloud Storage that is none of ours, in a process of its own. What it does otherwise than
// the service is in docs/stores.md; there `test/fake-gcs.ts` counts.

import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { answers, freePort } from "./versitygw.js";

/** The program; undefined where the environment names none, and the tests that need it are skipped. */
export const FAKE_GCS_SERVER = process.env.SLUICE_TEST_FAKE_GCS;

/** Starts an emulator with one empty bucket, in memory. @returns its URL for STORAGE_EMULATOR_HOST, and what ends it. */
export async function startFakeGcsServer(
  bucket: string,
): Promise<{ url: string; stop: () => Promise<void> }> {
  const port = await freePort();
  const child = spawn(
    FAKE_GCS_SERVER ?? "",
    [
      "-scheme",
      "http",
      "-host",
      "127.0.0.1",
      "-port",
      String(port),
      "-backend",
      "memory",
      "-log-level",
      "error",
    ],
    { env: { PATH: process.env.PATH }, stdio: "ignore" },
  );
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const url = `http://127.0.0.1:${port}`;
  while (!(await answers(url))) {
    if (child.exitCode !== null) throw new Error(`fake-gcs-server ended with ${child.exitCode}`);
    await sleep(50);
  }
  await fetch(`${url}/storage/v1/b?project=test`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name: bucket }),
  });
  return {
    url,
    stop: async () => {
      child.kill("SIGKILL");
      await ended;
    },
  };
}
