// One activation's rows on their way from the engine to the shard, a piece after the other: cast, summed and written while
// the piece lies in the processor's own cache, so that memory is gone through once.

import { bytesOf } from "../base/dtype.js";
import type { TapOutput } from "../engine/engine.js";
import type { Batch } from "../plan/batches.js";
import { encodeRows } from "../shard/encode.js";
import { NonFinite } from "../shard/non-finite.js";
import { Statistics } from "../shard/statistics.js";
import type { UnitJob, WriteAt } from "./compute-unit.js";

/** Of the engine's rows; at least one row. */
const PIECE_BYTES = 128 << 10;

/** Stores one activation of a unit. */
export class ActivationRows {
  readonly statistics = new Statistics();
  readonly nonFinite = new NonFinite();
  readonly #job: UnitJob;
  readonly #index: number;
  readonly #write: WriteAt;

  /** @param index of the activation in the job. */
  constructor(job: UnitJob, index: number, write: WriteAt) {
    this.#job = job;
    this.#index = index;
    this.#write = write;
  }

  /** Adds the rows of a batch, which are as many and as wide as the job says. */
  async add(batch: Batch, output: TapOutput): Promise<void> {
    const { activations, places, owners, positionOffsets, reduced } = this.#job;
    const { dtype = "float32" } = activations[this.#index] ?? {};
    const { width } = output;
    const [givenBytes, storedBytes] = [width * bytesOf(output.dtype), width * bytesOf(dtype)];
    const rowsAtOnce = Math.max(1, Math.floor(PIECE_BYTES / givenBytes));
    const firstPlace = this.#index * owners.length;
    const samples = (owners.at(-1) ?? -1) + 1;
    let row = 0;
    for (const s of batch.samples) {
      const place = places[firstPlace + s];
      if (place === undefined) throw new Error(`no place for sample ${s} of activation ${this.#index}`);
      const note = (nan: number, inf: number) => this.nonFinite.add(owners[s] ?? 0, samples, nan, inf);
      const start = row;
      const end = start + (reduced ? 1 : (positionOffsets[s + 1] ?? 0) - (positionOffsets[s] ?? 0));
      for (let next = start; row < end; row = next) {
        next = Math.min(row + rowsAtOnce, end);
        const given = output.data.subarray(row * givenBytes, next * givenBytes);
        const { data, overflow } = encodeRows(given, output.dtype, dtype);
        this.statistics.update(data, dtype, width, overflow, note);
        await this.#write(data, place + (row - start) * storedBytes);
      }
    }
  }
}
