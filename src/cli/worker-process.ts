// A worker as a process of its own: `sluice extract` started by another command.

import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { entryPoint } from "../base/entry.js";

/** A worker that was started. */
export interface WorkerProcess {
  readonly child: ChildProcess;
  /** Its exit code; null where a signal ended it. */
  readonly ended: Promise<number | null>;
  /** The last that it said, on either output, without the program's name. */
  readonly lastLine: () => string;
}

/** Starts `sluice extract` with the flags. */
export function startWorker(flags: Readonly<Record<string, string>>): WorkerProcess {
  const program = fileURLToPath(entryPoint(import.meta.url, "./sluice.js"));
  const child = spawn(process.execPath, [program, "extract", ...Object.entries(flags).flat()], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NO_COLOR: "1" },
  });
  let text = "";
  for (const stream of [child.stderr, child.stdout])
    stream?.setEncoding("utf8").on("data", (part: string) => {
      text = (text + part).slice(-10_000);
    });
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  const lastLine = () => {
    const lines = text.trim().split("\n");
    return (lines.findLast((line) => !line.includes("run again with --debug")) ?? "").replace(
      /^sluice: /,
      "",
    );
  };
  return { child, ended, lastLine };
}
