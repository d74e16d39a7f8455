// Names with wildcards, for shells that do not expand them and for quoted patterns: `*`, `?`, `[abc]`, `{a,b}`, and `**` for any
// number of folders. (Node has `fs.glob` only from version 22 on.)

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { systemCode } from "../base/errors.js";
import { isRemotePath, listAll } from "./data-file.js";

/** Whether a name has wildcards. */
export function isGlob(path: string): boolean {
  return /[*?[{]/.test(path);
}

/** The files that a pattern names, in order of name (by code point). Hidden ones only where the pattern writes the dot. */
export async function expandGlob(pattern: string): Promise<string[]> {
  const parts = pattern.split("/");
  const fixed = parts.findIndex(isGlob);
  const root = parts.slice(0, fixed).join("/");
  if (isRemotePath(pattern)) {
    const wanted = parts.slice(fixed).join("/");
    const isHidden = (name: string) => name.split("/").some((part) => part.startsWith("."));
    const names = (await listAll(root)).filter((name) => !isHidden(name) && matchesGlob(wanted, name));
    return names.sort(byCodePoint).map((name) => `${root}/${name}`);
  }
  const found = await walk(root === "" && fixed > 0 ? "/" : root, parts.slice(fixed));
  return [...new Set(found)].sort(byCodePoint);
}

/** Whether a pattern names a path, both relative with `/` between their parts. */
export function matchesGlob(pattern: string, path: string): boolean {
  const matches = (parts: readonly string[], names: readonly string[]): boolean => {
    const [part, ...rest] = parts;
    if (part === undefined) return names.length === 0;
    if (part === "**") return matches(rest, names) || (names.length > 0 && matches(parts, names.slice(1)));
    const [name, ...others] = names;
    return name !== undefined && toRegExp(part).test(name) && matches(rest, others);
  };
  return matches(pattern.split("/"), path.split("/"));
}

/** Order by code point: the same on every machine, whatever its language. */
export function byCodePoint(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

async function walk(folder: string, parts: readonly string[]): Promise<string[]> {
  const [part, ...rest] = parts;
  if (part === undefined) return [];
  const entries = await readdir(folder || ".", { withFileTypes: true }).catch((error: unknown) => {
    if (systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR") return [];
    throw error;
  });
  const found: string[] = [];
  if (part === "**") found.push(...(await walk(folder, rest)));
  const matcher = part === "**" ? /^[^.]/ : toRegExp(part);
  for (const entry of entries) {
    const isHidden = entry.name.startsWith(".") && !part.startsWith(".");
    if (isHidden || !matcher.test(entry.name)) continue;
    const path = folder === "" ? entry.name : join(folder, entry.name);
    if (part === "**") {
      if (entry.isDirectory()) found.push(...(await walk(path, parts)));
    } else if (rest.length > 0) {
      found.push(...(await walk(path, rest)));
    } else if (!entry.isDirectory()) {
      found.push(path);
    }
  }
  return found;
}

/** One part of a pattern, between slashes. */
function toRegExp(part: string): RegExp {
  let source = "";
  let depth = 0;
  for (let i = 0; i < part.length; i++) {
    const sign = part[i] ?? "";
    const close = sign === "[" ? part.indexOf("]", i + 2) : -1;
    if (close > 0) {
      source += `[${part
        .slice(i + 1, close)
        .replace(/^!/, "^")
        .replace(/\\/g, "\\\\")}]`;
      i = close;
    } else if (sign === "*") source += ".*";
    else if (sign === "?") source += ".";
    else if (sign === "{" && part.includes("}", i)) {
      source += "(?:";
      depth += 1;
    } else if (sign === "}" && depth > 0) {
      source += ")";
      depth -= 1;
    } else if (sign === "," && depth > 0) source += "|";
    else source += sign.replace(/[\\^$.|?*+()[\]{}]/g, "\\$&");
  }
  return new RegExp(`^${source}$`, "su");
}
