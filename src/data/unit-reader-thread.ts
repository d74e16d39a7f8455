// The thread of data/unit-reader.ts.

import { parentPort, workerData } from "node:worker_threads";
import { sayAlive } from "./stalled-thread.js";
import { answerRead, LocalUnitReader, type ReadRequest, type UnitReaderOptions } from "./unit-reader.js";

const reader = new LocalUnitReader(workerData as UnitReaderOptions);
sayAlive(parentPort);
parentPort?.on("message", (request: ReadRequest) => {
  void answerRead(reader, request).then((reply) => parentPort?.postMessage(reply));
});
