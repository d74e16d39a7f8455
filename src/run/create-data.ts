// The data object of a unit. Its name may be taken by an earlier attempt or another worker: the same bytes are fine; other
// bytes (other hardware) make this attempt's go under a name that holds their hash. Nothing is ever overwritten or deleted.

import { createHash } from "node:crypto";
import { SluiceError } from "../base/errors.js";
import { type Unit, unitName } from "../plan/unit.js";
import type { FileHash } from "../shard/hash.js";
import type { Store } from "../store/store.js";
import type { Commit } from "./commit.js";
import { dataName } from "./log.js";

const READ_BYTES = 4 << 20;

/**
 * Creates the unit's data object from a complete local file, and checks what the store says of it.
 * @param committed the unit's commit where its data has gone missing: only those very bytes may take its name.
 * @returns the object's name relative to the commit's folder: `shard_0001.safetensors`, or one below `alt/`.
 * @throws SluiceError `data` where the bytes are not the committed ones; `store` where the store kept something else.
 */
export async function createData(
  store: Store,
  unit: Unit,
  file: string,
  hash: FileHash,
  extension: string,
  committed: Commit | null,
): Promise<string> {
  const base = unitName(unit);
  const usual = `${base}${extension}`;
  const folder = `tpu_${unit.stream}/`;
  if (committed) {
    const name = dataName(committed);
    if (name === null || committed.sha256 !== hash.sha256) {
      throw new SluiceError(
        "data",
        `the data of ${store.uri}/${base}.json is missing, and this machine makes other bytes`,
        {
          found: `SHA-256 ${hash.sha256.slice(0, 16)}`,
          expected: `${committed.sha256?.slice(0, 16)} as committed`,
          fix: `Restore ${name} from a copy, or remove the commit: extract computes the unit again.`,
          values: { name },
        },
      );
    }
    await createSame(store, name, file, hash);
    return name.slice(folder.length);
  }
  if (await createSame(store, usual, file, hash)) return usual.slice(folder.length);
  const shard = base.slice(folder.length);
  const alternative = `${folder}alt/${shard}-${hash.sha256.slice(0, 8)}${extension}`;
  if (await createSame(store, alternative, file, hash)) return alternative.slice(folder.length);
  throw new SluiceError("data", `${store.uri}/${alternative} holds other bytes than its name says`, {
    fix: "Restore it from a copy, or remove it.",
    values: { name: alternative },
  });
}

/** Creates the object; true where it now holds the file's bytes, whoever put them there. */
async function createSame(store: Store, name: string, file: string, hash: FileHash): Promise<boolean> {
  const stored = await store.create(name, { file, size: hash.size, crc32c: hash.crc32c });
  if (stored === "exists") return (await hashStored(store, name, hash.size)) === hash.sha256;
  const sameSum = stored.crc32c === undefined || stored.crc32c === hash.crc32c;
  if (stored.size === hash.size && sameSum) return true;
  throw new SluiceError("store", `${store.uri}/${name} is not what was sent`, {
    found: `${stored.size} bytes, CRC32C ${stored.crc32c}`,
    expected: `${hash.size} bytes, CRC32C ${hash.crc32c}`,
    fix: "The store or the way to it corrupts data: start again, and run with another store if it happens again.",
  });
}

/** The SHA-256 of an object, read in pieces; undefined where its size already tells it apart, or it has vanished. */
async function hashStored(store: Store, name: string, size: number): Promise<string | undefined> {
  if ((await store.head(name))?.size !== size) return undefined;
  const hash = createHash("sha256");
  for (let start = 0; start < size; start += READ_BYTES) {
    hash.update(await store.read(name, { start, end: Math.min(size, start + READ_BYTES) }));
  }
  return hash.digest("hex");
}
