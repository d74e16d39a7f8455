// Temporary files of a run's `.tmp/`: their names say which process made them, so that a later start can tell those of the
// dead from those in use.

import { join } from "node:path";
import { type Clock, realClock } from "../base/clock.js";
import { type Processes, type ProcessIdentity, realProcesses } from "../base/process-identity.js";
import type { FileSystem } from "./file-system.js";

const NAME = /^([0-9a-f-]+)_(\d+)_(\d+)_(\d+)_[0-9a-f]+(\..*)?$/;
/** Files of other machines (a shared disk) are left alone for this long. */
const FOREIGN_MS = 7 * 24 * 3600 * 1000;

/** Who makes temporary files: names and ages follow from it. */
export interface Maker {
  readonly clock: Clock;
  readonly processes: Processes;
}

/** This process. */
export const THIS_MACHINE: Maker = { clock: realClock, processes: realProcesses };

/** A new name: boot, pid namespace, pid, process start, random. */
export function temporaryName({ clock, processes }: Maker = THIS_MACHINE): string {
  const me = processes.own();
  const owner = me
    ? [me.boot, me.namespace.replace(/\D/g, "") || "0", me.pid, me.start]
    : ["0", "0", process.pid, "0"];
  return `${owner.join("_")}_${clock.uuid().replaceAll("-", "").slice(0, 16)}`;
}

/** Whether a name is one that {@link temporaryName} gives, whatever follows it after a dot. */
export function isTemporaryName(name: string): boolean {
  return NAME.test(name);
}

/** Who made the file of that name; null where that is unknown here (another container, or no temporary file). */
export function temporaryOwner(name: string, maker: Maker = THIS_MACHINE): ProcessIdentity | null {
  const match = NAME.exec(name);
  return match && ownerOf(match, maker);
}

/** A file that a dead process left. */
export interface AbandonedFile {
  readonly path: string;
  readonly size: number;
}

/**
 * What dead processes left in a folder of temporary files.
 * @param isUseful files that somebody else may still want: they stay as long as those of other machines.
 */
export async function* findAbandoned(
  folder: string,
  fs: FileSystem,
  isUseful: (name: string) => boolean = () => false,
  maker: Maker = THIS_MACHINE,
): AsyncGenerator<AbandonedFile> {
  for (const name of await fs.list(folder)) {
    const match = NAME.exec(name);
    const path = join(folder, name);
    if (!match || !(await isAbandoned(path, ownerOf(match, maker), { fs, maker, isUseful: isUseful(name) })))
      continue;
    const facts = await fs.stat(path);
    if (facts && !facts.isFolder) yield { path, size: facts.size };
  }
}

/** Removes what {@link findAbandoned} finds. @returns how many files. */
export async function cleanTemporaries(
  folder: string,
  fs: FileSystem,
  isUseful?: (name: string) => boolean,
  maker?: Maker,
): Promise<number> {
  let removed = 0;
  for await (const { path } of findAbandoned(folder, fs, isUseful, maker)) {
    await fs.unlink(path).catch(() => {}); // Another start was quicker.
    removed += 1;
  }
  return removed;
}

async function isAbandoned(
  path: string,
  owner: ProcessIdentity | null,
  { fs, maker, isUseful }: { readonly fs: FileSystem; readonly maker: Maker; readonly isUseful: boolean },
): Promise<boolean> {
  const alive = owner ? maker.processes.isAlive(owner) : undefined;
  if (alive === true) return false;
  if (alive === false && !isUseful) return true;
  const facts = await fs.stat(path);
  return facts !== null && maker.clock.date().getTime() - Number(facts.modifiedNs / 1_000_000n) > FOREIGN_MS;
}

function ownerOf(match: RegExpExecArray, { processes }: Maker): ProcessIdentity | null {
  const me = processes.own();
  const [, boot = "", namespace = "", pid = "", start = ""] = match;
  if (!me || me.namespace.replace(/\D/g, "") !== namespace) return null;
  return { boot, namespace: me.namespace, pid: Number(pid), start };
}
