// The processor as commits record it: what decides which kernels run, and so which bits come out.

import { readFileSync } from "node:fs";
import { cpus } from "node:os";

/** The processor's model and vector extensions. */
export function describeCpu(): { readonly cpu: string; readonly isa: string } {
  return { cpu: cpus()[0]?.model.trim() ?? "unknown", isa: readIsaFlags() };
}

function readIsaFlags(): string {
  try {
    const flags = /^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1]?.split(/\s+/) ?? [];
    return flags
      .filter((flag) => /^(avx|fma|f16c|amx)/.test(flag))
      .sort()
      .join(" ");
  } catch {
    return process.arch;
  }
}
