// The registry of stores: one line a kind. A kind that is not built is refused, never taken for a local path.

import { SluiceError } from "../base/errors.js";
import { schemeOf } from "./bucket-uri.js";
import { FileStore } from "./file.js";
import { GcsStore } from "./gcs.js";
import type { RetryOptions } from "./retry.js";
import { S3Store } from "./s3.js";
import type { Store } from "./store.js";

/**
 * Opens the store that a URI or path names.
 * @param options of stores that are reached over a network: a listener of retries, a signal, counters.
 * @throws SluiceError `config` for a kind that is not in this version, or an address that is none.
 */
export function openStore(uri: string, options: RetryOptions = {}): Store {
  const scheme = schemeOf(uri);
  if (scheme === undefined) return new FileStore(uri);
  if (scheme === "gs") return new GcsStore(uri, options);
  if (scheme === "s3") return new S3Store(uri, options);
  throw new SluiceError("config", `${scheme}:// stores are not in this version`, {
    found: uri,
    expected: "a local or shared folder, gs://bucket/prefix or s3://bucket/prefix",
    fix: "Name a folder with --output, and copy the run afterwards.",
  });
}
