// What the system's own error codes mean to a user. Most are caught and explained where they arise; this is for the rest, so
// that a folder without permission never looks like a bug of ours.

import { type ErrorKind, SluiceError, systemCode } from "./errors.js";

const MEANINGS: Readonly<Record<string, readonly [ErrorKind, string, string]>> = {
  ENOSPC: ["store", "the disk is full", "Free space, then start the command again."],
  EDQUOT: ["store", "the quota is used up", "Free space, then start the command again."],
  EIO: ["store", "the disk fails", "Try another disk."],
  EACCES: ["config", "no permission", "Change its permissions, or name another path."],
  EPERM: ["config", "no permission", "Change its permissions, or name another path."],
  EROFS: ["config", "the file system is read-only", "Name a path on another file system."],
  ENOENT: ["config", "there is nothing", "Check the path."],
  ENOTDIR: ["config", "a file is in the way of a folder", "Name another path."],
  EEXIST: ["config", "a file is in the way", "Name another path."],
  EISDIR: ["config", "a folder is where a file should be", "Name a file."],
  ENAMETOOLONG: ["config", "the name is too long", "Name a shorter path."],
  ELOOP: ["config", "links lead in a circle", "Name another path."],
  EMFILE: ["config", "too many files are open", "Raise the limit: ulimit -n 65536."],
  ENFILE: ["config", "too many files are open on this machine", "Raise the limit: sysctl fs.file-max."],
  ENOMEM: ["store", "the machine has no memory left", "Start on a larger machine, or with fewer workers."],
};

/** The error in words, with the exit code of its kind; undefined where it is no error of the system that we know. */
export function explainSystemError(error: unknown): SluiceError | undefined {
  const code = systemCode(error);
  const meaning = code === undefined ? undefined : MEANINGS[code];
  if (!meaning) return undefined;
  const { path, dest, syscall } = error as { path?: unknown; dest?: unknown; syscall?: unknown };
  const where = [path, dest].filter((p) => typeof p === "string").join(" to ");
  const [kind, what, fix] = meaning;
  const found = typeof syscall === "string" ? `${code} from ${syscall}` : code;
  return new SluiceError(kind, where ? `${what}: ${where}` : what, { found, fix, cause: error });
}
