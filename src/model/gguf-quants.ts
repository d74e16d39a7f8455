// The quantised blocks of GGUF files, widened to float32 exactly as ggml's reference does (ggml-quants.c, dequantize_row_*;
// the gguf Python package, quants.py). Tests hold them to that package, bit for bit.

import { decodeFloat16 } from "../base/float16.js";
import type { GgufPacking } from "../base/gguf-header.js";

/** Widens whole blocks. `out` holds one value an element. */
type Widen = (blocks: Uint8Array, out: Float32Array) => void;

/** All float16 values by pattern. */
const HALVES = decodeFloat16(Uint16Array.from({ length: 65_536 }, (_, pattern) => pattern));

const WIDEN: Readonly<Record<Exclude<GgufPacking["name"], "F32" | "F16" | "BF16">, Widen>> = {
  Q8_0: widenQ80,
  Q4_0: widenQ40,
  Q4_1: widenQ41,
  Q4_K: widenQ4K,
  Q6_K: widenQ6K,
};

/** A packing of several elements a block. */
export type QuantisedPacking = GgufPacking & { readonly name: keyof typeof WIDEN };

/** Whether elements are packed in blocks, and must be widened. */
export function isQuantised(packing: GgufPacking): packing is QuantisedPacking {
  return packing.name in WIDEN;
}

/** Widens blocks to float32. @param blocks whole blocks of that packing. */
export function widenBlocks(packing: QuantisedPacking, blocks: Uint8Array): Float32Array<ArrayBuffer> {
  const out = new Float32Array((blocks.length / packing.bytes) * packing.elements);
  WIDEN[packing.name](blocks, out);
  return out;
}

function half(b: Uint8Array, at: number): number {
  return HALVES[(b[at] ?? 0) | ((b[at + 1] ?? 0) << 8)] ?? 0;
}

function signed(byte: number): number {
  return (byte << 24) >> 24;
}

/** Scale, then 32 signed bytes. */
function widenQ80(b: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 34, o += 32) {
    const d = half(b, at);
    for (let i = 0; i < 32; i++) out[o + i] = signed(b[at + 2 + i] ?? 0) * d;
  }
}

/** Scale, then 16 bytes of two nibbles: elements i and i + 16, each minus 8. */
function widenQ40(b: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 18, o += 32) {
    const d = half(b, at);
    for (let i = 0; i < 16; i++) {
      const q = b[at + 2 + i] ?? 0;
      out[o + i] = ((q & 15) - 8) * d;
      out[o + 16 + i] = ((q >> 4) - 8) * d;
    }
  }
}

/** Scale, minimum, then 16 bytes of two nibbles. */
function widenQ41(b: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 20, o += 32) {
    const d = half(b, at);
    const m = half(b, at + 2);
    for (let i = 0; i < 16; i++) {
      const q = b[at + 4 + i] ?? 0;
      out[o + i] = d * (q & 15) + m;
      out[o + 16 + i] = d * (q >> 4) + m;
    }
  }
}

/** Scale, scale of the minima, eight pairs of 6 bits in 12 bytes, then 128 bytes: four times 32 low and 32 high nibbles. */
function widenQ4K(b: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 144, o += 256) {
    const d = half(b, at);
    const dmin = half(b, at + 2);
    for (let s = 0; s < 8; s++) {
      const [scale, min] = scaleAndMin(b, at + 4, s);
      const step = d * scale;
      const base = dmin * min;
      const from = at + 16 + 32 * (s >> 1);
      const shift = 4 * (s & 1);
      for (let i = 0; i < 32; i++) out[o + 32 * s + i] = step * (((b[from + i] ?? 0) >> shift) & 15) - base;
    }
  }
}

/** The s-th pair: the first four lie in the low 6 bits of bytes s and s + 4, the others are put together from three places. */
function scaleAndMin(b: Uint8Array, at: number, s: number): [number, number] {
  const low = (i: number) => b[at + i] ?? 0;
  if (s < 4) return [low(s) & 63, low(s + 4) & 63];
  return [(low(s + 4) & 15) | ((low(s - 4) >> 6) << 4), (low(s + 4) >> 4) | ((low(s) >> 6) << 4)];
}

/** 128 bytes of low nibbles, 64 of upper two bits, 16 signed scales, the scale of scales; each element minus 32. */
function widenQ6K(b: Uint8Array, out: Float32Array): void {
  for (let at = 0, o = 0; o < out.length; at += 210, o += 256) {
    const d = half(b, at + 208);
    for (let i = 0; i < 256; i++) {
      const [n, within] = [i >> 7, i & 127];
      const [quarter, l] = [within >> 5, within & 31];
      const lowByte = b[at + 64 * n + 32 * (quarter & 1) + l] ?? 0;
      const low = quarter < 2 ? lowByte & 15 : lowByte >> 4;
      const high = ((b[at + 128 + 32 * n + l] ?? 0) >> (2 * quarter)) & 3;
      const scale = signed(b[at + 192 + (i >> 4)] ?? 0);
      out[o + i] = d * scale * ((low | (high << 4)) - 32);
    }
  }
}
