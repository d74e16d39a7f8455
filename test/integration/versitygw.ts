// versitygw: a real S3 server on a local folder, in a process of its own. Why this one: docs/stores.md.

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startServer } from "./start-server.js";

/** The program; undefined where the environment names none, and the tests that need it are skipped. */
export const VERSITYGW = process.env.SLUICE_TEST_VERSITYGW;
/** The bucket that there is from the start. */
export const BUCKET = "sluice-test";
const KEY = "test";
const SECRET = "test-secret";

/** A server that runs. */
export interface S3Server {
  readonly url: string;
  /** The variables by which a client finds it. */
  readonly env: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

/** Starts a server with one empty bucket. */
export async function startVersitygw(): Promise<S3Server> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-versitygw-"));
  await mkdir(join(folder, "buckets", BUCKET), { recursive: true });
  const { url, stop } = await startServer(
    VERSITYGW ?? "",
    (port) => ["--port", `127.0.0.1:${port}`, "posix", join(folder, "buckets")],
    {
      env: { PATH: process.env.PATH, ROOT_ACCESS_KEY: KEY, ROOT_SECRET_KEY: SECRET },
      stdio: ["ignore", "ignore", "inherit"],
    },
  );
  return {
    url,
    env: {
      AWS_ENDPOINT_URL: url,
      AWS_ACCESS_KEY_ID: KEY,
      AWS_SECRET_ACCESS_KEY: SECRET,
      AWS_REGION: "us-east-1",
    },
    stop: async () => {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
