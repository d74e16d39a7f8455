// What the tests of PJRT need from outside: SLUICE_TEST_PJRT_CPU names the CPU plug-in, SLUICE_TEST_PJRT_HEADER the C header.

import { execFileSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The CPU plug-in's library; undefined where there is none. */
export const CPU_PLUGIN = process.env.SLUICE_TEST_PJRT_CPU || undefined;
/** pjrt_c_api.h of API 0.81 or later; undefined where there is none. */
export const PJRT_HEADER = process.env.SLUICE_TEST_PJRT_HEADER || undefined;

/** Says aloud which tests are skipped for want of it. */
export function sayWhatIsSkipped(
  what: string,
  missing: "SLUICE_TEST_PJRT_CPU" | "SLUICE_TEST_PJRT_HEADER" | "SLUICE_TEST_LIBTPU",
): void {
  if (!process.env[missing]) console.log(`skipped without ${missing}: ${what}`);
}

/** Builds fake-plugin.c in a folder. @returns the library; with another name, another library to the loader. */
export function buildFakePlugin(folder: string, name: string): string {
  const library = join(folder, name);
  const source = fileURLToPath(new URL("fake-plugin.c", import.meta.url));
  execFileSync("gcc", ["-shared", "-fPIC", "-I", dirname(PJRT_HEADER ?? ""), "-o", library, source]);
  return library;
}
