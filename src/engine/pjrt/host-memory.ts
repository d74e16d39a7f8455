// Host memory: what a CPU plug-in reads in place, which begins at a multiple of 64 bytes; and what was freed goes back to the system.

import { open } from "node:fs/promises";
import { messageOf, SluiceError } from "../../base/errors.js";
import { addressOf, mapPages } from "./native.js";
import { allocate } from "./struct.js";

export { returnFreedMemory } from "./native.js";

/** Where values must begin for a CPU plug-in not to copy them. */
export const ALIGNMENT = 64;
/** A multiple of every page size that Linux has. */
const PAGE_BYTES = 65_536;

/** Zeroed memory that begins at a multiple of {@link ALIGNMENT}. */
export function alignedBytes(length: number): Uint8Array {
  const bytes = allocate(length + ALIGNMENT);
  const past = Number(addressOf(bytes) % BigInt(ALIGNMENT));
  return bytes.subarray((ALIGNMENT - past) % ALIGNMENT).subarray(0, length);
}

/** Whether a CPU plug-in can read these bytes in place. */
export function isAligned(bytes: Uint8Array): boolean {
  return addressOf(bytes) % BigInt(ALIGNMENT) === 0n;
}

/**
 * A part of a file, mapped for reading until the process ends: its pages are the page cache's, so that several processes share
 * them. It begins at a multiple of 64 where `start` is one. The file must not be shortened meanwhile.
 * @throws SluiceError `config` where it cannot be mapped or is too short.
 */
export async function mapFile(file: string, start: number, length: number): Promise<Uint8Array> {
  if (length === 0) return new Uint8Array();
  const handle = await open(file, "r");
  try {
    const { size } = await handle.stat();
    if (start + length > size)
      throw new SluiceError("config", `${file} is too short`, {
        found: `${size} bytes`,
        expected: `at least ${start + length}`,
      });
    const before = start % PAGE_BYTES;
    return mapPages(handle.fd, start - before, before + length).subarray(before);
  } catch (cause) {
    if (cause instanceof SluiceError) throw cause;
    throw new SluiceError("config", `${file} cannot be mapped`, { found: messageOf(cause), cause });
  } finally {
    await handle.close();
  }
}
