// The thread of shard/hash.ts.

import { parentPort } from "node:worker_threads";
import { answerHash, type HashReply, type HashRequest } from "./hash.js";

const post = (reply: HashReply) => parentPort?.postMessage(reply);
parentPort?.on("message", (request: HashRequest) => {
  void answerHash(request, post).then(post);
});
