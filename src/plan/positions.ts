// `--positions`: which tokens of a sample are stored, or reduced to one row. Pure: a function of the sample's length, its
// special tokens, the run's seed and the sample's name.

import { SluiceError } from "../base/errors.js";
import { randomBelow, randomNumbers } from "../base/random.js";

/** A parsed `--positions`. */
export type Positions =
  | { readonly kind: "all" | "first" | "last" | "mean" | "max" }
  /** Places in the input; negative ones count from its end. */
  | { readonly kind: "indices"; readonly places: readonly number[] }
  | { readonly kind: "slice"; readonly start: number; readonly end: number | null }
  | { readonly kind: "random"; readonly count: number }
  /** The words of one role in a dialogue. */
  | { readonly kind: "role"; readonly role: "system" | "user" | "assistant" | "tool" };

/** Reads `all`, `last`, `first`, `mean`, `max`, `0,4,-1`, `5:-5`, `random:N` or `role:assistant`. @throws SluiceError `usage`. */
export function parsePositions(text: string): Positions {
  const word = text.trim();
  if (word === "all" || word === "first" || word === "last" || word === "mean" || word === "max")
    return { kind: word };
  const random = /^random:(\d+)$/.exec(word);
  if (random && Number(random[1]) >= 1) return { kind: "random", count: Number(random[1]) };
  const role = /^role:(system|user|assistant|tool)$/.exec(word)?.[1];
  if (role === "system" || role === "user" || role === "assistant" || role === "tool")
    return { kind: "role", role };
  const slice = /^(-?\d*):(-?\d*)$/.exec(word);
  if (slice && slice[1] !== "-" && slice[2] !== "-") {
    const [start, end] = [Number(slice[1] || 0), slice[2] === "" ? null : Number(slice[2])];
    if (end === 0 || (end !== null && start < 0 === end < 0 && start >= end))
      throw new SluiceError("usage", "--positions is a slice that holds no place", {
        found: text,
        expected: "an end after the start, such as 5:-5",
      });
    return { kind: "slice", start, end };
  }
  if (/^-?\d+(,-?\d+)*$/.test(word)) return { kind: "indices", places: word.split(",").map(Number) };
  throw new SluiceError("usage", "--positions cannot be read", {
    found: text,
    expected:
      "all, first, last, mean, max, indices such as 0,4,-1, a slice such as 5:-5, random:N, or role:assistant",
  });
}

/** What the engine does with the selected rows. */
export function selectionOf(positions: Positions): "rows" | "mean" | "max" {
  return positions.kind === "mean" || positions.kind === "max" ? positions.kind : "rows";
}

/** Which sample of which run: the key of random places. */
export interface SampleKey {
  readonly seed: number;
  readonly record: number;
  readonly part: number;
}

/**
 * The selected places, ascending, once each; null where the sample is left out by rule (`first`, `last`, `mean`, `max` of nothing).
 * Indices and slices are places in the input; special tokens are dropped from what they name. `first` and `last` are those that remain.
 * @param isSpecial whether the token at a place is special and --skip-special is on.
 * @param isOfRole whether the token at a place is the wanted role's.
 */
export function selectPositions(
  positions: Positions,
  length: number,
  isSpecial: (place: number) => boolean,
  key: SampleKey,
  isOfRole: (place: number) => boolean = () => false,
): number[] | null {
  const remaining = Array.from({ length }, (_, place) => place).filter((place) => !isSpecial(place));
  const fromStart = (place: number) => (place < 0 ? length + place : place);
  switch (positions.kind) {
    case "all":
      return remaining;
    case "mean":
    case "max":
      return remaining.length === 0 ? null : remaining;
    case "first":
      return remaining.length === 0 ? null : remaining.slice(0, 1);
    case "last":
      return remaining.length === 0 ? null : remaining.slice(-1);
    case "indices": {
      const wanted = new Set(positions.places.map(fromStart));
      return remaining.filter((place) => wanted.has(place));
    }
    case "slice": {
      const start = Math.max(0, fromStart(positions.start));
      const end = positions.end === null ? length : fromStart(positions.end);
      return remaining.filter((place) => place >= start && place < end);
    }
    case "role":
      return remaining.filter(isOfRole);
    case "random":
      return drawPlaces(remaining, positions.count, key);
  }
}

/** N of the places without replacement (Floyd's algorithm), or all where there are fewer. */
function drawPlaces(places: readonly number[], count: number, key: SampleKey): number[] {
  if (places.length <= count) return [...places];
  const random = randomNumbers(`positions/${key.seed}/${key.record}/${key.part}`);
  const chosen = new Set<number>();
  for (let j = places.length - count; j < places.length; j++) {
    const i = randomBelow(j + 1, random);
    chosen.add(chosen.has(i) ? j : i);
  }
  return places.filter((_, i) => chosen.has(i));
}
