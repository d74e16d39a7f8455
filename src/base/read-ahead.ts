// Many small reads at once, taken in order: what a listing gave is read with bounded parallelism, and nobody holds more
// results than there are reads under way.

/**
 * Maps items in parallel and yields the results in the items' order.
 * @param ahead how many are under way at once, at most.
 * @throws what `map` raises, at its item's turn; the signal's reason.
 */
export async function* mapAhead<T, R>(
  items: Iterable<T>,
  ahead: number,
  map: (item: T) => Promise<R>,
  signal?: AbortSignal,
): AsyncGenerator<R> {
  const underWay: Promise<R>[] = [];
  const start = (item: T) => {
    const result = map(item);
    result.catch(() => {}); // Raised when it is its turn.
    underWay.push(result);
  };
  for (const item of items) {
    signal?.throwIfAborted();
    start(item);
    if (underWay.length >= ahead) yield await (underWay.shift() as Promise<R>);
  }
  for (const result of underWay) {
    signal?.throwIfAborted();
    yield await result;
  }
}
