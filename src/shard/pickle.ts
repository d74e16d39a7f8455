// Writes a pickle (protocol 4; CPython, Lib/pickletools.py) whose arrays' bytes are left out, to be written later at the
// offsets that are given back. An array is numpy.frombuffer(bytes, dtype).reshape(shape): names that every numpy has.

import type { ShardLayout } from "./format.js";

/** getattr(numpy.frombuffer(bytes, dtype), "reshape")(shape): up to the bytes, which are a BINBYTES8. */
const ARRAY = Buffer.from("cbuiltins\ngetattr\n(cnumpy\nfrombuffer\n(\x8e", "latin1");

/** Collects opcodes, and holes for the arrays' bytes. A shard of many short samples has a hundred thousand arrays. */
export class PickleWriter {
  /** Everything but the holes, and where each is among it. */
  #bytes = Buffer.allocUnsafe(65_536);
  #used = 0;
  readonly #holes: { readonly at: number; readonly length: number }[] = [];
  #skipped = 0;

  constructor() {
    this.#put(0x80, 4);
  }

  startDict(): void {
    this.#put(0x7d, 0x28); // EMPTY_DICT MARK
  }

  endDict(): void {
    this.#put(0x75); // SETITEMS
  }

  startList(): void {
    this.#put(0x5d, 0x28); // EMPTY_LIST MARK
  }

  endList(): void {
    this.#put(0x65); // APPENDS
  }

  /** @param value within 64 bits. */
  int(value: number): void {
    if (value >= 0 && value < 2 ** 31) {
      this.#put(0x4a); // BININT
      this.#used = this.#room(4).writeInt32LE(value, this.#used);
    } else {
      this.#put(0x8a, 8); // LONG1 of 8 bytes
      this.#used = this.#room(8).writeBigInt64LE(BigInt(value), this.#used);
    }
  }

  text(value: string): void {
    const length = Buffer.byteLength(value);
    this.#put(0x58); // BINUNICODE
    this.#used = this.#room(4 + length).writeUInt32LE(length, this.#used);
    this.#used += this.#bytes.write(value, this.#used);
  }

  tuple(values: readonly number[]): void {
    this.#put(0x28); // MARK
    for (const value of values) this.int(value);
    this.#put(0x74); // TUPLE
  }

  /** A numpy array. @returns the offset at which its bytes are to be written. */
  array(shape: readonly number[], dtype: "<f4" | "<f2"): number {
    const length = shape.reduce((product, n) => product * n, dtype === "<f4" ? 4 : 2);
    this.#used += ARRAY.copy(this.#room(ARRAY.length), this.#used);
    this.#used = this.#room(8).writeBigUInt64LE(BigInt(length), this.#used);
    const offset = this.#used + this.#skipped;
    this.#holes.push({ at: this.#used, length });
    this.#skipped += length;
    this.text(dtype);
    this.#put(0x74, 0x52); // TUPLE REDUCE
    this.text("reshape");
    this.#put(0x74, 0x52, 0x28); // MARK
    this.tuple(shape);
    this.#put(0x74, 0x52);
    return offset;
  }

  /** Ends the pickle. */
  finish(): Pick<ShardLayout, "size" | "literals"> {
    this.#put(0x2e); // STOP
    const literals: { offset: number; bytes: Uint8Array }[] = [];
    let [from, skipped] = [0, 0];
    for (const { at, length } of [...this.#holes, { at: this.#used, length: 0 }]) {
      if (at > from) literals.push({ offset: from + skipped, bytes: this.#bytes.subarray(from, at) });
      from = at;
      skipped += length;
    }
    return { size: this.#used + this.#skipped, literals };
  }

  #put(...bytes: readonly number[]): void {
    const room = this.#room(bytes.length);
    for (const byte of bytes) room[this.#used++] = byte;
  }

  /** The buffer, with room for so many bytes more. */
  #room(length: number): Buffer {
    if (this.#used + length > this.#bytes.length) {
      const larger = Buffer.allocUnsafe(2 * this.#bytes.length + length);
      this.#bytes.copy(larger, 0, 0, this.#used);
      this.#bytes = larger;
    }
    return this.#bytes;
  }
}
