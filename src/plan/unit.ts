// A unit is arithmetic: which records belong together is known on every machine, for ever, before anything is computed.

/** N consecutive records of one stream: what one shard holds. */
export interface Unit {
  /** The stream's number, from 0. */
  readonly stream: number;
  /** The unit's number in its stream, from 0. Unit k is shard k + 1. */
  readonly index: number;
  /** First record (in the stream) and the one after the last. */
  readonly from: number;
  readonly to: number;
}

/** Which unit. */
export type UnitPlace = Pick<Unit, "stream" | "index">;

/** How many units a stream of so many records is cut into. An empty stream has none. */
export function unitCount(records: number, samplesPerShard: number): number {
  return Math.ceil(records / samplesPerShard);
}

/** The unit of that number. @throws RangeError where the stream has no such unit. */
export function unitAt(stream: number, index: number, records: number, samplesPerShard: number): Unit {
  if (index < 0 || index >= unitCount(records, samplesPerShard)) {
    throw new RangeError(
      `stream ${stream} has no unit ${index}: ${records} records, ${samplesPerShard} a shard`,
    );
  }
  const from = index * samplesPerShard;
  return { stream, index, from, to: Math.min(from + samplesPerShard, records) };
}

/** The unit's name in the run's folder, without extension: `tpu_0/shard_0001` (at least four digits). */
export function unitName(unit: { readonly stream: number; readonly index: number }): string {
  return `tpu_${unit.stream}/shard_${String(unit.index + 1).padStart(4, "0")}`;
}
