// Data is never run: nothing is evaluated, no shell is given a text, no pickle is loaded, no module is imported by a name that came from
// a file. Held over the source as it is.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const SOURCE = fileURLToPath(new URL("../src/", import.meta.url));
const BANNED: readonly (readonly [what: string, pattern: RegExp])[] = [
  ["eval", /\beval\s*\(/],
  ["new Function", /\bFunction\s*\(/],
  ["node:vm", /["'](node:)?vm["']/],
  ["a timer that is given a text", /\bset(Timeout|Interval)\s*\(\s*["'`]/],
  [
    "a shell",
    /\bshell\s*:\s*(true|["'`])|\b(exec|execSync)\s*\(\s*["'`]|import\s*\{[^}]*\bexec(Sync)?\b[^}]*\}\s*from\s*"node:child_process"/,
  ],
  ["a module by a name that is computed", /\bimport\s*\(\s*[^"'\s)]/],
  ["v8.deserialize", /\bdeserialize\s*\(/],
  ["unpickling", /\b(unpickle|loadPickle|Unpickler|pickle\.loads?)\b/],
];

/** What of a source text is banned, by name. Comments are not code. */
function findBanned(text: string): string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|[^:"'`])\/\/.*$/gm, "$1");
  return BANNED.filter(([, pattern]) => pattern.test(code)).map(([what]) => what);
}

it("runs no data", () => {
  const files = readdirSync(SOURCE, { recursive: true, encoding: "utf8" }).filter((name) =>
    /\.ts$/.test(name),
  );
  expect(files.length).toBeGreaterThan(150);
  const found = files.flatMap((name) =>
    findBanned(readFileSync(join(SOURCE, name), "utf8")).map((what) => `${name}: ${what}`),
  );
  expect(found).toEqual([]);
});

it("would see it", () => {
  const samples = [
    "eval(text)",
    "new Function(text)",
    'import vm from "node:vm"',
    "setTimeout('alert()', 1)",
    "spawn(name, { shell: true })",
    "await import(name)",
    "v8.deserialize(bytes)",
    "unpickle(bytes)",
  ];
  for (const [i, sample] of samples.entries()) expect(findBanned(sample)).toEqual([BANNED[i]?.[0]]);
  expect(findBanned('// eval(x)\nconst a = await import("./b.js");')).toEqual([]);
});
