// Which process this is, told apart from every other of this machine's past: a pid alone is used again. Linux says enough
// in /proc; elsewhere nothing is known, and callers fall back on silence measured by their own clock.

import { readFileSync, readlinkSync } from "node:fs";
import { z } from "zod";
import { systemCode } from "./errors.js";

/** A process of one boot of one machine. */
export const processIdentitySchema = z.object({
  /** Random for each boot of a kernel. */
  boot: z.string(),
  /** The pid namespace: containers on one machine have their own. */
  namespace: z.string(),
  pid: z.number().int(),
  /** Clock ticks between the boot and the process's start. */
  start: z.string(),
});

/** See {@link processIdentitySchema}. */
export type ProcessIdentity = z.infer<typeof processIdentitySchema>;

/** The processes of a machine, as one of them sees them. */
export interface Processes {
  /** The one that asks; null where the system does not tell. */
  own(): ProcessIdentity | null;
  /** Whether that process is alive; undefined where it cannot be known from here. */
  isAlive(identity: ProcessIdentity): boolean | undefined;
}

let own: ProcessIdentity | null | undefined;

/** This process; null where the system does not tell. */
export function ownProcess(): ProcessIdentity | null {
  if (own !== undefined) return own;
  try {
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    const namespace = readlinkSync("/proc/self/ns/pid");
    const start = startTime(process.pid);
    own = start ? { boot, namespace, pid: process.pid, start } : null;
  } catch {
    own = null;
  }
  return own;
}

/** Whether that process is alive; undefined where it cannot be known from here: another machine, container or boot, or a /proc that hides other users' processes. */
export function isAlive(identity: ProcessIdentity): boolean | undefined {
  const here = ownProcess();
  if (!here || here.namespace !== identity.namespace || here.boot !== identity.boot) return undefined;
  const start = startTime(identity.pid);
  return start === undefined && isHidden(identity.pid) ? undefined : start === identity.start;
}

/** Those of this machine. */
export const realProcesses: Processes = { own: ownProcess, isAlive };

/** Whether there is a process by that number that /proc does not show (its mount option hidepid; proc(5)). */
function isHidden(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false; // One of ours, which has begun since.
  } catch (error) {
    return systemCode(error) === "EPERM";
  }
}

/** Field 22 of /proc/PID/stat (proc(5)); undefined where it shows no such process, null for a zombie. The command's name may hold spaces and brackets. */
function startTime(pid: number): string | null | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? null : (fields[19] ?? null);
  } catch {
    return undefined;
  }
}
