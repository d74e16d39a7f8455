// fake-gcs-server: an emulator of Google Cloud Storage that is none of ours, in a process of its own. What it does otherwise than
// the service is in docs/stores.md; there `test/fake-gcs.ts` counts.

import { startServer } from "./start-server.js";

/** The program; undefined where the environment names none, and the tests that need it are skipped. */
export const FAKE_GCS_SERVER = process.env.SLUICE_TEST_FAKE_GCS;

/** Starts an emulator with one empty bucket, in memory. @returns its URL for STORAGE_EMULATOR_HOST, and what ends it. */
export async function startFakeGcsServer(
  bucket: string,
): Promise<{ url: string; stop: () => Promise<void> }> {
  const args = ["-scheme", "http", "-host", "127.0.0.1", "-backend", "memory", "-log-level", "error"];
  const { url, stop } = await startServer(FAKE_GCS_SERVER ?? "", (port) => [...args, "-port", String(port)], {
    env: { PATH: process.env.PATH },
    stdio: "ignore",
  });
  await fetch(`${url}/storage/v1/b?project=test`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name: bucket }),
  });
  return { url, stop };
}
