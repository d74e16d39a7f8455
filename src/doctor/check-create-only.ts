// That a store creates an object only where there is none: the one promise that the whole protocol stands on. Some stores accept the
// condition and ignore it, others look and then write without a lock, so that only a race tells. Two writers race for each of many
// names, each with bytes and connections of its own: exactly one may be told that it was first, and the object must be its.

import { createHash, randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { crc32c } from "@node-rs/crc32";
import { formatCrc } from "../base/crc.js";
import { mapAhead } from "../base/read-ahead.js";
import { PieceBudget, readPieces } from "../store/read-pieces.js";
import type { Body, Store } from "../store/store.js";
import { type Finding, findingsOf } from "./finding.js";

const { ok, failure, raised } = findingsOf("store");

/** What is wrong with a store that lets two writers win. */
const CHOOSE_ANOTHER =
  "Do not put runs there: a sample could be lost or doubled unseen. Name a store that honours the condition (Google Cloud Storage, Amazon S3, versitygw, a file system with hard links), or update this one.";
const RACES_AT_ONCE = 4;

/** Where and how it is tried. */
export interface RaceOptions {
  /** Two openings of the same place. */
  readonly stores: readonly [Store, Store];
  readonly signal?: AbortSignal | undefined;
}

/** Races of small objects, which go in one request. @param rounds how many. */
export async function checkSmallRaces({ stores, signal }: RaceOptions, rounds: number): Promise<Finding> {
  const race = (round: number) => {
    const [a, b] = [randomBytes(64 + round), randomBytes(64 + round)];
    return raceFor(stores, `race-${round}`, [a, b], [sha256(a), sha256(b)], signal);
  };
  try {
    for await (const problem of mapAhead(Array(rounds).keys(), RACES_AT_ONCE, race, signal))
      if (problem !== null) return failure(`create-only does not hold: ${problem}`, CHOOSE_ANOTHER);
    return ok(
      `create-only holds: in ${rounds} races of two writers for a small object exactly one won, and a late one lost`,
    );
  } catch (error) {
    signal?.throwIfAborted();
    return raised("racing for a small object", error);
  }
}

/**
 * One race of objects that go in parts or in a session, as shards do.
 * @param folder a private one, for the two files. @param size bytes of each.
 * @returns what was found, and how many bytes a second went to the store.
 */
export async function checkLargeRace(
  { stores, signal }: RaceOptions,
  folder: string,
  size: number,
): Promise<{ readonly finding: Finding; readonly bytesPerSecond: number }> {
  const started = performance.now();
  try {
    const [a, b] = await Promise.all([makeFile(join(folder, "a"), size), makeFile(join(folder, "b"), size)]);
    const problem = await raceFor(stores, "race-large", [a.body, b.body], [a.sha256, b.sha256], signal);
    const bytesPerSecond = (2 * size) / ((performance.now() - started) / 1000);
    const finding =
      problem === null
        ? ok(`create-only holds for large objects: of two writers of ${size >> 20} MiB exactly one won`)
        : failure(`create-only does not hold for large objects: ${problem}`, CHOOSE_ANOTHER);
    return { finding, bytesPerSecond };
  } catch (error) {
    signal?.throwIfAborted();
    return { finding: raised("racing for a large object", error), bytesPerSecond: 0 };
  }
}

/** A file of random bytes, as a body. */
export async function makeFile(
  file: string,
  size: number,
): Promise<{ readonly body: Body; readonly sha256: string }> {
  const bytes = randomBytes(size);
  await writeFile(file, bytes, { flag: "wx", mode: 0o600 });
  return { body: { file, size, crc32c: formatCrc(crc32c(bytes)) }, sha256: sha256(bytes) };
}

/** What is wrong after a race for one name, or null. */
async function raceFor(
  [first, second]: readonly [Store, Store],
  name: string,
  [a, b]: readonly [Body, Body],
  hashes: readonly [string, string],
  signal: AbortSignal | undefined,
): Promise<string | null> {
  const options = signal ? { signal } : {};
  const results = await Promise.all([first.create(name, a, options), second.create(name, b, options)]);
  const winners = results.flatMap((result, i) => (result === "exists" ? [] : [i]));
  if (winners.length > 1) return `both of two writers were told that they had created ${name}`;
  const [winner] = winners;
  if (winner === undefined) return `neither of two writers could create ${name}, which was not there`;
  const isWinners = async () => (await hashOf(first, name, signal)) === hashes[winner];
  if (!(await isWinners()))
    return `${name} does not hold the bytes of the writer that was told it had created it`;
  const [loser, body] = winner === 0 ? [second, b] : [first, a];
  if ((await loser.create(name, body, options)) !== "exists")
    return `${name} was created again, though it was there`;
  return (await isWinners()) ? null : `${name} was overwritten by a writer that was told it was there`;
}

async function hashOf(store: Store, name: string, signal: AbortSignal | undefined): Promise<string> {
  const size = (await store.head(name))?.size ?? 0;
  const hash = createHash("sha256");
  const range = { start: 0, end: size };
  for await (const piece of readPieces(store, name, range, { budget: new PieceBudget(4), signal }))
    hash.update(piece);
  return hash.digest("hex");
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
