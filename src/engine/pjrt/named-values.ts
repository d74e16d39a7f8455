// Lists of names with values: options of a client, attributes of a plug-in.

import { copyMemory } from "./native.js";
import { allocate, keepWith, Struct, textBytes } from "./struct.js";
import { STRUCTS } from "./structs.js";

/** PJRT_NamedValue_Type. */
const TYPES = { string: 0, int64: 1, int64List: 2, float: 3, bool: 4 } as const;

/** A value with the type that the plug-in expects: it may end the process where it gets another. */
export type NamedValue =
  | { readonly type: "int64"; readonly value: number }
  | { readonly type: "float"; readonly value: number }
  | { readonly type: "bool"; readonly value: boolean };

const BYTES = STRUCTS.PJRT_NamedValue.size;

/** The list as C has it. */
export function encodeNamedValues(values: Readonly<Record<string, NamedValue>>): {
  readonly list: Uint8Array;
  readonly count: number;
} {
  const structs = Object.entries(values).map(([name, { type, value }]) => {
    const text = textBytes(name);
    const field = ({ int64: "int64_value", float: "float_value", bool: "bool_value" } as const)[type];
    return new Struct("PJRT_NamedValue", {
      name: text,
      name_size: text.length,
      type: TYPES[type],
      [field]: value,
      value_size: 1,
    });
  });
  const list = allocate(BYTES * Math.max(1, structs.length));
  for (const [i, struct] of structs.entries()) list.set(struct.bytes, i * BYTES);
  return { list: keepWith(list, structs), count: structs.length };
}

/** What a plug-in tells: texts, numbers, lists of numbers. */
export type Attributes = Readonly<Record<string, string | number | boolean | readonly number[]>>;

/** Reads a list in the plug-in's memory. */
export function decodeNamedValues(address: bigint, count: number): Attributes {
  const bytes = copyMemory(address, BYTES * count);
  const view = new DataView(bytes.buffer);
  const { fields } = STRUCTS.PJRT_NamedValue;
  const read = (i: number): [string, Attributes[string]] => {
    const pointer = (field: keyof typeof fields) => view.getBigUint64(i * BYTES + fields[field][0], true);
    const size = (field: keyof typeof fields) => Number(pointer(field));
    const name = decodeText(pointer("name"), size("name_size"));
    const at = i * BYTES + fields.int64_value[0];
    const type = view.getInt32(i * BYTES + fields.type[0], true);
    if (type === TYPES.string) return [name, decodeText(pointer("string_value"), size("value_size"))];
    if (type === TYPES.int64List) {
      const list = copyMemory(pointer("int64_array_value"), 8 * size("value_size"));
      return [name, Array.from(new BigInt64Array(list.buffer), Number)];
    }
    if (type === TYPES.float) return [name, view.getFloat32(at, true)];
    if (type === TYPES.bool) return [name, view.getUint8(at) !== 0];
    return [name, Number(view.getBigInt64(at, true))];
  };
  return Object.fromEntries(Array.from({ length: count }, (_, i) => read(i)));
}

function decodeText(address: bigint, size: number): string {
  return Buffer.from(copyMemory(address, size)).toString("utf8");
}
