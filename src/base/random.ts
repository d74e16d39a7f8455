// Random numbers that are the same on every machine for the same key: for variants, random positions and shuffles. Not
// for secrets.

import { createHash } from "node:crypto";

/** Draws 32 random bits. */
export type Random32 = () => number;

/** A generator keyed by a text: sfc32 (C. Doty-Humphrey, PractRand) seeded with the text's SHA-256. */
export function randomNumbers(key: string): Random32 {
  const digest = createHash("sha256").update(key).digest();
  let a = digest.readUInt32LE(0);
  let b = digest.readUInt32LE(4);
  let c = digest.readUInt32LE(8);
  let counter = digest.readUInt32LE(12);
  return () => {
    const result = (a + b + counter) >>> 0;
    counter = (counter + 1) >>> 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) >>> 0;
    c = ((c << 21) | (c >>> 11)) >>> 0;
    c = (c + result) >>> 0;
    return result;
  };
}

/** A whole number in [0, bound), without bias. @param bound 1 to 2^32. */
export function randomBelow(bound: number, random: Random32): number {
  const limit = 2 ** 32 - (2 ** 32 % bound);
  for (;;) {
    const value = random();
    if (value < limit) return value % bound;
  }
}

/** A copy in random order (Fisher and Yates). */
export function shuffled<T>(items: readonly T[], random: Random32): T[] {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = randomBelow(i + 1, random);
    const [x, y] = [result[i], result[j]];
    if (x === undefined || y === undefined) continue;
    result[i] = y;
    result[j] = x;
  }
  return result;
}
