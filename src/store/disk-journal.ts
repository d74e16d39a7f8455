// What a power cut leaves of a folder, for tests: a journal of every write, link, rename, unlink and fsync, from which the
// disk can be made again as it may be found after the power went at any point. POSIX promises this much: a file's bytes
// survive once the file has been fsynced after they were written, a name once its folder has been fsynced after it was
// made; of anything else each part may survive or not, in any combination.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import type { FileSystem, WritableFile } from "./file-system.js";

/** One effect. Paths are relative to the journal's folder, '' for itself; files are numbered as they are made. */
type Effect =
  | { readonly kind: "write"; readonly file: number; readonly offset: number; readonly bytes: Uint8Array }
  /** A name appears in a folder, or means something else; `undefined`: it goes. */
  | {
      readonly kind: "entry";
      readonly folder: string;
      readonly name: string;
      readonly to: Target | undefined;
    }
  /** Everything done to the file or in the folder before the effect of that number is durable. */
  | { readonly kind: "sync"; readonly of: number | string; readonly before: number }
  /** The program was told that the object is there for good. */
  | { readonly kind: "promise"; readonly path: string };
type Target = { readonly file: number } | "folder";

/** Whether an effect that nothing has made durable survives a power cut at that point; a write may also arrive as zeros. */
export type Survival = (effect: number, point: number) => "lost" | "kept" | "zeros";

/** The state in which nothing survives that was not made durable. */
export const nothingElse: Survival = () => "lost";
/** The state of a disk that wrote everything at once. */
export const everything: Survival = () => "kept";
/** The state of a disk that wrote what came last before all that came earlier. */
export const newestAlone: Survival = (effect, point) => (effect === point - 1 ? "kept" : "lost");

/** Files by path, relative to the folder, and folders (with a slash at their end, and no bytes). */
export type DiskState = ReadonlyMap<string, Uint8Array>;

/** A folder's history. */
export class DiskJournal {
  readonly #root: string;
  readonly #effects: Effect[] = [];
  /** What each path means now. */
  readonly #now = new Map<string, Target>([["", "folder"]]);
  #files = 0;
  #start = 0;

  /** @param root a folder that exists, and is empty. */
  constructor(root: string) {
    this.#root = root;
  }

  /** Effects so far: the power may go after any of them. */
  get length(): number {
    return this.#effects.length;
  }

  /** Effects of what was there before: the power does not go among them. */
  get start(): number {
    return this.#start;
  }

