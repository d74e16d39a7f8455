// The store of a command that reads: what is tried again is told on stderr, so that a store that does not answer is not
// taken for a program that hangs.

import { describeRetry } from "../store/retry.js";
import type { Store } from "../store/store.js";
import { openStore as open } from "../store/stores.js";
import { refuseEmpty } from "./values.js";

/** Opens the store that a URI or path names: RUN of a command. @throws SluiceError `usage` where it is empty; as the registry's. */
export function openStore(uri: string): Store {
  refuseEmpty("RUN", uri);
  return open(uri, {
    onRetry: (note) => {
      const text = describeRetry(note);
      if (text !== null) process.stderr.write(`sluice: ${text}\n`);
    },
  });
}
