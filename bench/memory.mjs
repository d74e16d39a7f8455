// Private memory of a process and its children, from Linux's /proc: anonymous pages, without files that are mapped and shared.

import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

function anonymousBytes(pid) {
  try {
    return 1024 * Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

function childrenOf(pid) {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
      readFileSync(`/proc/${pid}/task/${task}/children`, "utf8").split(" ").filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}

/** Watches a process and its children until `stop`, which gives the peak of their sum in bytes. */
function watchMemory(pid, everyMs = 100) {
  let peak = 0;
  const look = () => {
    const all = [pid, ...childrenOf(pid)];
    peak = Math.max(
      peak,
      all.map(anonymousBytes).reduce((a, b) => a + b, 0),
    );
  };
  const timer = setInterval(look, everyMs);
  return {
    stop() {
      clearInterval(timer);
      return peak;
    },
  };
}

/** Runs a program to its end; the JSON of its last line of output, and its peak of private memory. */
export async function runWatched(command, args) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  const memory = watchMemory(child.pid);
  let out = "";
  child.stdout.on("data", (text) => {
    out += text;
  });
  const code = await new Promise((resolve) => child.on("close", resolve));
  const peak_bytes = memory.stop();
  if (code !== 0) throw new Error(`${command} ${args[0]} ended with ${code}`);
  return { ...JSON.parse(out.trim().split("\n").at(-1)), peak_bytes };
}