  /** Puts files into the folder, all of them durable, before anything else happens to it. */
  async plant(state: DiskState): Promise<void> {
    await writeState(state, this.#root);
    for (const [path, bytes] of state) {
      const parents = path.split("/").slice(0, -1);
      for (const depth of parents.keys()) this.#plantFolder(parents.slice(0, depth + 1).join("/"));
      if (path.endsWith("/")) continue;
      const file = this.#files++;
      this.#enter(join(this.#root, path), { file });
      this.#effects.push({ kind: "write", file, offset: 0, bytes });
      this.#effects.push({ kind: "sync", of: file, before: this.#effects.length });
    }
    for (const [path, to] of this.#now)
      if (to === "folder") this.#effects.push({ kind: "sync", of: path, before: this.#effects.length });
    this.#start = this.#effects.length;
  }

  /** Notes that the program was told that an object is durable. */
  promise(name: string): void {
    this.#effects.push({ kind: "promise", path: name });
  }

  /** The objects that the program was told are durable, by that point. */
  promisedAt(point: number): string[] {
    return this.#effects.slice(0, point).flatMap((e) => (e.kind === "promise" ? [e.path] : []));
  }

  /** The disk as it may be found when the power went after the first `point` effects. */
  stateAt(point: number, survives: Survival): DiskState {
    const durable = this.#durableAt(point);
    const contents = new Map<number, Uint8Array>();
    const folders = new Map<string, Map<string, Target>>();
    for (let i = 0; i < point; i++) {
      const effect = this.#effects[i];
      const fate = durable[i] ? "kept" : survives(i, point);
      if (fate === "lost" || !effect) continue;
      if (effect.kind === "write") {
        const bytes = fate === "zeros" ? new Uint8Array(effect.bytes.length) : effect.bytes;
        contents.set(effect.file, overlay(contents.get(effect.file), bytes, effect.offset));
      } else if (effect.kind === "entry") {
        const entries = folders.get(effect.folder) ?? new Map<string, Target>();
        if (effect.to === undefined) entries.delete(effect.name);
        else entries.set(effect.name, effect.to);
        folders.set(effect.folder, entries);
      }
    }
    const state = new Map<string, Uint8Array>();
    const walk = (folder: string) => {
      for (const [name, to] of folders.get(folder) ?? []) {
        const path = join(folder, name);
        if (to === "folder") {
          state.set(`${path}/`, new Uint8Array());
          walk(path);
        } else {
          state.set(path, contents.get(to.file) ?? new Uint8Array());
        }
      }
    };
    walk("");
    return state;
  }

  /** A file system that notes what it does below the journal's folder. It never waits for a disk: only the journal knows what is durable. */
  record(fs: FileSystem): FileSystem {
    return {
      ...fs,
      open: async (path, mode) => {
        const file = await fs.open(path, mode);
        if (mode === "create") this.#enter(path, { file: this.#files++ });
        return this.#wrap(path, file);
      },
      link: async (from, to) => {
        await fs.link(from, to);
        this.#enter(to, await this.#targetOf(from));
      },
      rename: async (from, to) => {
        await fs.rename(from, to);
        this.#enter(to, await this.#targetOf(from));
        this.#enter(from, undefined);
      },
      unlink: async (path) => {
        await fs.unlink(path);
        this.#enter(path, undefined);
      },
      makeFolder: async (path) => {
        const first = await fs.makeFolder(path);
        const made: string[] = [];
        if (first !== undefined)
          for (let folder = path; folder.length >= first.length; folder = dirname(folder)) made.push(folder);
        for (const folder of made.reverse()) this.#enter(folder, "folder");
        return first;
      },
      syncFolder: async (path) => {
        this.#effects.push({ kind: "sync", of: this.#relative(path), before: this.#effects.length });
      },
    };
  }

  #wrap(path: string, file: WritableFile): WritableFile {
    return {
      write: async (bytes, offset) => {
        await file.write(bytes, offset);
        const target = await this.#targetOf(path);
        this.#effects.push({ kind: "write", file: target.file, offset, bytes: bytes.slice() });
      },
      sync: async () => {
        const { file: number } = await this.#targetOf(path);
        this.#effects.push({ kind: "sync", of: number, before: this.#effects.length });
      },
      close: () => file.close(),
    };
  }

  #plantFolder(name: string): void {
    if (!this.#now.has(name)) this.#enter(join(this.#root, name), "folder");
  }

  #enter(path: string, to: Target | undefined): void {
    const name = this.#relative(path);
    if (to === undefined) this.#now.delete(name);
    else this.#now.set(name, to);
    const folder = dirname(name);
    this.#effects.push({
      kind: "entry",
      folder: folder === "." ? "" : folder,
      name: name.slice(name.lastIndexOf("/") + 1),
      to,
    });
  }

  /** The file of that path; one that came about elsewhere (a compressor's output) is taken in as it is, and nothing of it is durable yet. */
  async #targetOf(path: string): Promise<{ readonly file: number }> {
    const known = this.#now.get(this.#relative(path));
    if (known !== undefined && known !== "folder") return known;
    const bytes = new Uint8Array(await readFile(path));
    const target = { file: this.#files++ };
    this.#enter(path, target);
    this.#effects.push({ kind: "write", file: target.file, offset: 0, bytes });
    return target;
  }

  #relative(path: string): string {
    return relative(this.#root, path);
  }

  /** Which of the first `point` effects a later fsync among them has made durable. */
  #durableAt(point: number): boolean[] {
    const until = new Map<number | string, number>();
    for (const effect of this.#effects.slice(0, point))
      if (effect.kind === "sync") until.set(effect.of, effect.before);
    return this.#effects.slice(0, point).map((effect, i) => {
      if (effect.kind === "write") return i < (until.get(effect.file) ?? 0);
      return effect.kind === "entry" && i < (until.get(effect.folder) ?? 0);
    });
  }
}

/** Writes a state into an empty folder. */
export async function writeState(state: DiskState, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const [path, bytes] of state) {
    const place = join(folder, path);
    await mkdir(path.endsWith("/") ? place : dirname(place), { recursive: true });
    if (!path.endsWith("/")) await writeFile(place, bytes);
  }
}

function overlay(content: Uint8Array | undefined, bytes: Uint8Array, offset: number): Uint8Array {
  const result = new Uint8Array(Math.max(content?.length ?? 0, offset + bytes.length));
  if (content) result.set(content);
  result.set(bytes, offset);
  return result;
}
