// A server of a bucket in a process of its own, on a port that is free.

import { type StdioOptions, spawn } from "node:child_process";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const TRIES = 5;
/** For the server's start: it listens in less than a second, and in half a minute on a machine with much else to do. */
const START_MS = 120_000;

/** A server that answers. */
export interface StartedServer {
  readonly url: string;
  stop(): Promise<void>;
}

/**
 * Starts a program that listens on a port of 127.0.0.1. Between finding a port and listening there somebody else may take it: the
 * program ends then, and another port is tried. @throws Error where it ends every time, or runs and never answers.
 */
export async function startServer(
  program: string,
  argsFor: (port: number) => readonly string[],
  options: { readonly env: NodeJS.ProcessEnv; readonly stdio: StdioOptions },
): Promise<StartedServer> {
  for (let tries = 1; ; tries++) {
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    const child = spawn(program, argsFor(port), options);
    let hasEnded = false;
    const ended = new Promise<void>((resolve) =>
      child.once("close", () => {
        hasEnded = true;
        resolve();
      }),
    );
    const stop = () => {
      child.kill("SIGKILL");
      return ended;
    };
    const started = performance.now();
    while (!hasEnded && !(await answers(url))) {
      if (performance.now() - started > START_MS) {
        await stop();
        throw new Error(`${program} has not answered at ${url} within ${START_MS / 1000} s`);
      }
      await sleep(50);
    }
    if (!hasEnded) return { url, stop };
    if (tries === TRIES) throw new Error(`${program} ended with ${child.exitCode}`);
  }
}

/** Whether anything speaks HTTP there. */
function answers(url: string): Promise<boolean> {
  return fetch(url, { signal: AbortSignal.timeout(START_MS) }).then(
    () => true,
    () => false,
  );
}

/** A port that is free now. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
