// Sluice's own folder in the user's cache. Whatever lies there can be made again.

import { homedir } from "node:os";
import { join } from "node:path";

/** A place in it: `$XDG_CACHE_HOME/sluice/NAME`, or `~/.cache/sluice/NAME`. */
export function cacheFolder(name: string): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "sluice", name);
}
