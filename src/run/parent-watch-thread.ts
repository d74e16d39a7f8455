// Kills the engine's process soon after its worker has died. A thread of its own, because the main thread may be inside
// a native call for a minute, and a killed worker's successor needs the memory and the cores.

import { workerData } from "node:worker_threads";

const { parent } = workerData as { parent: number };
setInterval(() => {
  if (process.ppid !== parent) process.kill(process.pid, "SIGKILL");
}, 250);
