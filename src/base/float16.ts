// Conversions between float32 and the two 16-bit formats, as raw patterns: Node 20 has no typed array for either. Both
// round to nearest, ties to even (IEEE 754); a NaN stays a NaN.

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/** float32 to bfloat16 patterns: the upper half of the float32, rounded. */
export function encodeBfloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i] ?? 0;
    out[i] = (b & 0x7fffffff) > 0x7f800000 ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  }
  return out;
}

/** bfloat16 patterns to float32, exactly. */
export function decodeBfloat16(patterns: Uint16Array): Float32Array {
  const out = new Float32Array(patterns.length);
  const bits = new Uint32Array(out.buffer);
  for (let i = 0; i < bits.length; i++) bits[i] = (patterns[i] ?? 0) << 16;
  return out;
}

/** float32 to float16 patterns; values beyond 65,504 become infinite. */
export function encodeFloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) out[i] = roundToFloat16(bits[i] ?? 0);
  return out;
}

/** float16 patterns to float32, exactly. */
export function decodeFloat16(patterns: Uint16Array): Float32Array {
  const out = new Float32Array(patterns.length);
  for (let i = 0; i < out.length; i++) out[i] = widenFloat16(patterns[i] ?? 0);
  return out;
}

function roundToFloat16(b: number): number {
  const sign = (b >>> 16) & 0x8000;
  const magnitude = b & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Below the smallest normal float16 (2^-14): adding 0.5 lines the result's last bit up with float32's own rounding.
    scratchBits[0] = magnitude;
    scratch[0] = (scratch[0] ?? 0) + 0.5;
    return sign | ((scratchBits[0] ?? 0) - 0x3f000000);
  }
  const rebased = magnitude - 0x38000000;
  return sign | ((rebased + 0xfff + ((rebased >>> 13) & 1)) >>> 13);
}

function widenFloat16(p: number): number {
  const sign = p & 0x8000 ? -1 : 1;
  const exponent = (p >>> 10) & 0x1f;
  const fraction = p & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}
