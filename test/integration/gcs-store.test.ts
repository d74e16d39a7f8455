// The contract of a store, kept by the GCS driver against an emulator that is none of ours.

import { writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { crc32c } from "@node-rs/crc32";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { realClock } from "../../src/base/clock.js";
import { formatCrc } from "../../src/base/crc.js";
import { GcsStore } from "../../src/store/gcs.js";
import { describeStore } from "../../src/store/store.suite.js";
import { FaultyProxy } from "../faulty-proxy.js";
import { temporaryFolder } from "../helpers.js";
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

  it("is sent again what arrives damaged, small objects and large ones", async () => {
    const folder = await temporaryFolder();
    const proxy = await FaultyProxy.start(server.url, { seed: "damaged", rates: { damaged: 0.3 } });
    try {
      const store = new GcsStore("gs://bucket/damaged", {
        emulator: proxy.url,
        singleRequestBytes: 1 << 20,
        clock: { ...realClock, sleep: async () => {} },
      });
      for (let i = 0; i < 40; i++) {
        const content = Buffer.alloc(i % 4 === 0 ? 2 << 20 : 100, `${i} `);
        const file = join(folder, `${i}`);
        await writeFile(file, content);
        const body = { file, size: content.length, crc32c: formatCrc(crc32c(content)) };
        expect(await store.create(`${i}`, i % 4 === 1 ? content : body)).toMatchObject({
          crc32c: body.crc32c,
        });
        expect(content.equals(await store.read(`${i}`))).toBe(true);
      }
      expect(proxy.happened.get("damaged")).toBeGreaterThan(10);
    } finally {
      await proxy.close();
    }
  });
});
