// What a folder's file system is like: whether it is shared or lost at a restart, how much room it has, and how fast it writes durably.

import { mkdir, open, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { formatBytes } from "../base/format-bytes.js";
import { type Finding, findingsOf } from "./finding.js";

const { ok, warning } = findingsOf("store");

/** statfs(2), f_type: those whose nature matters here. */
const KINDS: Readonly<Record<number, string>> = {
  26985: "NFS",
  61267: "ext4",
  1481003842: "XFS",
  2435016766: "Btrfs",
  16914836: "tmpfs",
  2035054128: "overlay",
  4283649346: "SMB",
  1702057286: "FUSE",
  198183888: "Lustre",
  1197093984: "GPFS",
};
const WRITTEN = 64_000_000;
const PIECE = 4_000_000;
const LITTLE_SPACE = 3e9;

/** Looks at a folder's file system. @param scratch a folder on it for a file of the check's own. @param output as the user named it. */
export async function* checkFolder(folder: string, scratch: string, output: string): AsyncGenerator<Finding> {
  const { type, bavail, bsize } = await statfs(folder);
  const kind = KINDS[type] ?? `file system 0x${type.toString(16)}`;
  const free = bavail * bsize;
  if (kind === "tmpfs")
    yield warning(
      `${output} lies in memory (tmpfs)`,
      "Name an --output on a disk: this one is lost at a restart.",
    );
  else if (kind === "NFS")
    yield ok(
      "hard links and fsync work; the folder is on NFS, so that workers of several machines can share it",
    );
  else yield ok(`hard links and fsync work (${kind})`);
  const text = `${formatBytes(free)} are free in ${output}`;
  if (free < LITTLE_SPACE)
    yield warning(text, "Free space or name another --output: a shard takes 1 GB.", { free });
  else yield ok(text, { free });
  const rate = await measureWrites(scratch);
  yield ok(`writes go at ${(rate / 1e6).toFixed(0)} MB/s, made durable`, { write_mb_per_second: rate / 1e6 });
}

/** Bytes a second of a file that is written and made durable. */
async function measureWrites(folder: string): Promise<number> {
  const path = join(folder, "doctor-written");
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = await open(path, "wx", 0o600);
  try {
    const piece = Buffer.alloc(PIECE, "sluice");
    const started = performance.now();
    for (let done = 0; done < WRITTEN; done += PIECE) await file.write(piece);
    await file.sync();
    return WRITTEN / ((performance.now() - started) / 1000);
  } finally {
    await file.close();
    await rm(path, { force: true });
  }
}
