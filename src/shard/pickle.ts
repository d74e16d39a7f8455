// Writes a pickle (protocol 4; CPython, Lib/pickletools.py) whose arrays' bytes are left out, to be written later at the
// offsets that are given back. An array is numpy.frombuffer(bytes, dtype).reshape(shape): names that every numpy has.

import type { ShardLayout } from "./format.js";

/** Collects opcodes, and holes for the arrays' bytes. */
export class PickleWriter {
  readonly #literals: { offset: number; bytes: Uint8Array }[] = [];
  #pieces: Uint8Array[] = [Uint8Array.of(0x80, 4)];
  /** Where the pieces not yet turned into a literal begin, and how long they are. */
  #start = 0;
  #length = 2;

  startDict(): void {
    this.#put(Uint8Array.of(0x7d, 0x28)); // EMPTY_DICT MARK
  }

  endDict(): void {
    this.#put(Uint8Array.of(0x75)); // SETITEMS
  }

  startList(): void {
    this.#put(Uint8Array.of(0x5d, 0x28)); // EMPTY_LIST MARK
  }

  endList(): void {
    this.#put(Uint8Array.of(0x65)); // APPENDS
  }

  /** @param value within 64 bits. */
  int(value: number): void {
    if (value >= 0 && value < 2 ** 31) {
      const bytes = Buffer.alloc(5, 0x4a); // BININT
      bytes.writeInt32LE(value, 1);
      this.#put(bytes);
    } else {
      const bytes = Buffer.alloc(10, 0x8a); // LONG1 of 8 bytes
      bytes[1] = 8;
      bytes.writeBigInt64LE(BigInt(value), 2);
      this.#put(bytes);
    }
  }

  text(value: string): void {
    const utf8 = Buffer.from(value);
    const head = Buffer.alloc(5, 0x58); // BINUNICODE
    head.writeUInt32LE(utf8.length, 1);
    this.#put(Buffer.concat([head, utf8]));
  }

  tuple(values: readonly number[]): void {
    this.#put(Uint8Array.of(0x28)); // MARK
    for (const value of values) this.int(value);
    this.#put(Uint8Array.of(0x74)); // TUPLE
  }

  /** A numpy array. @returns the offset at which its bytes are to be written. */
  array(shape: readonly number[], dtype: "<f4" | "<f2"): number {
    const length = shape.reduce((product, n) => product * n, dtype === "<f4" ? 4 : 2);
    this.#put(Buffer.from("cbuiltins\ngetattr\n(")); // getattr(numpy.frombuffer(bytes, dtype), "reshape")(shape)
    this.#put(Buffer.from("cnumpy\nfrombuffer\n("));
    const head = Buffer.alloc(9, 0x8e); // BINBYTES8
    head.writeBigUInt64LE(BigInt(length), 1);
    this.#put(head);
    const offset = this.#skip(length);
    this.text(dtype);
    this.#put(Buffer.from("tR")); // TUPLE REDUCE
    this.text("reshape");
    this.#put(Buffer.from("tR("));
    this.tuple(shape);
    this.#put(Buffer.from("tR"));
    return offset;
  }

  /** Ends the pickle. */
  finish(): Pick<ShardLayout, "size" | "literals"> {
    this.#put(Uint8Array.of(0x2e)); // STOP
    this.#skip(0);
    return { size: this.#start, literals: this.#literals };
  }

  #put(bytes: Uint8Array): void {
    this.#pieces.push(bytes);
    this.#length += bytes.length;
  }

  #skip(length: number): number {
    if (this.#length > 0) this.#literals.push({ offset: this.#start, bytes: Buffer.concat(this.#pieces) });
    const offset = this.#start + this.#length;
    this.#start = offset + length;
    this.#pieces = [];
    this.#length = 0;
    return offset;
  }
}
