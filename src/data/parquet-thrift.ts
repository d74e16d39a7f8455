// The shape of what Parquet's headers and metadata are written in, Thrift's compact protocol
// (https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md): walked through before `hyparquet` reads it, which
// makes room for a list of whatever length it says.

/** Parquet's own metadata are some ten deep. */
const MAX_DEPTH = 32;

const [BOOLEAN_TRUE, BOOLEAN_FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, STRUCT] = [
  1, 2, 3, 4, 5, 6, 7, 8, 9, 12,
];

/** @param bytes begin with a struct. @throws Error where it does not end within them, or is nested too deep. @returns its length. */
export function checkStruct(bytes: Uint8Array): number {
  let at = 0;
  const byte = () => {
    const value = bytes[at++];
    if (value === undefined) throw new Error("its metadata end in the middle");
    return value;
  };
  const varint = () => {
    for (let value = 0, scale = 1, n = 0; ; scale *= 128) {
      const next = byte();
      value += (next & 0x7f) * scale;
      if (next < 0x80) return value;
      if (++n === 10) throw new Error("its metadata have a number of more than ten bytes");
    }
  };
  const pass = (length: number) => {
    if (length > bytes.length - at) throw new Error("its metadata end in the middle");
    at += length;
  };
  const element = (type: number, depth: number): void => {
    switch (type) {
      case BYTE:
        pass(1);
        break;
      case I16:
      case I32:
      case I64:
        varint();
        break;
      case DOUBLE:
        pass(8);
        break;
      case BINARY:
        pass(varint());
        break;
      case LIST: {
        const head = byte();
        const size = head >> 4 === 15 ? varint() : head >> 4;
        if (depth === MAX_DEPTH) throw new Error(`its metadata are more than ${MAX_DEPTH} deep`);
        const of = head & 15;
        const isBoolean = of === BOOLEAN_TRUE || of === BOOLEAN_FALSE;
        for (let i = 0; i < size; i++) element(isBoolean ? BYTE : of, depth + 1);
        break;
      }
      case STRUCT:
        if (depth === MAX_DEPTH) throw new Error(`its metadata are more than ${MAX_DEPTH} deep`);
        struct(depth + 1);
        break;
      default:
        throw new Error(`its metadata have a value of type ${type}`);
    }
  };
  const struct = (depth: number): void => {
    for (let head = byte(); head % 16 !== 0; head = byte()) {
      if (head < 16) varint(); // The field's number, where it is not one of the next fifteen.
      const type = head % 16;
      if (type !== BOOLEAN_TRUE && type !== BOOLEAN_FALSE) element(type, depth);
    }
  };
  struct(0);
  return at;
}
