// Counts in sentences: "1 shard", "1,234 shards".

/** The count, with commas, and what is counted. @param many of more than one, where it does not just end in s. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString("en-US")} ${count === 1 ? one : many}`;
}
