// The contract of a store, kept by the GCS driver against an emulator that is none of ours.

import { basename } from "node:path";
import { afterAll, beforeAll, describe } from "vitest";
import { realClock } from "../../src/base/clock.js";
import { GcsStore } from "../../src/store/gcs.js";
import { describeStore } from "../../src/store/store.suite.js";
import { FAKE_GCS_SERVER, startFakeGcsServer } from "./fake-gcs-server.js";

if (FAKE_GCS_SERVER === undefined)
  process.stderr.write("SLUICE_TEST_FAKE_GCS names no fake-gcs-server: its tests are skipped\n");

describe.skipIf(FAKE_GCS_SERVER === undefined)("fake-gcs-server", () => {
  let server: Awaited<ReturnType<typeof startFakeGcsServer>>;
  beforeAll(async () => {
    server = await startFakeGcsServer("bucket");
  });
  afterAll(() => server.stop());

  describeStore("GCS", {
    open: (folder) =>
      new GcsStore(`gs://bucket/run/${basename(folder)}`, {
        emulator: server.url,
        pageSize: 7,
        clock: { ...realClock, sleep: async () => {} },
      }),
    largeBytes: (11 << 20) + 7,
    checksFiles: true,
    removesAnyVersion: true,
  });
});
