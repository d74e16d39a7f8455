// The SHA-256 of a file that is read for nothing else. (Of shards, which are long and have more sums: shard/hash.ts, in a thread.)

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";

/** In hex. @throws the system error of reading it. */
export async function sha256OfFile(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const piece of createReadStream(file, { highWaterMark: 2 ** 20 })) hash.update(piece as Buffer);
  return hash.digest("hex");
}
