// What lies in a bucket, as its bytes.

import { createHash } from "node:crypto";
import { GcsStore } from "../../src/store/gcs.js";

/** SHA-256 of every data object below an address of an emulator, by name. */
export async function hashStored(uri: string, emulator: string): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  const there = new GcsStore(uri, { emulator });
  for await (const { name } of there.list("tpu_"))
    if (/\.(safetensors|pkl\.gz)$/.test(name))
      hashes[name] = createHash("sha256")
        .update(await there.read(name))
        .digest("hex");
  return hashes;
}
