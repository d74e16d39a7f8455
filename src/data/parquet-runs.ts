// Parquet's hybrid of runs and bit-packed groups, in which levels and places in a dictionary are written
// (https://parquet.apache.org/docs/file-format/data-pages/encodings/). Read here and not by `hyparquet`, which believes a run's length: a page of
// a few bytes may then take minutes, and all memory.

/** A place in a page that moves forward. */
export interface PageReader {
  readonly view: DataView;
  offset: number;
}

/**
 * The next values, and moves past them.
 * @param width bits of a value, at most 32.
 * @param end where the runs end in the page.
 * @throws Error where a run is longer than what is left of the values, or the bytes end before.
 */
export function readRuns(reader: PageReader, width: number, count: number, end: number): Uint32Array {
  if (width > 32) throw new Error(`values of ${width} bits`);
  const { view } = reader;
  const values = new Uint32Array(count);
  const bytesOf = (width + 7) >> 3;
  let at = reader.offset;
  for (let seen = 0; seen < count; ) {
    let header = 0;
    for (let shift = 0; ; shift += 7) {
      if (at >= end || shift > 28) throw new Error(`a page has ${seen} values where it says ${count}`);
      const byte = view.getUint8(at++);
      header += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    const length = Math.floor(header / 2);
    if (header % 2 === 0) {
      if (length > count - seen)
        throw new Error(`a run of ${length} values where ${count - seen} are left in its page`);
      if (at + bytesOf > end) throw new Error("a run ends outside of its page");
      let value = 0;
      for (let i = 0; i < bytesOf; i++) value += view.getUint8(at++) * 2 ** (8 * i);
      values.fill(value, seen, seen + length);
      seen += length;
    } else {
      // Groups of eight, the last of which may hold more than there are values: some writers leave out what nobody reads.
      const packed = Math.min(8 * length, count - seen);
      if (at + Math.ceil((packed * width) / 8) > end)
        throw new Error("a group of values ends outside of its page");
      unpack(view, at, width, values.subarray(seen, seen + packed));
      at += length * width;
      seen += packed;
    }
  }
  reader.offset = Math.min(at, end);
  return values;
}

/** Values of so many bits one after the other, the lowest bit first. */
function unpack(view: DataView, start: number, width: number, values: Uint32Array): void {
  let at = start;
  let bits = 0; // Below 2^40: arithmetic of doubles, since bits of JavaScript's integers end at 32.
  let held = 0;
  const modulus = 2 ** width;
  for (let i = 0; i < values.length; i++) {
    while (held < width) {
      bits += view.getUint8(at++) * 2 ** held;
      held += 8;
    }
    values[i] = bits % modulus;
    bits = Math.floor(bits / modulus);
    held -= width;
  }
}
