// The public API: what programs may import from "sluice". The command line is built on the same functions.

export { type ErrorKind, isSluiceError, SluiceError } from "./base/errors.js";
export { openShardSamples, type ShardSamples } from "./read/find-samples.js";
export { openRunForReading, type ReadableRun } from "./read/open-run.js";
export { type Activations, readActivations } from "./read/read-activations.js";
export { readTensor } from "./read/read-tensor.js";
export { type VerifyReport, verifyRun } from "./read/verify.js";
export type { Commit } from "./run/commit.js";
export { type ExtractReporter, type ExtractResult, extract } from "./run/extract.js";
export type { ExtractOptions } from "./run/extract-options.js";
export type { Store } from "./store/store.js";
export { openStore } from "./store/stores.js";
