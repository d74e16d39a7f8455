// The thread of data/scan.ts.

import { parentPort, workerData } from "node:worker_threads";
import { flattenError } from "../base/error-transfer.js";
import { type SampleRequest, type ScanReply, type ScanRequest, sampleRecords, scanStream } from "./scan.js";
import { sayAlive } from "./stalled-thread.js";

const post = (reply: ScanReply) => parentPort?.postMessage(reply);
sayAlive(parentPort);
const request = workerData as ScanRequest | SampleRequest;
const result =
  "stream" in request
    ? scanStream(request, (bytes) => post({ bytes }))
    : sampleRecords(request.dataset, request.count);
result.then(
  (done) => post({ result: done }),
  (error: unknown) => post({ error: flattenError(error) }),
);
