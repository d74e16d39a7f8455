// What a driver asked of its store: for the benchmarks, for `--json`, and for tests that hold the number of requests a shard.

/** Counters of one store's driver. */
export class StoreStatistics {
  /** Requests that were sent, by kind (`create`, `head`, `list`), retries included. */
  readonly requests = new Map<string, number>();
  /** Requests that were sent again. */
  retries = 0;
  /** Bytes of bodies sent and received, those of failed attempts included. */
  bytesSent = 0;
  bytesReceived = 0;

  /** Counts a request. */
  count(kind: string): void {
    this.requests.set(kind, (this.requests.get(kind) ?? 0) + 1);
  }

  /** All requests. */
  get total(): number {
    let total = 0;
    for (const count of this.requests.values()) total += count;
    return total;
  }
}
