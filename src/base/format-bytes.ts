// Sizes for people, in progress lines, tables and error messages.

const UNITS: readonly (readonly [number, string])[] = [
  [1e12, "TB"],
  [1e9, "GB"],
  [1e6, "MB"],
  [1e3, "kB"],
];
/** Of a unit: from here on three digits round up to it. */
const ROUNDS_UP = 0.9995;

/** 12.3 GB, 45.6 MB, 789 B: MB and GB are 10^6 and 10^9 bytes. */
export function formatBytes(bytes: number): string {
  const [size, unit] = UNITS.find(([size]) => bytes >= ROUNDS_UP * size) ?? [1, "B"];
  const value = bytes / size;
  return `${size === 1 || value >= 999.5 ? Math.round(value) : value.toPrecision(3)} ${unit}`;
}
