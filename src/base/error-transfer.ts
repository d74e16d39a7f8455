// Errors on their way across a thread or process boundary: structured clone keeps neither class nor extra fields, so
// they travel as plain values and are made again on the other side, with kind, values and message as they were.

import { type ErrorDetails, type ErrorKind, messageOf, SluiceError, systemCode } from "./errors.js";

/** An error as plain data. */
export interface PlainError {
  readonly message: string;
  /** Of a {@link SluiceError}; absent for any other. */
  readonly kind?: ErrorKind;
  readonly values?: ErrorDetails["values"];
  /** A system error's code, such as `ENOSPC`. */
  readonly code?: string;
}

/** The error as plain data; its cause is not carried. */
export function flattenError(error: unknown): PlainError {
  const message = messageOf(error);
  if (error instanceof SluiceError) return { message, kind: error.kind, values: error.details.values };
  const code = systemCode(error);
  return code === undefined ? { message } : { message, code };
}

/** The error again: a {@link SluiceError} where it was one. */
export function reviveError(plain: PlainError): Error {
  if (plain.kind)
    return new SluiceError(plain.kind, plain.message, plain.values ? { values: plain.values } : {});
  return Object.assign(new Error(plain.message), plain.code === undefined ? {} : { code: plain.code });
}
