// Shards that are computed and not stored yet: beside each lies what its commit needs to know. Where the run lives in an object
// store, an upload takes as long as the computing; a worker that dies in the middle of it leaves the shard to the next one on
// this machine, who holds the unit's lease, checks every byte, and stores it.

import { join } from "node:path";
import { z } from "zod";
import { parseJsonBytes } from "../base/parse-json.js";
import { type UnitPlace, unitName } from "../plan/unit.js";
import type { FileHash } from "../shard/hash.js";
import type { FileSystem } from "../store/file-system.js";
import { type Maker, temporaryName, temporaryOwner } from "../store/temporary.js";
import { type Commit, commitSchema } from "./commit.js";

/** The ending of what lies beside a finished shard. */
export const MARK = ".json";
/** Finished shards of one run that wait in a folder, at most: what is more is computed again. */
const MOST_FINISHED = 16;

const markSchema = z.object({
  format: z.literal("sluice-finished-1"),
  /** `tpu_0/shard_0001`. */
  unit: z.string(),
  hash: z.object({ size: z.number().int().positive(), sha256: z.string(), crc32c: z.string() }),
  /** Of a compressed shard: its comment, and the SHA-256 before compression. */
  compressed: z.object({ comment: z.string(), sha256: z.string() }).nullable(),
  /** All of it but the data object's facts. */
  commit: commitSchema,
});

/** What is known of a finished shard besides its bytes. */
export interface FinishedMark {
  readonly unit: string;
  readonly hash: Omit<FileHash, "tensors">;
  readonly compressed: { readonly comment: string; readonly sha256: string } | null;
  readonly commit: Commit;
}

/** A finished shard that is this worker's now. */
export interface FinishedShard {
  readonly file: string;
  readonly mark: FinishedMark;
}

/** The finished shards of one run in a spool folder. */
export class FinishedShards {
  readonly #folder: string;
  readonly #fs: FileSystem;
  readonly #run: string;
  readonly #maker: Maker;
  /** Left by others, by unit: the shard's file. */
  readonly #left = new Map<string, { readonly file: string; readonly mark: FinishedMark }>();

  /** @param run the run's id. */
  constructor(folder: string, fs: FileSystem, run: string, maker: Maker) {
    this.#maker = maker;
    this.#folder = folder;
    this.#fs = fs;
    this.#run = run;
  }

  /** Looks what others have left: dead ones of this machine, and those of whom only the lease of their unit will tell. */
  async find(): Promise<void> {
    const names = new Set(await this.#fs.list(this.#folder));
    for (const name of names) {
      const shard = name.slice(0, -MARK.length);
      const owner = temporaryOwner(name, this.#maker);
      const isAlive = owner ? this.#maker.processes.isAlive(owner) : undefined;
      if (!name.endsWith(MARK) || !names.has(shard) || isAlive) continue;
      const file = join(this.#folder, shard);
      const mark = await this.#read(file);
      if (mark?.commit.run !== this.#run) continue;
      if (!this.#left.has(mark.unit) && this.#left.size < MOST_FINISHED)
        this.#left.set(mark.unit, { file, mark });
      else if (isAlive === false) await this.remove(file); // Of another container's nobody knows: it may be on its way.
    }
  }

  /** The units that others have left. */
  units(): UnitPlace[] {
    return [...this.#left.values()].map(({ mark }) => placeOf(mark));
  }

  /** Takes over what somebody has left of a unit, whose lease the caller holds; null where there is nothing, or another was quicker. */
  async take(unit: string): Promise<FinishedShard | null> {
    const left = this.#left.get(unit);
    if (!left) return null;
    this.#left.delete(unit);
    const ending = /\.shard(\.z)?$/.exec(left.file)?.[0] ?? ".shard";
    const file = join(this.#folder, temporaryName(this.#maker) + ending);
    try {
      await this.#fs.rename(left.file + MARK, file + MARK);
      await this.#fs.rename(left.file, file);
      return { file, mark: left.mark };
    } catch {
      await this.remove(file);
      return null;
    }
  }

  /** Writes down that a shard of this worker's is finished. */
  async mark(file: string, mark: FinishedMark): Promise<void> {
    const out = await this.#fs.open(file + MARK, "create-private");
    try {
      await out.write(Buffer.from(JSON.stringify({ format: "sluice-finished-1", ...mark })), 0);
    } finally {
      await out.close();
    }
  }

  /** Removes a finished shard; what says that it is finished first. */
  async remove(file: string): Promise<void> {
    await this.#fs.unlink(file + MARK).catch(() => {}); // There is none.
    await this.#fs.unlink(file).catch(() => {});
  }

  /** Removes what others have left of units that are done. */
  async drop(isDone: (unit: UnitPlace) => boolean): Promise<void> {
    for (const [unit, { file, mark }] of [...this.#left]) {
      if (!isDone(placeOf(mark))) continue;
      this.#left.delete(unit);
      await this.remove(file);
    }
  }

  /** Null for what is torn, of another version, or of another user of this machine, who may have put anything there. */
  async #read(file: string): Promise<FinishedMark | null> {
    try {
      const facts = [await this.#fs.stat(file), await this.#fs.stat(file + MARK)];
      const me = process.getuid?.();
      if (facts.some((one) => one?.owner !== undefined && me !== undefined && one.owner !== me)) return null;
      const mark = markSchema.parse(parseJsonBytes(await this.#fs.read(file + MARK)));
      return mark.unit === unitName(placeOf(mark)) ? mark : null;
    } catch {
      return null;
    }
  }
}

function placeOf({ commit }: FinishedMark): UnitPlace {
  return { stream: commit.stream, index: commit.unit };
}
