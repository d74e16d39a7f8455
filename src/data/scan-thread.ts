// The thread of data/scan.ts.

import { parentPort, workerData } from "node:worker_threads";
import { flattenError } from "../base/error-transfer.js";
import { type ScanReply, type ScanRequest, scanStream } from "./scan.js";

const post = (reply: ScanReply) => parentPort?.postMessage(reply);
scanStream(workerData as ScanRequest, (bytes) => post({ bytes })).then(
  (table) => post({ table }),
  (error: unknown) => post({ error: flattenError(error) }),
);
