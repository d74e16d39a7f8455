// Where shards under way lie: in the run itself where that is a folder, so that the finished file is what is linked; else
// where --spool says, or in a folder of this user's below the system's temporary one.

import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { explainDiskError } from "../store/disk-errors.js";
import type { FileSystem } from "../store/file-system.js";
import type { Store } from "../store/store.js";

/**
 * Chooses the folder; where it is below the temporary one, makes it, for this user alone.
 * @param named by --spool. @throws SluiceError `config` where somebody else's is in its place; as {@link explainDiskError} says.
 */
export async function openSpoolFolder(
  named: string | undefined,
  store: Store,
  disk: FileSystem,
): Promise<string> {
  const chosen = named ?? store.spool;
  if (chosen !== undefined) return chosen;
  const folder = defaultSpoolFolder();
  try {
    await disk.makePrivateFolder?.(folder);
  } catch (cause) {
    throw explainDiskError(cause, { disk: folder, path: folder, flag: "--spool" });
  }
  return folder;
}

/** One folder for all runs of a user: what a worker that died has left is found by the next. */
export function defaultSpoolFolder(): string {
  return join(tmpdir(), `sluice-spool-${userInfo().uid}`);
}
