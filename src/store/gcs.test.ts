import { basename } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { FakeGcs, type Fault } from "../../test/fake-gcs.js";
import { type GcsOptions, GcsStore } from "./gcs.js";
import { describeStore } from "./store.suite.js";

const server = new FakeGcs();
beforeAll(() => server.start());
afterAll(() => server.stop());

const open = (prefix: string, options: GcsOptions = {}) =>
  new GcsStore(`gs://bucket/${prefix}`, {
    emulator: server.url,
    pageSize: 7,
    singleRequestBytes: 1 << 20,
    sleep: async () => {},
    ...options,
  });
const inserts = (fault: Fault, times = 1) => {
  // Whichever way the next body goes.
  let left = times;
  server.fault = ({ kind }) => ((kind === "insert" || kind === "put") && left-- > 0 ? fault : undefined);
};

describeStore("gcs", {
  open: (folder) => {
    server.fault = () => undefined;
    return open(`suite/${basename(folder)}`);
  },
  checksFiles: true,
  faults: {
    loseReply: () => inserts({ kind: "lost" }),
    refuse: () => inserts({ kind: "status", status: 503 }, 2),
    damageOnce: () => inserts({ kind: "damage" }),
    damage: () => inserts({ kind: "damage" }, 1000),
    heal: () => inserts({ kind: "damage" }, 0),
    stall: () => inserts({ kind: "stall" }),
  },
});
