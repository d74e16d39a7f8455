// Sizes for people, in progress lines, tables and error messages.

/** 12.3 GB, 45.6 MB, 789 B: MB and GB are 10^6 and 10^9 bytes. */
export function formatBytes(bytes: number): string {
  const steps: readonly [number, string][] = [
    [1e12, "TB"],
    [1e9, "GB"],
    [1e6, "MB"],
    [1e3, "kB"],
  ];
  for (const [size, unit] of steps) if (bytes >= size) return `${(bytes / size).toPrecision(3)} ${unit}`;
  return `${Math.round(bytes)} B`;
}
