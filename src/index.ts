// The public API: what programs may import from "sluice". The command line is built on the same functions.

export { type ErrorKind, isSluiceError, SluiceError } from "./base/errors.js";
export { openRunForReading, type ReadableRun } from "./read/open-run.js";
export { readTensor } from "./read/read-tensor.js";
export { type VerifyReport, verifyRun } from "./read/verify.js";
export { type ExtractReporter, type ExtractResult, extract } from "./run/extract.js";
export type { ExtractOptions } from "./run/extract-options.js";
