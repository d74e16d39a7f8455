// How a CRC32C is written wherever it stands in text.

/** Eight hexadecimal digits of a CRC32C. */
export function formatCrc(value: number): string {
  return value.toString(16).padStart(8, "0");
}

/** CRC32C's polynomial (Castagnoli), bits reversed. */
const POLYNOMIAL = 0x82f63b78;
/** x^(2^k) modulo the polynomial, which has x + 1 as a factor: x^(2^31) is x again. (Of CRC-32, which has none, x^(2^32) is.) */
const POWERS: readonly number[] = (() => {
  const powers = [0x40000000];
  for (let k = 1; k < 31; k++) powers.push(multiply(powers[k - 1] ?? 0, powers[k - 1] ?? 0));
  return powers;
})();

/**
 * The CRC32C of two pieces one after the other, from those of each: no byte is read again (zlib's crc32_combine, M. Adler).
 * @param secondLength of the second piece, in bytes.
 */
export function combineCrcs(first: number, second: number, secondLength: number): number {
  let shift = 0x80000000; // x^0
  for (let bits = secondLength, k = 3; bits > 0; bits = Math.floor(bits / 2), k++)
    if (bits % 2 === 1) shift = multiply(POWERS[k % 31] ?? 0, shift);
  return (multiply(shift, first) ^ second) >>> 0;
}

/** The product of two polynomials over GF(2), modulo CRC32C's. */
function multiply(a: number, b: number): number {
  let product = 0;
  for (let bit = 0x80000000, factor = b; bit !== 0; bit >>>= 1) {
    if (a & bit) product ^= factor;
    factor = factor & 1 ? (factor >>> 1) ^ POLYNOMIAL : factor >>> 1;
  }
  return product >>> 0;
}
