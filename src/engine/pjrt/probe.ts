// What a plug-in says of itself, asked from a child process: a bad library may end or hang the process that loads it.

import { fork } from "node:child_process";
import { entryPoint } from "../../base/entry.js";

/** Versions of a plug-in. */
export interface PluginVersions {
  /** Of the PJRT C API, such as `0.115`. */
  readonly apiVersion: string;
  /** The newest and the oldest StableHLO that it reads; null where it does not say. */
  readonly stablehloVersion: string | null;
  readonly stablehloMinimum: string | null;
}

/** What the child says: versions, or why there are none. */
export type ProbeReply = PluginVersions | { readonly reason: string };

/** A plug-in that has said nothing after so long is given up. */
const PATIENCE_MS = 20_000;

/** Opens a plug-in in a child process. @returns its versions, or the reason why it cannot be used. Never rejects. */
export function probePlugin(file: string, patienceMs = PATIENCE_MS): Promise<ProbeReply> {
  return new Promise((resolve) => {
    const child = fork(entryPoint(import.meta.url, "./probe-main.js"), [file], {
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    });
    let last: ProbeReply | undefined;
    const timer = setTimeout(() => {
      last = { reason: `it said nothing for ${patienceMs / 1000} s` };
      child.kill("SIGKILL");
    }, patienceMs);
    child.once("message", (reply: ProbeReply) => {
      last ??= reply;
    });
    child.once("error", (error) => {
      last ??= { reason: error.message };
    });
    child.once("exit", (code, signal) => {
      clearTimeout(timer);
      resolve(last ?? { reason: `it ended the process that loaded it (${signal ?? `exit code ${code}`})` });
    });
  });
}
