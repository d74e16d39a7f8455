// The faults of the stores' contract, caused by the proxy before a server that speaks S3's protocol.

import type { StoreUnderTest } from "../src/store/store.suite.js";
import type { FaultyProxy, SeenRequest } from "./faulty-proxy.js";

/** What makes an object: a small one's request, or a large one's completion. */
const creates = ({ method, path }: SeenRequest) =>
  (method === "PUT" && !path.includes("partNumber=")) || (method === "POST" && path.includes("uploadId="));
/** What carries bytes. */
const sends = ({ method }: SeenRequest) => method === "PUT";

/** The faults of {@link StoreUnderTest}. */
export function s3Faults(proxy: () => FaultyProxy): NonNullable<StoreUnderTest["faults"]> {
  return {
    loseReply: () => proxy().failNext("droppedAfter", creates),
    refuse: () => proxy().failNext("busy", creates, 2),
    damageOnce: () => proxy().failNext("damaged", sends),
    damage: () => proxy().failNext("damaged", sends, Number.POSITIVE_INFINITY),
    heal: () => proxy().calm(),
    stall: (then) => proxy().failNext("stalled", creates, 1, then),
  };
}
