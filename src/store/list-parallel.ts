// A long listing in a short time. Stores give a thousand names a page, one page after the other; what is known of the names
// beforehand cuts them into ranges that are listed side by side.

import { compareNames } from "./names.js";
import { isRemote, type NameRange, type Store, type Stored } from "./store.js";

/** Names that a store gives in one page: a listing that ends within it is not worth cutting. */
export const PAGE = 1000;
const RANGES_AT_ONCE = 16;

/**
 * Lists a prefix, in no order.
 * @param boundaries names that cut what is there into parts of like size, each of some pages; asked for only where the listing is longer than a page.
 * @param each gets every object at least once: again where ranges meet, and from a store that knows no ranges.
 */
export async function listInParallel(
  store: Store,
  prefix: string,
  boundaries: () => readonly string[],
  each: (stored: Stored) => void,
): Promise<void> {
  const firstPage = isRemote(store) ? PAGE : Number.POSITIVE_INFINITY;
  let last = "";
  let count = 0;
  for await (const stored of store.list(prefix)) {
    each(stored);
    last = stored.name;
    count += 1;
    if (count === firstPage) break; // Before the next page is asked for.
  }
  if (count < firstPage) return;
  const cuts = boundaries().filter((name) => compareNames(name, last) > 0 && name.startsWith(prefix));
  const starts = [last, ...cuts.sort(compareNames)];
  const ranges = starts.map((from, i): NameRange => {
    const to = starts[i + 1];
    return to === undefined ? { from } : { from, to };
  });
  const take = async () => {
    for (let range = ranges.shift(); range; range = ranges.shift())
      for await (const stored of store.list(prefix, range)) each(stored);
  };
  await Promise.all(Array.from({ length: RANGES_AT_ONCE }, take));
}
