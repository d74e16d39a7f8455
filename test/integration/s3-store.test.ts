// The contract of a store, kept by the S3 driver against a real server.

import { basename } from "node:path";
import { afterAll, beforeAll, describe } from "vitest";
import { S3Store } from "../../src/store/s3.js";
import { describeStore } from "../../src/store/store.suite.js";
import { BUCKET, type S3Server, startVersitygw, VERSITYGW } from "./versitygw.js";

if (VERSITYGW === undefined)
  process.stderr.write("SLUICE_TEST_VERSITYGW names no versitygw: its tests are skipped\n");

describe.skipIf(VERSITYGW === undefined)("versitygw", () => {
  let server: S3Server;
  beforeAll(async () => {
    server = await startVersitygw();
    Object.assign(process.env, server.env);
  });
  afterAll(() => server.stop());

  describeStore("S3", {
    open: (folder) => new S3Store(`s3://${BUCKET}/run/${basename(folder)}`, { partBytes: 5 << 20 }),
    largeBytes: (11 << 20) + 7,
    checksFiles: true,
  });
});
