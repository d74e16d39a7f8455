// The free space of the disk that a local store lies on.

import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { isMissing } from "./file-system.js";
import type { Store } from "./store.js";

/** Bytes that this user may still write to the store's disk; null for a store that is no local folder. */
export async function freeSpace(store: Store): Promise<number | null> {
  if (store.spool === undefined) return null;
  for (let folder = store.spool; ; folder = dirname(folder)) {
    try {
      const { bavail, bsize } = await statfs(folder);
      return bavail * bsize;
    } catch (error) {
      if (!isMissing(error) || folder === dirname(folder)) return null;
    }
  }
}
