// What happened over many seeds, counted: a simulation in which nothing interesting happens proves nothing.

/** Counters by name. */
export class Counts {
  readonly values = new Map<string, number>();

  add(name: string, count = 1): void {
    this.values.set(name, (this.values.get(name) ?? 0) + count);
  }

  of(name: string): number {
    return this.values.get(name) ?? 0;
  }

  /** Adds another's. */
  merge(other: Iterable<readonly [string, number]>): void {
    for (const [name, count] of other) this.add(name, count);
  }

  /** One line a counter, in alphabetical order. */
  table(): string {
    const names = [...this.values.keys()].sort();
    const width = Math.max(0, ...names.map((name) => name.length));
    return names.map((name) => `${name.padEnd(width)}  ${this.of(name).toLocaleString("en")}`).join("\n");
  }
}
