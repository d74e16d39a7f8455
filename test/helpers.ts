// What the tests of the whole share: the program as a user runs it, small real models, datasets, and a look at a run.

import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, expect, vi } from "vitest";
import { runProgram } from "../src/cli/main.js";

const PROGRAM = fileURLToPath(new URL("../dist/cli/sluice.js", import.meta.url));
/** A tiny random Qwen2 (tools/make_model_fixtures.py): two layers, width 48. */
export const TINY_MODEL = fileURLToPath(new URL("./fixtures/models/qwen2-one-kv-head", import.meta.url));
/** The model that ships with the project. */
export const BUNDLED_MODEL = fileURLToPath(new URL("../assets/model", import.meta.url));

/** How a program ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running program. */
export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** What it is, and what it has said so far. */
  describe(): string;
  /** Kills it, and its process group where it leads one. */
  kill(): void;
}

/** Those that have not ended. */
const running = new Set<Running>();

/** Starts `sluice` with the flags; the environment holds nothing that would change its meaning. */
export function startSluice(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  detached = false,
): Running {
  return startProgram(process.execPath, [PROGRAM, ...args], env, detached);
}

export function startProgram(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  detached = false,
  cwd?: string,
): Running {
  const { PATH = "", HOME = "" } = process.env;
  const child = spawn(command, args, {
    env: { PATH, HOME, ...env },
    stdio: ["ignore", "pipe", "pipe"],
    detached,
    cwd,
  });
  const text = { stdout: "", stderr: "" };
  child.stdout?.setEncoding("utf8").on("data", (part: string) => {
    text.stdout += part;
  });
  child.stderr?.setEncoding("utf8").on("data", (part: string) => {
    text.stderr += part;
  });
  const ended = new Promise<Ended>((resolve) =>
    child.on("close", (code, signal) => {
      running.delete(program);
      resolve({ code, signal, ...text });
    }),
  );
  const describe = () =>
    `process ${child.pid}: ${[command, ...args].join(" ")}\n${text.stdout.slice(-1000)}${text.stderr.slice(-2000)}`;
  const kill = () => {
    try {
      if (detached && child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
      else child.kill("SIGKILL");
    } catch {} // It has just ended.
  };
  const program: Running = { child, ended, describe, kill };
  running.add(program);
  return program;
}

/** Runs `sluice` to its end. */
export function runSluice(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  return startSluice(args, env).ended;
}

/** Expects `sluice` to refuse the flags: with that code, and a message that holds the texts and is no stack trace. */
export async function expectRefusal(
  args: readonly string[],
  code: number,
  ...texts: string[]
): Promise<void> {
  const { stderr, code: found } = await callSluice(args);
  for (const text of texts) expect(stderr).toContain(text);
  expect(stderr).toMatch(/^sluice: /);
  expect(stderr).not.toMatch(/\n\s+at |this is a bug/);
  expect(found, args.join(" ")).toBe(code);
}

/** Looks of {@link until}, at most: some four minutes, and more on a busy machine. */
const MOST_LOOKS = 40_000;

/**
 * Looks again and again until something holds. @param what it is, for people.
 * @throws Error where the program that is to bring it about has ended before, or nothing has come of it for very long.
 */
export async function until(
  holds: () => boolean | Promise<boolean>,
  program?: Running,
  what = "the test goes on",
): Promise<void> {
  let ended: Ended | undefined;
  program?.ended.then((how) => {
    ended = how;
  });
  for (let looks = 0; looks < MOST_LOOKS; looks++) {
    const before = ended;
    if (await holds()) return;
    if (before) throw new Error(`the program ended before ${what}: code ${before.code}, ${before.stderr}`);
    await sleep(5);
  }
  throw new Error(`in ${MOST_LOOKS} looks it has not come to where ${what}; ${program?.describe() ?? ""}`);
}

/**
 * Tells a worker to stop, and later to leave at once: by its own clock that must be 2 s later, however late it hears of it.
 * @returns how it ended, and milliseconds from the first signal to its end.
 */
export async function tellTwice({ child, ended }: Running): Promise<{ how: Ended; ms: number }> {
  const told = performance.now();
  child.kill("SIGTERM");
  await sleep(4_000);
  child.kill("SIGTERM");
  return { how: await ended, ms: performance.now() - told };
}

/**
 * Runs `sluice` to its end in this process, one at a time: for commands that start no engine, and for refusals before one starts. A
 * start of the program costs far more than they do.
 */
export async function callSluice(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Omit<Ended, "signal">> {
  const said = { stdout: "", stderr: "" };
  const spies = (["stdout", "stderr"] as const).map((name) =>
    vi.spyOn(process[name], "write").mockImplementation((text) => {
      said[name] += String(text);
      return true;
    }),
  );
  const own = process.env;
  const { PATH = "", HOME = "" } = own;
  process.env = { PATH, HOME, ...env };
  try {
    return { code: await runProgram(args), ...said };
  } finally {
    process.env = own;
    process.exitCode = undefined;
    for (const spy of spies) spy.mockRestore();
  }
}

const folders: string[] = [];
afterEach(async () => {
  // Where a test has failed by its timeout, one of them may be what it waited for: what it has said tells why.
  for (const program of running) {
    process.stderr.write(`still runs after its test, and is killed: ${program.describe()}\n`);
    program.kill();
    await Promise.race([program.ended, sleep(10_000)]);
  }
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

/** A folder that is gone after the test. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-test-"));
  folders.push(folder);
  return folder;
}

/** Records of token ids for the tiny model, seeded: lengths 1 to 40. */
export function tokenRecords(count: number, seed = 1): { id: string; token_ids: number[] }[] {
  let state = seed;
  const next = (bound: number) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % bound;
  };
  return Array.from({ length: count }, (_, i) => ({
    id: `r${i}`,
    token_ids: Array.from({ length: 1 + next(40) }, () => next(199)),
  }));
}

/** Writes records as JSON lines. */
export async function writeJsonl(file: string, records: readonly unknown[]): Promise<string> {
  await writeFile(file, records.map((record) => `${JSON.stringify(record)}\n`).join(""));
  return file;
}

/** The flags of a small run on the tiny model: 8 records a shard, one thread. */
export function smallRun(dataset: string, output: string, ...more: string[]): string[] {
  const flags = [
    "--model",
    TINY_MODEL,
    "--dataset",
    dataset,
    "--output",
    output,
    "--samples-per-shard",
    "8",
    "--threads",
    "1",
  ];
  return ["extract", ...flags, "--lease-seconds", "2", ...more];
}

/** SHA-256 of every data object of a run, by name. */
export async function hashData(run: string): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  for (const folder of (await readdir(run)).filter((name) => name.startsWith("tpu_")).sort()) {
    for (const name of (await readdir(join(run, folder), { recursive: true })).sort()) {
      if (!/\.(safetensors|pkl\.gz)$/.test(name)) continue;
      hashes[`${folder}/${name}`] = createHash("sha256")
        .update(await readFile(join(run, folder, name)))
        .digest("hex");
    }
  }
  return hashes;
}

/** The names of a run's commits. */
export async function listCommits(run: string): Promise<string[]> {
  const names = await readdir(run, { recursive: true }).catch(() => []);
  return names.filter((name) => /^tpu_\d+\/shard_\d+\.json$/.test(name)).sort();
}
