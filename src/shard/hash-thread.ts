// The thread of shard/hash.ts.

import { parentPort } from "node:worker_threads";
import { answerHash, type HashRequest } from "./hash.js";

parentPort?.on("message", (request: HashRequest) => {
  void answerHash(request).then((reply) => parentPort?.postMessage(reply));
});
