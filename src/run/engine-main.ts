// The engine's child process: loads the model, computes units and writes their rows to their final places in the spool
// file. It ignores the signals that mean pre-emption (they reach the whole process group, and the worker decides), and
// dies with the worker, even from inside a native call.

import { Worker } from "node:worker_threads";
import { entryPoint } from "../base/entry.js";
import { flattenError } from "../base/error-transfer.js";
import { SluiceError } from "../base/errors.js";
import type { LoadedModel } from "../engine/engine.js";
import { createEngine } from "../engine/engines.js";
import { buildGraph, openModel } from "../model/model.js";
import { computeIntoFile } from "./compute-into-file.js";
import type { EngineReply, EngineRequest, LoadRequest } from "./engine-process.js";

for (const signal of ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"] as const) process.on(signal, () => {});
process.on("disconnect", () => process.exit(0));
new Worker(entryPoint(import.meta.url, "./parent-watch-thread.js"), {
  workerData: { parent: process.ppid },
}).unref();

let model: LoadedModel | undefined;

process.on("message", (message: EngineRequest) => {
  answer(message).then(reply, (error: unknown) => reply({ type: "failed", error: flattenError(error) }));
});

async function answer(message: EngineRequest): Promise<EngineReply> {
  if (message.type === "load") {
    model = await load(message.request);
    return { type: "loaded", execution: model.execution };
  }
  if (!model) throw new SluiceError("bug", "compute was asked for before load");
  const { job, spool } = message;
  const result = await computeIntoFile(model, job, spool, (tokens) => reply({ type: "progress", tokens }));
  return { type: "computed", result };
}

async function load(request: LoadRequest): Promise<LoadedModel> {
  const checkpoint = await openModel(request.model, request.adapter);
  const graph = buildGraph(checkpoint, {
    taps: request.taps,
    selection: request.selection,
    tapDType: request.tapDType,
  });
  return createEngine(request.engine, request).load(graph, checkpoint.weights);
}

function reply(message: EngineReply): void {
  if (process.connected) process.send?.(message);
}
