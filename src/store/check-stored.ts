// After an upload, by whatever protocol: what the store says that it has is what was sent.

import { SluiceError } from "../base/errors.js";
import type { Stored } from "./store.js";

/** The object as the store describes it. @throws SluiceError `store` where that is not what was sent. */
export function checkStored(
  stored: Stored,
  sent: { readonly size: number; readonly crc32c: string },
  where: string,
): Stored {
  if (stored.size === sent.size && (stored.crc32c ?? sent.crc32c) === sent.crc32c) return stored;
  throw new SluiceError("store", `${where} is not what was sent`, {
    found: `${stored.size} bytes, CRC32C ${stored.crc32c ?? "unknown"}`,
    expected: `${sent.size} bytes, CRC32C ${sent.crc32c}`,
    fix: "The store or the way to it corrupts data: start again, and run with another store if it happens again.",
    values: { name: stored.name },
  });
}
