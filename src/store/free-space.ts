// The free space of the disk that a local store lies on.

import { nodeFileSystem } from "./file-system.js";
import type { Store } from "./store.js";

/** Bytes that this user may still write to the store's disk; null for a store that is no local folder. */
export async function freeSpace(store: Store): Promise<number | null> {
  return store.spool === undefined ? null : ((await nodeFileSystem.freeSpace?.(store.spool)) ?? null);
}
