// Running statistics of one activation tensor, over the values as they are stored. Sums are float64, over one pass; values
// that are not finite are counted and left out of the moments.

import { bytesOf, type FloatDType } from "../base/dtype.js";
import { decodeRows } from "./decode.js";
import { sumRows } from "./row-sums.js";
import { vectorRows } from "./vector-rows.js";

/** What a commit records; see `statisticsEntrySchema`. */
export interface StatisticsSummary {
  readonly count: number;
  readonly rows: number;
  readonly mean: number;
  readonly variance: number;
  readonly mean_norm: number;
  readonly max_abs: number;
  readonly nan: number;
  readonly inf: number;
  readonly overflow: number;
}

/** Accumulates rows. */
export class Statistics {
  #count = 0;
  #rows = 0;
  #mean = 0;
  #m2 = 0;
  #norms = 0;
  #max = 0;
  #nan = 0;
  #inf = 0;
  #overflow = 0;

  /**
   * Adds rows of the given width.
   * @param overflow finite values that became infinite when encoded. @param onDamaged gets how many values of a row are not finite, where some are not.
   */
  update(
    data: Uint8Array,
    dtype: FloatDType,
    width: number,
    overflow = 0,
    onDamaged?: (nan: number, inf: number) => void,
  ): void {
    this.#overflow += overflow;
    const rowBytes = width * bytesOf(dtype);
    (vectorRows() ?? { sumRows }).sumRows(data, dtype, width, (row, { sum, squares, max }) => {
      // The sum of squares of a row tells whether all of it is finite: float64 cannot overflow on float32 values.
      if (Number.isFinite(squares)) {
        this.#merge(width, sum, squares, max);
        return;
      }
      const { nan, inf } = { nan: this.#nan, inf: this.#inf };
      this.#addDamagedRow(decodeRows(data.subarray(row * rowBytes, (row + 1) * rowBytes), dtype));
      onDamaged?.(this.#nan - nan, this.#inf - inf);
    });
  }

  /** The statistics so far. */
  toJSON(): StatisticsSummary {
    return {
      count: this.#count,
      rows: this.#rows,
      mean: this.#mean,
      variance: this.#count === 0 ? 0 : this.#m2 / this.#count,
      mean_norm: this.#rows === 0 ? 0 : this.#norms / this.#rows,
      max_abs: this.#max,
      nan: this.#nan,
      inf: this.#inf,
      overflow: this.#overflow,
    };
  }

  #addDamagedRow(row: Float32Array): void {
    const finite = row.filter((v) => Number.isFinite(v));
    const nan = row.reduce((n, v) => n + (Number.isNaN(v) ? 1 : 0), 0);
    this.#nan += nan;
    this.#inf += row.length - finite.length - nan;
    const sum = finite.reduce((a, v) => a + v, 0);
    const squares = finite.reduce((a, v) => a + v * v, 0);
    this.#merge(
      finite.length,
      sum,
      squares,
      finite.reduce((a, v) => Math.max(a, Math.abs(v)), 0),
    );
  }

  /** Chan, Golub, LeVeque (1979): the moments of one row joined to those of all before it. */
  #merge(count: number, sum: number, squares: number, max: number): void {
    this.#rows += 1;
    this.#norms += Math.sqrt(squares);
    if (max > this.#max) this.#max = max;
    if (count === 0) return;
    const mean = sum / count;
    const total = this.#count + count;
    const delta = mean - this.#mean;
    this.#m2 += Math.max(0, squares - sum * mean) + (delta * delta * this.#count * count) / total;
    this.#mean += (delta * count) / total;
    this.#count = total;
  }
}
