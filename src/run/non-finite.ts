// NaN and infinite values of a whole run, named by tensor and sample: from the commits, which name the first few of a shard.

import { plural } from "../base/plural.js";
import type { NonFiniteEntry } from "./commit.js";

/** Samples named of each tensor of a run. */
const NAMED_SAMPLES = 8;

/** Joins the names of a shard's samples with NaN or infinite values to those of all shards before it, by tensor, in place. */
export function mergeNonFinite(
  merged: Record<string, NonFiniteEntry>,
  shard: Readonly<Record<string, NonFiniteEntry>> = {},
): void {
  for (const [name, entry] of Object.entries(shard)) {
    const before = merged[name] ?? { samples: 0, first: [] };
    merged[name] = {
      samples: before.samples + entry.samples,
      first: [...before.first, ...entry.first].slice(0, NAMED_SAMPLES),
    };
  }
}

/** `3 samples: record 17 (12 NaN), record 20 part 1 (48 infinite), ...` */
export function describeNonFinite({ samples, first }: NonFiniteEntry): string {
  const names = first.map(({ record, part, nan, inf }) => {
    const counts = [...(nan > 0 ? [`${nan} NaN`] : []), ...(inf > 0 ? [`${inf} infinite`] : [])];
    return `record ${record}${part > 0 ? ` part ${part}` : ""} (${counts.join(", ")})`;
  });
  const more = samples > first.length ? ", ..." : "";
  return `${plural(samples, "sample")}: ${names.join(", ")}${more}`;
}
