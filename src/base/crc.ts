// How a CRC32C is written wherever it stands in text.

/** Eight hexadecimal digits of a CRC32C. */
export function formatCrc(value: number): string {
  return value.toString(16).padStart(8, "0");
}
