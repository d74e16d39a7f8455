// What a plug-in says when a call fails: the codes are those of absl::Status.

/** The codes of PJRT errors; the place is the number. */
const CODES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;

/** The name of a code, such as `RESOURCE_EXHAUSTED` (a device out of memory). */
export type PjrtErrorCode = (typeof CODES)[number];

/** A call that the plug-in refused, or work on a device that failed. */
export class PjrtError extends Error {
  /** The function of the C API, such as `PJRT_Client_Compile`. */
  readonly operation: string;
  readonly code: PjrtErrorCode;
  /** The plug-in's own words. */
  readonly reason: string;

  constructor(operation: string, code: number, reason: string) {
    const name = CODES[code] ?? "UNKNOWN";
    super(`${operation}: ${name}: ${reason}`);
    this.name = "PjrtError";
    this.operation = operation;
    this.code = name;
    this.reason = reason;
  }
}
