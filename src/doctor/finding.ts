// What a check found, in words for people and fields for scripts.

import { type ErrorKind, isSluiceError, messageOf } from "../base/errors.js";
import { hideSecrets } from "../base/redact.js";
import { explainSystemError } from "../base/system-errors.js";

/** One line of `sluice doctor`. */
export interface Finding {
  /** `machine`, `environment`, `model`, `dataset`, `engine`, `store`, `clock`. */
  readonly area: string;
  readonly state: "ok" | "warning" | "failure";
  /** What was checked, and what was found. */
  readonly text: string;
  /** What to do; absent where all is well. */
  readonly fix?: string;
  /** Of a failure: the kind of error that a worker would end with. */
  readonly kind?: ErrorKind;
  /** Numbers for machines. */
  readonly values?: Readonly<Record<string, unknown>>;
}

/** Findings of one area, made shortly. What they quote of the user's may hold credentials: those are left out. */
export function findingsOf(area: string) {
  const make = (state: Finding["state"], text: string, rest: Partial<Finding> = {}): Finding => ({
    area,
    state,
    text: hideSecrets(text),
    ...rest,
  });
  return {
    ok: (text: string, values: Finding["values"] = {}) => make("ok", text, { values }),
    warning: (text: string, fix: string, values: Finding["values"] = {}) =>
      make("warning", text, { fix: hideSecrets(fix), values }),
    failure: (text: string, fix: string, kind: ErrorKind = "config") => make("failure", text, { fix, kind }),
    /** An error that a worker would have met: its message says what to do. Errors of the check's own code are raised again. */
    raised: (what: string, thrown: unknown): Finding => {
      const error = isSluiceError(thrown) ? thrown : explainSystemError(thrown);
      if (!isSluiceError(error) || error.kind === "bug" || error.kind === "preempted") throw thrown;
      return make("failure", `${what}: ${messageOf(error)}`, { kind: error.kind });
    },
  };
}
