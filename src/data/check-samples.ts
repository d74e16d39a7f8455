// What must hold of a unit's samples, whatever prompt, cut or packing made them: checked in the reading thread, before
// anything is computed, so that a mistake of ours never becomes a shard.

import { SluiceError } from "../base/errors.js";
import type { UnitSamples } from "./samples.js";

/** What a unit's samples are measured by. */
export interface SampleBounds {
  readonly stream: number;
  /** Streams of the dataset: record i of the dataset is record floor(i / S) of stream i mod S. */
  readonly streams: number;
  /** The unit's records in its stream, [from, to). */
  readonly from: number;
  readonly to: number;
  readonly vocabulary: number;
}

/**
 * Checks lengths, token ids, places, and that each sample is the unit's own and there once.
 * @throws SluiceError `bug` naming the first thing that does not hold; `config` where the tokenizer is another model's.
 */
export function checkSamples(samples: UnitSamples, bounds: SampleBounds): void {
  const { count, inputIds, inputFlags, positions } = samples;
  checkEqual("records", samples.records.length, count);
  checkEqual("parts", samples.parts.length, count);
  checkEqual("infos", samples.infos.length, count);
  checkEqual("token flags", inputFlags.length, inputIds.length);
  checkOffsets("input", samples.inputOffsets, count, inputIds.length);
  checkOffsets("position", samples.positionOffsets, count, positions.length);
  checkOffsets("segment", samples.segmentOffsets, samples.segmentOffsets.length - 1, inputIds.length);
  // Ids that records bring are checked when they are read: this one is a tokenizer's.
  const stranger = inputIds.find((id) => id < 0 || id >= bounds.vocabulary);
  if (stranger !== undefined)
    throw new SluiceError(
      "config",
      `the tokenizer gives token id ${stranger}, which the model does not have`,
      {
        expected: `0 to ${bounds.vocabulary - 1}`,
        fix: "Put the model's own tokenizer.json beside its config.json.",
      },
    );
  for (let s = 0; s < count; s++) {
    checkPlace(samples, s, bounds);
    const length = (samples.inputOffsets[s + 1] ?? 0) - (samples.inputOffsets[s] ?? 0);
    if (length === 0) throw bug(`sample ${s} has no token`, "one at least");
    let before = -1;
    for (let p = samples.positionOffsets[s] ?? 0; p < (samples.positionOffsets[s + 1] ?? 0); p++) {
      const place = positions[p] ?? -1;
      if (place <= before || place >= length)
        throw bug(
          `sample ${s} of ${length} tokens stores place ${place} after ${before}`,
          "ascending places",
        );
      before = place;
    }
  }
}

/** Samples are in the dataset's order: (record, part) ascends, so that each is there once. */
function checkPlace({ records, parts }: UnitSamples, s: number, bounds: SampleBounds): void {
  const record = Number(records[s]);
  const inStream = Math.floor(record / bounds.streams);
  if (record % bounds.streams !== bounds.stream || inStream < bounds.from || inStream >= bounds.to)
    throw bug(
      `sample ${s} is of record ${record}`,
      `one of records ${bounds.from} to ${bounds.to - 1} of stream ${bounds.stream}`,
    );
  const last = s === 0 ? -1 : Number(records[s - 1]);
  const isAfter = record > last || (record === last && (parts[s] ?? 0) > (parts[s - 1] ?? 0));
  if (!isAfter) throw bug(`sample ${s} is part ${parts[s]} of record ${record}`, "the dataset's order");
}

function checkOffsets(what: string, offsets: Int32Array, count: number, end: number): void {
  checkEqual(`${what} offsets`, offsets.length, count + 1);
  for (const [i, offset] of offsets.entries()) {
    const before = i === 0 ? 0 : (offsets[i - 1] ?? 0);
    if (offset < before || (i === 0 && offset !== 0) || offset > end)
      throw bug(`${what} offset ${i} is ${offset}`, `${before} to ${end}`);
  }
  checkEqual(`the last of the ${what} offsets`, offsets[count] ?? -1, end);
}

function checkEqual(what: string, found: number, expected: number): void {
  if (found !== expected) throw bug(`${what}: ${found}`, String(expected));
}

function bug(found: string, expected: string): SluiceError {
  return new SluiceError("bug", "the samples of a unit do not hold together", { found, expected });
}
