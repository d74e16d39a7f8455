// Compiled executables on disk, in the user's cache: a worker that was pre-empted must not compile again. An entry is taken
// only where everything that went into it is the same; one that is torn, foreign or refused is compiled anew. Executables are
// machine code, so the folder must belong to this user alone.

import { createHash, randomUUID } from "node:crypto";
import { chmod, mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { cacheFolder } from "../../base/cache-folder.js";
import { sha256OfFile } from "../../base/sha256.js";
import { PjrtError } from "./error.js";
import { type Client, devicesOf, type Executable, type Program } from "./pjrt.js";

/** Bytes that the folder may take; the entries that were not used for the longest time go first. */
const LIMIT_BYTES = 4e9;
const SUFFIX = ".pjrt";
const FORMAT = 1;
/** Variables that XLA's compilers read. NPROC, a CPU's threads: work is divided among so many when it is compiled, and not when it is loaded. */
const COMPILER_SETTINGS = ["NPROC", "XLA_FLAGS", "LIBTPU_INIT_ARGS"];

const headerSchema = z.object({ key: z.string(), sha256: z.string() });

/** A program's executable, and whether it came from the cache. */
export interface CachedExecutable {
  readonly executable: Executable;
  readonly isCached: boolean;
  /** Its size in the cache; null where it is not there. */
  readonly bytes: number | null;
}

/**
 * The program, loaded from the cache or compiled and kept there. That the cache cannot be used is never an error.
 * @param folder where entries lie. @throws what `Client.compile` throws.
 */
export async function compileCached(
  client: Client,
  program: Program,
  folder = cacheFolder("executables"),
): Promise<CachedExecutable> {
  if (!(await isPrivate(folder)))
    return { executable: await client.compile(program), isCached: false, bytes: null };
  const key = await keyOf(client, program);
  const file = join(folder, `${key.slice(0, 40)}${SUFFIX}`);
  const bytes = await readEntry(file, key);
  if (bytes) {
    try {
      const executable = await client.loadCompiled(bytes, program);
      await utimes(file, new Date(), new Date()).catch(() => {});
      return { executable, isCached: true, bytes: bytes.length };
    } catch {
      // Refused by the plug-in, or not this program's: compiled anew, which says what is wrong if anything is.
    }
  }
  const executable = await client.compile(program);
  return { executable, isCached: false, bytes: await keep(executable, folder, file, key) };
}

/** Everything that decides whether an executable fits, as a hash. */
async function keyOf(
  { plugin, platform, platformVersion, devices }: Client,
  program: Program,
): Promise<string> {
  const facts = {
    format: FORMAT,
    plugin: await hashOfPlugin(plugin.file),
    api: plugin.apiVersion,
    platform,
    platformVersion,
    kinds: devicesOf(program, devices).map((device) => device.kind),
    // The CPU plug-in compiles for the very processor that it runs on.
    processor: platform === "cpu" ? await describeProcessor() : "",
    settings: COMPILER_SETTINGS.map((name) => process.env[name] ?? ""),
    text: createHash("sha256").update(program.text).digest("hex"),
    parameters: program.parameters,
    outputs: program.outputs,
    partitions: program.partitions ?? 1,
    shardings: program.shardings ?? "shardy",
  };
  return createHash("sha256").update(JSON.stringify(facts)).digest("hex");
}

const hashes = new Map<string, Promise<string>>();

/** SHA-256 of the plug-in's library, taken once a process. */
function hashOfPlugin(file: string): Promise<string> {
  const known = hashes.get(file);
  if (known) return known;
  const taken = sha256OfFile(file);
  hashes.set(file, taken);
  return taken;
}

async function describeProcessor(): Promise<string> {
  const text = await readFile("/proc/cpuinfo", "utf8").catch(() => "");
  const line = (name: string) => new RegExp(`^${name}\\s*:.*$`, "m").exec(text)?.[0] ?? "";
  return [process.arch, line("model name"), line("flags"), line("Features")].join("\n");
}

/** An entry's executable; null where there is none that is whole and of this key. */
async function readEntry(file: string, key: string): Promise<Uint8Array | null> {
  try {
    const entry = await readFile(file);
    const end = entry.indexOf(10);
    const header = headerSchema.parse(JSON.parse(entry.subarray(0, end).toString("utf8")));
    const bytes = entry.subarray(end + 1);
    return header.key === key && header.sha256 === sha256(bytes) ? bytes : null;
  } catch {
    return null;
  }
}

/** Writes an entry. @returns its executable's bytes; null where it cannot be kept. */
async function keep(
  executable: Executable,
  folder: string,
  file: string,
  key: string,
): Promise<number | null> {
  const temporary = `${file}.${randomUUID()}`;
  try {
    const bytes = executable.serialize();
    const header = `${JSON.stringify({ key, sha256: sha256(bytes) })}\n`;
    await makeRoom(folder, bytes.length);
    await writeFile(temporary, Buffer.concat([Buffer.from(header), bytes]), { mode: 0o600, flag: "wx" });
    await rename(temporary, file);
    return bytes.length;
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    // A plug-in that cannot serialise, a disk that is full: the executable itself is as good.
    if (!(error instanceof PjrtError) && !(error instanceof Error && "code" in error)) throw error;
    return null;
  }
}

async function makeRoom(folder: string, bytes: number): Promise<void> {
  const entries = await Promise.all(
    (await readdir(folder)).map(async (name) => {
      const file = join(folder, name);
      const facts = await stat(file).catch(() => null);
      return { file, size: facts?.size ?? 0, usedMs: facts?.mtimeMs ?? 0 };
    }),
  );
  entries.sort((a, b) => a.usedMs - b.usedMs);
  let total = bytes + entries.reduce((sum, entry) => sum + entry.size, 0);
  for (const { file, size } of entries) {
    if (total <= LIMIT_BYTES) return;
    await rm(file, { force: true });
    total -= size;
  }
}

/** Makes the folder; false where it is somebody else's, or others may write there. */
async function isPrivate(folder: string): Promise<boolean> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const facts = await stat(folder);
    if (facts.uid !== process.getuid?.()) return false;
    if ((facts.mode & 0o077) !== 0) await chmod(folder, 0o700);
    return true;
  } catch {
    return false;
  }
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
