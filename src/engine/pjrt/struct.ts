// A struct of the C API in our own memory: fields are written when it is made and read back after the call. Whatever a
// pointer field points to is kept alive as long as the struct is.

import { addressOf, copyMemory } from "./native.js";
import { type FieldKind, HEADER_BYTES, STRUCTS, type StructLayout, type StructName } from "./structs.js";

type FieldName<N extends StructName> = Extract<keyof (typeof STRUCTS)[N]["fields"], string>;

/** What a field may be set to: an address, memory to point to, a number, a boolean. Fields left out are zero, that is null. */
export type FieldValue = bigint | number | boolean | ArrayBufferView | Struct<StructName>;

/** Zeros behind the struct, for fields that a later version of the API has added: zero there means that they are not used. */
const SPARE_BYTES = 256;

/** One struct. */
export class Struct<N extends StructName> {
  readonly name: N;
  readonly #view: DataView;
  readonly #kept: unknown[] = [];
  readonly address: bigint;

  constructor(name: N, values: { readonly [F in FieldName<N>]?: FieldValue } = {}) {
    this.name = name;
    const { size } = STRUCTS[name];
    const bytes = allocate(size + SPARE_BYTES);
    this.#view = new DataView(bytes.buffer);
    this.address = addressOf(bytes);
    this.grow(size);
    for (const [field, value] of Object.entries(values))
      if (value !== undefined) this.#write(field, value as FieldValue);
  }

  /** The struct as a whole, with its pointers: for arrays of structs. */
  get bytes(): Uint8Array {
    return new Uint8Array(this.#view.buffer, 0, STRUCTS[this.name].size);
  }

  /** Says that the struct is so much larger than before; false where it is not, or cannot be. */
  grow(size: number): boolean {
    if (!(size > Number(this.#view.getBigUint64(0, true))) || size > this.#view.byteLength) return false;
    this.#view.setBigUint64(0, BigInt(size), true);
    return true;
  }

  /** This struct or one that it points to, by name. */
  find(name: string): Struct<StructName> | undefined {
    if (this.name === name) return this as unknown as Struct<StructName>;
    for (const kept of this.#kept) {
      const found = kept instanceof Struct ? kept.find(name) : undefined;
      if (found) return found;
    }
    return undefined;
  }

  /** An address that the call has written, or 0n. */
  pointer(field: FieldName<N>): bigint {
    return this.#view.getBigUint64(this.#offset(field, ["pointer"]), true);
  }

  /** An integer. */
  number(field: FieldName<N>): number {
    const [offset, kind] = this.#place(field);
    if (kind === "int32") return this.#view.getInt32(offset, true);
    return Number(this.#view.getBigInt64(this.#offset(field, ["size", "int64"]), true));
  }

  bool(field: FieldName<N>): boolean {
    return this.#view.getUint8(this.#offset(field, ["bool"])) !== 0;
  }

  /** A copy of the text or bytes that two fields tell of: where and how many. */
  copy(at: FieldName<N>, size: FieldName<N>): Uint8Array {
    return copyMemory(this.pointer(at), this.number(size));
  }

  text(at: FieldName<N>, size: FieldName<N>): string {
    return Buffer.from(this.copy(at, size)).toString("utf8");
  }

  #write(field: string, value: FieldValue): void {
    const [offset, kind] = this.#place(field);
    if (typeof value === "bigint") this.#view.setBigInt64(offset, BigInt.asIntN(64, value), true);
    else if (typeof value === "boolean") this.#view.setUint8(offset, value ? 1 : 0);
    else if (typeof value === "number") {
      if (kind === "int32") this.#view.setInt32(offset, value, true);
      else if (kind === "float") this.#view.setFloat32(offset, value, true);
      else this.#view.setBigInt64(offset, BigInt(value), true);
    } else {
      this.#kept.push(value);
      const address = value instanceof Struct ? value.address : addressOf(value);
      this.#view.setBigUint64(offset, address, true);
    }
  }

  #place(field: string): readonly [number, FieldKind] {
    const layout: StructLayout = STRUCTS[this.name];
    const place = layout.fields[field];
    if (!place || place[0] < HEADER_BYTES) throw new Error(`${this.name} has no field ${field}`);
    return place;
  }

  #offset(field: FieldName<N>, kinds: readonly FieldKind[]): number {
    const [offset, kind] = this.#place(field);
    if (!kinds.includes(kind)) throw new Error(`${this.name}.${field} is of kind ${kind}`);
    return offset;
  }
}

/** Zeroed memory that never moves. */
export function allocate(bytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(bytes));
}

/** An array of addresses, as C has it; never empty, because a pointer to nothing would be null. */
export function pointers(addresses: readonly bigint[], length = addresses.length): BigUint64Array {
  const list = new BigUint64Array(new ArrayBuffer(8 * Math.max(1, length)));
  list.set(addresses);
  return list;
}

/** What arrays in our memory point to. */
const targets = new WeakMap<ArrayBufferView, unknown>();

/** Keeps what an array points to alive as long as the array is. @returns the array. */
export function keepWith<T extends ArrayBufferView>(array: T, target: unknown): T {
  targets.set(array, target);
  return array;
}

/** An array of pointers to arrays of our own. */
export function pointersTo(views: readonly ArrayBufferView[]): BigUint64Array {
  return keepWith(pointers(views.map(addressOf)), views);
}

/** An array of int64. */
export function int64s(values: readonly number[]): BigInt64Array {
  const list = new BigInt64Array(new ArrayBuffer(8 * Math.max(1, values.length)));
  list.set(values.map(BigInt));
  return list;
}

/** Text as UTF-8 in memory that never moves. */
export function textBytes(text: string): Uint8Array {
  const bytes = Buffer.from(text, "utf8");
  const copy = allocate(Math.max(1, bytes.length));
  copy.set(bytes);
  return copy.subarray(0, bytes.length);
}
