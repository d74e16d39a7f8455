// Temporary files of a run's `.tmp/`: their names say which process made them, so that a later start can tell those of the
// dead from those in use.

import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { isAlive, ownProcess, type ProcessIdentity } from "../base/process-identity.js";
import type { FileSystem } from "./file-system.js";

const NAME = /^([0-9a-f-]+)_(\d+)_(\d+)_(\d+)_[0-9a-f]+(\..*)?$/;
/** Files of other machines (a shared disk) are left alone for this long. */
const FOREIGN_MS = 7 * 24 * 3600 * 1000;

/** A new name: boot, pid namespace, pid, process start, random. */
export function temporaryName(): string {
  const me = ownProcess();
  const owner = me
    ? [me.boot, me.namespace.replace(/\D/g, "") || "0", me.pid, me.start]
    : ["0", "0", process.pid, "0"];
  return `${owner.join("_")}_${randomBytes(8).toString("hex")}`;
}

/** Who made the file of that name; null where that is unknown here (another container, or no temporary file). */
export function temporaryOwner(name: string): ProcessIdentity | null {
  const match = NAME.exec(name);
  return match && ownerOf(match);
}

/** A file that a dead process left. */
export interface AbandonedFile {
  readonly path: string;
  readonly size: number;
}

/**
 * What dead processes left in a folder of temporary files.
 * @param isUseful files that somebody else may still want: they count only when they are as old as those of other machines may get.
 */
export async function* findAbandoned(
  folder: string,
  fs: FileSystem,
  isUseful: (name: string) => boolean = () => false,
): AsyncGenerator<AbandonedFile> {
  for (const name of await fs.list(folder)) {
    const match = NAME.exec(name);
    const path = join(folder, name);
    if (!match || !(await isAbandoned(path, ownerOf(match), isUseful(name), fs))) continue;
    const facts = await fs.stat(path);
    if (facts && !facts.isFolder) yield { path, size: facts.size };
  }
}

/** Removes what dead processes left in a folder of temporary files, as {@link findAbandoned} has it. @returns how many files. */
export async function cleanTemporaries(
  folder: string,
  fs: FileSystem,
  isUseful?: (name: string) => boolean,
): Promise<number> {
  let removed = 0;
  for await (const { path } of findAbandoned(folder, fs, isUseful)) {
    await fs.unlink(path).catch(() => {}); // Another start was quicker.
    removed += 1;
  }
  return removed;
}

async function isAbandoned(
  path: string,
  owner: ProcessIdentity | null,
  isUseful: boolean,
  fs: FileSystem,
): Promise<boolean> {
  const lives = owner ? isAlive(owner) : undefined;
  return lives === undefined || (!lives && isUseful) ? isOld(path, fs) : !lives;
}

async function isOld(path: string, fs: FileSystem): Promise<boolean> {
  const facts = await fs.stat(path);
  return facts !== null && Date.now() - Number(facts.modifiedNs / 1_000_000n) > FOREIGN_MS;
}

function ownerOf(match: RegExpExecArray): ProcessIdentity | null {
  const me = ownProcess();
  const [, boot = "", namespace = "", pid = "", start = ""] = match;
  if (!me || me.namespace.replace(/\D/g, "") !== namespace) return null;
  return { boot, namespace: me.namespace, pid: Number(pid), start };
}
