// The store of a command that reads: what is tried again is told on stderr, so that a store that does not answer is not
// taken for a program that hangs.

import { describeRetry } from "../store/retry.js";
import type { Store } from "../store/store.js";
import { openStore as open } from "../store/stores.js";

/** Opens the store that a URI or path names. @throws as the registry's. */
export function openStore(uri: string): Store {
  return open(uri, {
    onRetry: (note) => {
      const text = describeRetry(note);
      if (text !== null) process.stderr.write(`sluice: ${text}\n`);
    },
  });
}
