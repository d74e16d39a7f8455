// The contract of a store, kept by the S3 driver against a real server, also where what lies between loses replies, damages bodies or
// falls silent.

import { basename } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { S3Store } from "../../src/store/s3.js";
import { describeStore } from "../../src/store/store.suite.js";
import { FaultyProxy } from "../faulty-proxy.js";
import { s3Faults } from "../s3-faults.js";
import { BUCKET, type S3Server, startVersitygw, VERSITYGW } from "./versitygw.js";

const PART_BYTES = 5 << 20;

if (VERSITYGW === undefined)
  process.stderr.write("SLUICE_TEST_VERSITYGW names no versitygw: its tests are skipped\n");

describe.skipIf(VERSITYGW === undefined)("versitygw", () => {
  let server: S3Server;
  let proxy: FaultyProxy;
  beforeAll(async () => {
    server = await startVersitygw();
    proxy = await FaultyProxy.start(server.url, { stallMs: 60_000 });
    Object.assign(process.env, server.env, { AWS_ENDPOINT_URL: proxy.url });
  });
  afterAll(async () => {
    await proxy.close();
    await server.stop();
  });

  /** The request by which an object comes about. */
  const open = (folder: string) =>
    new S3Store(`s3://${BUCKET}/run/${basename(folder)}`, { partBytes: PART_BYTES, random: () => 0 });

  describeStore("S3", {
    open,
    largeBytes: 2 * PART_BYTES + 7,
    checksFiles: true,
    faults: s3Faults(() => proxy),
  });

  it("creates and removes in the same folders at once", async () => {
    // The server makes folders for an object and removes those that are empty: now and then it does both at once, and says 409.
    proxy.calm();
    const retries: string[] = [];
    const store = new S3Store(`s3://${BUCKET}/folders`, {
      onRetry: ({ cause }) => retries.push(cause),
      random: () => 0,
    });
    const workers = Array.from({ length: 3 }, async (_, worker) => {
      for (let i = 0; i < 60; i++) {
        const stored = await store.create(`a/b/c/d/e/f/g/h/${worker}-${i}`, Buffer.from("x"));
        expect(stored).not.toBe("exists");
        if (stored !== "exists") await store.remove(stored.name, stored.version);
      }
    });
    await Promise.all(workers);
    for (const cause of retries) expect(cause).toMatch(/ExistingObjectIsDirectory|InternalError/);
  });

  it("leaves no unfinished uploads behind, whatever went wrong", async () => {
    const store = new S3Store(`s3://${BUCKET}`);
    const findUploads = async () => {
      const found: string[] = [];
      for await (const { name } of store.uploads.list("")) found.push(name);
      return found;
    };
    await vi.waitFor(async () => expect(await findUploads()).toEqual([]), {
      timeout: 120_000,
      interval: 200,
    });
    expect(new Set(proxy.happened.keys())).toEqual(new Set(["droppedAfter", "busy", "damaged", "stalled"]));
  });
});
