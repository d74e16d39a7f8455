// versitygw: a real S3 server on a local folder, in a process of its own. Why this one: docs/stores.md.

import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

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
  const port = await freePort();
  const child = spawn(VERSITYGW ?? "", ["--port", `127.0.0.1:${port}`, "posix", join(folder, "buckets")], {
    env: { PATH: process.env.PATH, ROOT_ACCESS_KEY: KEY, ROOT_SECRET_KEY: SECRET },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const url = `http://127.0.0.1:${port}`;
  while (!(await answers(url))) {
    if (child.exitCode !== null) throw new Error(`versitygw ended with ${child.exitCode}`);
    await sleep(50);
  }
  return {
    url,
    env: {
      AWS_ENDPOINT_URL: url,
      AWS_ACCESS_KEY_ID: KEY,
      AWS_SECRET_ACCESS_KEY: SECRET,
      AWS_REGION: "us-east-1",
    },
    stop: async () => {
      child.kill("SIGKILL");
      await ended;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Whether anything speaks HTTP there. */
export async function answers(url: string): Promise<boolean> {
  return fetch(url).then(
    () => true,
    () => false,
  );
}

/** A port that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
