// Notes: many commits in one object. Where workers share a stream, somebody has to know all of its commits, for the stream's statistics and
// for the run's index; a request for each would be as many as there are shards. So each of them writes down its own, the very
// bytes, many at a time: `tpu_N/commits/<random>.json`. Nothing depends on a note: of what stands in none the commit is read.

import { z } from "zod";
import { isSluiceError } from "../base/errors.js";
import { parseJsonBytes } from "../base/parse-json.js";
import { mapAhead } from "../base/read-ahead.js";
import type { Store } from "../store/store.js";
import { type Commit, decodeCommit } from "./commit.js";

/** A note's name: stream, and a random name. */
export const NOTE_NAME = /^tpu_(\d+)\/commits\/[0-9a-f-]+\.json$/;
/** A note is written and read by one request each: fewer commits are not worth it. */
export const FEWEST_NOTED = 3;
/** Bytes of one note, at most: so much is parsed at once. */
const NOTE_BYTES = 1 << 20;
/** What is listed to be larger is no note. */
const MOST_NOTE_BYTES = NOTE_BYTES + (1 << 16);
/** Bytes of commits that a worker keeps to write down, at most; others have to read the rest. */
const MOST_KEPT_BYTES = 8 << 20;
const NOTES_AT_ONCE = 8;

/** A commit as it is stored, and the version of its object. */
interface MadeCommit {
  readonly version: string;
  readonly bytes: Uint8Array;
}

/** A commit that stands in a note, and the version of the object that it says it is. */
export interface NotedCommit {
  readonly version: string;
  readonly commit: Commit;
}

const headSchema = z.object({ versions: z.array(z.string()) });

/** One note: a line with the objects' versions, then the commits, a line each. */
export function encodeNote(commits: readonly MadeCommit[]): Uint8Array {
  const head = JSON.stringify({ versions: commits.map(({ version }) => version) });
  return Buffer.concat([Buffer.from(`${head}\n`), ...commits.map(({ bytes }) => bytes)]);
}

/** What stands in a note; none where it is not one. */
export function decodeNote(name: string, bytes: Uint8Array): NotedCommit[] {
  const [head, ...lines] = Buffer.from(bytes).toString("utf8").split("\n");
  try {
    const { versions } = headSchema.parse(parseJsonBytes(Buffer.from(head ?? "")));
    return versions.map((version, i) => {
      return { version, commit: decodeCommit(name, Buffer.from(lines[i] ?? "")) };
    });
  } catch {
    return [];
  }
}

/** Takes from the front what fits into a note. */
function takeBytes(commits: MadeCommit[]): MadeCommit[] {
  let bytes = 0;
  let count = 0;
  for (const commit of commits) {
    bytes += commit.bytes.length;
    if (bytes > NOTE_BYTES) break;
    count += 1;
  }
  return commits.splice(0, count);
}

/** The notes of a run: what this worker has to write down, and what others have. */
export class CommitNotes {
  readonly #store: Store;
  /** This worker's commits that stand in no note yet, by stream. */
  readonly #kept = new Map<number, MadeCommit[]>();
  #keptBytes = 0;
  /** Notes that have been listed and not been read, by stream. */
  readonly #unread = new Map<number, Set<string>>();
  /** Notes that have been read, or are this worker's own. */
  readonly #known = new Set<string>();
  /** Commits by stream: made, and found in notes of others. */
  readonly #made = new Map<number, number>();
  readonly #read = new Map<number, number>();

  constructor(store: Store) {
    this.#store = store;
  }

  /** Keeps a commit that this worker has made, to be written down. @param bytes as stored, ending in a newline. */
  keep(stream: number, version: string, bytes: Uint8Array): void {
    this.#made.set(stream, this.countMade(stream) + 1);
    if (bytes.length <= NOTE_BYTES && this.#keptBytes + bytes.length <= MOST_KEPT_BYTES)
      this.#put(stream, [{ version, bytes }]);
  }

  /** How many commits of a stream this worker has made. */
  countMade(stream: number): number {
    return this.#made.get(stream) ?? 0;
  }

  /** How many commits of a stream stood in the notes of others that have been read. */
  countRead(stream: number): number {
    return this.#read.get(stream) ?? 0;
  }

  /** The streams of which there is something to write down. */
  get keptStreams(): number[] {
    return [...this.#kept.keys()].filter((stream) => (this.#kept.get(stream)?.length ?? 0) >= FEWEST_NOTED);
  }

  /** Somebody else describes the stream, or nobody has to. */
  drop(stream: number): void {
    this.#takeKept(stream);
  }

  /** Writes down what has been kept of a stream, where it is worth a note. What cannot be written stays kept. @param uuid gives random names. */
  async write(stream: number, uuid: () => string): Promise<void> {
    if ((this.#kept.get(stream)?.length ?? 0) < FEWEST_NOTED) return;
    const commits = this.#takeKept(stream);
    while (commits.length > 0) {
      const part = takeBytes(commits);
      const name = `tpu_${stream}/commits/${uuid()}.json`;
      this.#known.add(name);
      try {
        await this.#store.create(name, encodeNote(part));
      } catch (error) {
        this.#put(stream, [...part, ...commits]);
        throw error;
      }
    }
  }

  /** Tells of an object that has been listed. @returns whether it is a note. */
  see(name: string, size: number): boolean {
    const match = NOTE_NAME.exec(name);
    if (!match) return false;
    if (size > MOST_NOTE_BYTES || this.#known.has(name)) return true;
    const stream = Number(match[1]);
    this.#unread.set(stream, (this.#unread.get(stream) ?? new Set()).add(name));
    return true;
  }

  /** How many notes of a stream have been listed and not been read. */
  countUnread(stream: number): number {
    return this.#unread.get(stream)?.size ?? 0;
  }

  /** Reads the notes of a stream that have been listed and not been read; what is in each. */
  async *read(stream: number, signal?: AbortSignal): AsyncGenerator<readonly NotedCommit[]> {
    const names = [...(this.#unread.get(stream) ?? [])];
    this.#unread.delete(stream);
    for (const name of names) this.#known.add(name);
    const read = async (name: string) => {
      try {
        const commits = decodeNote(name, await this.#store.read(name));
        this.#read.set(stream, this.countRead(stream) + commits.length);
        return commits;
      } catch (error) {
        if (isSluiceError(error, "data")) return []; // gc has removed it.
        throw error;
      }
    };
    yield* mapAhead(names, NOTES_AT_ONCE, read, signal);
  }

  #put(stream: number, commits: readonly MadeCommit[]): void {
    this.#kept.set(stream, [...(this.#kept.get(stream) ?? []), ...commits]);
    for (const { bytes } of commits) this.#keptBytes += bytes.length;
  }

  #takeKept(stream: number): MadeCommit[] {
    const kept = this.#kept.get(stream) ?? [];
    this.#kept.delete(stream);
    for (const { bytes } of kept) this.#keptBytes -= bytes.length;
    return kept;
  }
}
