// What the model reads at once is a segment: a sample, or where a context holds several documents that must not see each
// other, one document's piece of it. The engine computes segments as it does samples; their rows go where the sample's are.

import { bytesOf, type FloatDType } from "../base/dtype.js";
import type { UnitSamples } from "../data/samples.js";
import type { UnitJob } from "./compute-unit.js";

/** A unit's input to the engine, by segments. */
export type SegmentedInput = Pick<
  UnitJob,
  "inputIds" | "inputOffsets" | "positions" | "positionOffsets" | "owners" | "places"
>;

/**
 * Cuts samples into segments.
 * @param activations in the shard's order. @param places bytes from the file's start of each sample's rows: places[a * samples + s].
 */
export function segmentInput(
  samples: UnitSamples,
  activations: readonly { readonly width: number; readonly dtype: FloatDType }[],
  places: Float64Array,
): SegmentedInput {
  const { inputIds, inputOffsets, segmentOffsets, positions, positionOffsets } = samples;
  const segments = segmentOffsets.length - 1;
  const owners = Int32Array.from({ length: segments }, (_, segment) => segment);
  if (segments === samples.count)
    return { inputIds, inputOffsets, positions, positionOffsets, owners, places };
  const own = new Int32Array(positions.length);
  const ownOffsets = new Int32Array(segments + 1);
  const ownPlaces = new Float64Array(segments * activations.length);
  let row = 0;
  let sample = 0;
  for (let segment = 0; segment < segments; segment++) {
    const start = segmentOffsets[segment] ?? 0;
    const end = segmentOffsets[segment + 1] ?? 0;
    while ((inputOffsets[sample + 1] ?? Number.POSITIVE_INFINITY) <= start) sample += 1;
    owners[segment] = sample;
    const base = inputOffsets[sample] ?? 0;
    const before = row - (positionOffsets[sample] ?? 0);
    for (const [a, { width, dtype }] of activations.entries()) {
      const place = places[a * samples.count + sample] ?? 0;
      ownPlaces[a * segments + segment] = place + before * width * bytesOf(dtype);
    }
    const last = positionOffsets[sample + 1] ?? 0;
    for (; row < last && base + (positions[row] ?? 0) < end; row++)
      own[row] = base + (positions[row] ?? 0) - start;
    ownOffsets[segment + 1] = row;
  }
  return {
    inputIds,
    inputOffsets: segmentOffsets,
    positions: own,
    positionOffsets: ownOffsets,
    owners,
    places: ownPlaces,
  };
}
