// Holds the direction of the flow: a folder imports only from those that docs/architecture.md lets it.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const SOURCE = fileURLToPath(new URL("../src/", import.meta.url));
const FLOW = ["store", "hub", "plan", "graph", "data", "model", "engine", "shard"];
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  base: [],
  store: [],
  hub: [],
  plan: [],
  graph: [],
  shard: [],
  estimate: ["plan"],
  data: ["store", "hub", "plan"],
  model: ["graph", "store", "hub"],
  engine: ["plan", "graph"],
  run: [...FLOW, "estimate"],
  read: ["store", "shard", "run", "plan"],
  doctor: [...FLOW, "estimate", "run"],
  cli: [...FLOW, "run", "read", "doctor"],
  ".": [...FLOW, "run", "read"],
};

/** The imports of a source text that its folder may not make. */
function findForbidden(folder: string, text: string): string[] {
  const targets = [...text.matchAll(/(?:from|import)[\s(]+"(\.[^"]+)"/g)].map((match) => match[1] ?? "");
  const folders = targets.map(
    (target) =>
      /^\.\.\/([a-z]+)\//.exec(target)?.[1] ??
      (folder === "." ? /^\.\/([a-z]+)\//.exec(target)?.[1] : undefined),
  );
  return folders.filter(
    (to): to is string =>
      to !== undefined && to !== "base" && to !== folder && !ALLOWED[folder]?.includes(to),
  );
}

const files = readdirSync(SOURCE, { recursive: true, encoding: "utf8" }).filter(
  (name) => name.endsWith(".ts") && !/\.(test|suite)\.ts$/.test(name),
);

it.each(files)("%s imports with the flow", (name) => {
  const folder = name.includes("/") ? (name.split("/")[0] ?? "") : ".";
  expect(Object.keys(ALLOWED)).toContain(folder);
  expect(findForbidden(folder, readFileSync(join(SOURCE, name), "utf8"))).toEqual([]);
});

it("would see an import against the flow", () => {
  expect(findForbidden("plan", 'import { x } from "../run/log.js";')).toEqual(["run"]);
  expect(findForbidden("plan", 'const { x } = await import("../run/log.js");')).toEqual(["run"]);
  expect(findForbidden("engine", 'import type { Y } from "../graph/graph.js";')).toEqual([]);
});

it("lets no pointer out of engine/pjrt: only these of its files are imported elsewhere", () => {
  const open = ["error", "executable-cache", "find-plugins", "host-memory", "pjrt", "plugin", "probe", "tpu"];
  const imported = files
    .filter((name) => !name.startsWith("engine/pjrt/"))
    .flatMap((name) =>
      Array.from(readFileSync(join(SOURCE, name), "utf8").matchAll(/\/pjrt\/([a-z-]+)\.js"/g)),
    )
    .map((match) => match[1]);
  expect(imported.length).toBeGreaterThan(0);
  expect(imported.filter((name) => !open.includes(name ?? ""))).toEqual([]);
});
