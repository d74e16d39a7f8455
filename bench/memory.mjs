// Private memory of a process and its children, from Linux's /proc: anonymous pages, without files that are mapped and shared.

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
export function watchMemory(pid, everyMs = 100) {
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
