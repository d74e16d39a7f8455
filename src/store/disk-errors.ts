// What the system errors of a disk mean, in words that say what to do: the store's disk and the spool's fail alike.

import { statSync } from "node:fs";
import { dirname } from "node:path";
import { SluiceError, systemCode } from "../base/errors.js";

/**
 * The error to raise for a system error: a {@link SluiceError} `store` where the disk is full or fails, `config` where there
 * is no permission or a file is in the way of a folder; anything else as it is.
 * @param where the disk's folder, the path that was asked for, and the flag that would name another.
 */
export function explainDiskError(
  cause: unknown,
  where: { readonly disk: string; readonly path: string; readonly flag: "--output" | "--spool" },
): unknown {
  const { disk, path, flag } = where;
  const code = systemCode(cause);
  const details = { found: code, fix: `Name another ${flag}.`, cause };
  switch (code) {
    case "ENOSPC":
    case "EDQUOT":
      return new SluiceError("store", `the disk of ${disk} is full`, {
        ...details,
        fix: `Free space, or name another ${flag}, then start the command again.`,
      });
    case "EIO":
      return new SluiceError("store", `the disk of ${disk} fails`, {
        ...details,
        found: String(cause),
        fix: "Start again on another disk.",
      });
    case "EACCES":
    case "EROFS":
    case "EPERM":
      return new SluiceError("config", `no permission for ${path}`, {
        ...details,
        // Commands that only read a run end here, too: they have no --output.
        fix: `Change its permissions, or name another folder${flag === "--spool" ? " with --spool" : ""}.`,
      });
    case "ENOTDIR":
    case "EEXIST":
      return new SluiceError("config", `${findFileInTheWay(path)} is in the way of a folder`, {
        ...details,
        found: "a file",
      });
    default:
      return cause;
  }
}

/** The nearest of the path and its parents that is a file; the path where none is. */
function findFileInTheWay(path: string): string {
  for (let at = path; at !== dirname(at); at = dirname(at)) {
    if (isFile(at)) return at;
  }
  return path;
}

function isFile(path: string): boolean {
  try {
    return statSync(path).isFile();
  } catch {
    return false; // Nothing there, or nothing that can be looked at.
  }
}
