// The engine's child process, seen from the worker. The engine lives in a process of its own so that the worker can
// always leave (Node cannot exit while one of its threads is inside a native call), sees when an engine dies, and keeps
// its heartbeat going while a batch takes a minute.

import { type ChildProcess, fork } from "node:child_process";
import { dirname } from "node:path";
import { entryPoint } from "../base/entry.js";
import { type PlainError, reviveError } from "../base/error-transfer.js";
import { isSluiceError, messageOf, SluiceError } from "../base/errors.js";
import type { Execution } from "../engine/engine.js";
import { explainDiskError } from "../store/disk-errors.js";
import type { UnitJob, UnitResult } from "./compute-unit.js";

/** What the child needs to load a model. Plain data: it crosses a process boundary. */
export interface LoadRequest {
  readonly engine: string;
  readonly threads: number;
  readonly weights: "packed" | "mapped";
  /** What matrix products read; float32 where left out. */
  readonly compute?: "float32" | "bfloat16";
  /** The library of a PJRT plug-in; null or left out for engines that need none. */
  readonly plugin?: string | null;
  /** Devices that share the model; 1 where left out. */
  readonly tensorParallel?: number;
  /** The checkpoint's folder, or its GGUF file. */
  readonly model: string;
  /** The folder of an adapter to be merged into it. */
  readonly adapter: string | null;
  /** Hook names, in the order of the shard's tensors. */
  readonly taps: readonly string[];
  readonly selection: "rows" | "mean" | "max";
  readonly tapDType: "float32" | "bfloat16";
}

/** Computes units: one model on one machine. A failed `compute` is an {@link EngineFailure}; `start` again before the next. */
export interface UnitRunner {
  /** Loads the model; no-op where it is loaded. @throws SluiceError as loading does. */
  start(): Promise<Execution>;
  /** Computes one unit's rows into the spool file, after `start`. `onProgress` gets the tokens computed so far. */
  compute(job: UnitJob, spool: string, onProgress?: (tokens: number) => void): Promise<UnitResult>;
  /** Ends it at once, also in the middle of a batch. A `compute` under way rejects. */
  stop(): Promise<void>;
}

/** The engine raised or died on a unit. Counted against the unit, unlike a pre-emption. */
export class EngineFailure extends Error {
  constructor(message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "EngineFailure";
  }
}

/** Messages to the child. */
export type EngineRequest =
  | { readonly type: "load"; readonly request: LoadRequest }
  | { readonly type: "compute"; readonly job: UnitJob; readonly spool: string };

/** Messages from the child. */
export type EngineReply =
  | { readonly type: "loaded"; readonly execution: Execution }
  | { readonly type: "progress"; readonly tokens: number }
  | { readonly type: "computed"; readonly result: UnitResult }
  | { readonly type: "failed"; readonly error: PlainError };

/** A {@link UnitRunner} in a child process (`engine-main.ts`). */
export class EngineProcess implements UnitRunner {
  readonly #request: LoadRequest;
  #child: ChildProcess | undefined;
  #execution: Promise<Execution> | undefined;
  #settle: { resolve(reply: EngineReply): void; reject(error: Error): void } | undefined;
  #onProgress: ((tokens: number) => void) | undefined;
  #stderr = "";
  #loadSeconds = 0;

  constructor(request: LoadRequest) {
    this.#request = request;
  }

  /** Seconds that the last loading took, the process's start included; 0 before. */
  get loadSeconds(): number {
    return this.#loadSeconds;
  }

  start(): Promise<Execution> {
    this.#execution ??= this.#load();
    return this.#execution;
  }

  async compute(job: UnitJob, spool: string, onProgress?: (tokens: number) => void): Promise<UnitResult> {
    // Stopped since it was started: to load the model again would ignore whoever asked it to stop.
    if (!this.#execution) throw new EngineFailure("the engine was stopped");
    await this.#execution;
    this.#onProgress = onProgress;
    try {
      const reply = await this.#ask({ type: "compute", job, spool });
      if (reply.type === "computed") return reply.result;
      if (reply.type !== "failed")
        throw new SluiceError("bug", `the engine answered ${reply.type} to compute`);
      throw asComputeError(reply.error, spool);
    } finally {
      this.#onProgress = undefined;
    }
  }

  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    this.#execution = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGKILL");
    await gone;
  }

  async #load(): Promise<Execution> {
    const started = performance.now();
    const child = fork(entryPoint(import.meta.url, "./engine-main.js"), {
      serialization: "advanced",
      execArgv: [],
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    this.#child = child;
    this.#stderr = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-4096);
    });
    child.on("message", (reply: EngineReply) => {
      if (reply.type === "progress") this.#onProgress?.(reply.tokens);
      else this.#take()?.resolve(reply);
    });
    child.on("error", (error) => this.#take()?.reject(new EngineFailure(error.message, { cause: error })));
    child.on("close", (code, signal) => this.#noteDeath(child, code, signal));
    const reply = await this.#ask({ type: "load", request: this.#request }).catch((error: unknown) => {
      // No unit's fault: nothing has been computed yet.
      throw new SluiceError("config", `the engine cannot load the model: ${messageOf(error)}`, {
        fix: "See whether this machine has the memory for it, and whether the engine runs here at all.",
        cause: error,
      });
    });
    this.#loadSeconds = (performance.now() - started) / 1000;
    if (reply.type === "loaded") return reply.execution;
    await this.stop();
    if (reply.type !== "failed") throw new SluiceError("bug", `the engine answered ${reply.type} to load`);
    const error = reviveError(reply.error);
    throw isSluiceError(error)
      ? error
      : new SluiceError("config", `the engine cannot load the model: ${error.message}`);
  }

  #ask(request: EngineRequest): Promise<EngineReply> {
    const child = this.#child;
    if (!child?.connected) return Promise.reject(new EngineFailure("the engine's process is gone"));
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      child.send(request, (error) => {
        if (error) this.#take()?.reject(new EngineFailure(error.message, { cause: error }));
      });
    });
  }

  #take(): { resolve(reply: EngineReply): void; reject(error: Error): void } | undefined {
    const settle = this.#settle;
    this.#settle = undefined;
    return settle;
  }

  #noteDeath(child: ChildProcess, code: number | null, signal: NodeJS.Signals | null): void {
    if (this.#child === child) {
      this.#child = undefined;
      this.#execution = undefined;
    } else if (this.#child !== undefined) {
      return;
    }
    const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
    const said = this.#stderr.trim().split("\n").at(-1);
    const memory = signal === "SIGKILL" ? " (out of memory?)" : "";
    this.#take()?.reject(
      new EngineFailure(`the engine's process died: ${how}${memory}${said ? `: ${said}` : ""}`),
    );
  }
}

/** A full or failing disk is the worker's trouble, and a bug is ours; anything else that computing raises is the unit's. */
export function asComputeError(plain: PlainError, spool: string): Error {
  const error = reviveError(plain);
  const explained = explainDiskError(error, { disk: dirname(spool), path: spool, flag: "--spool" });
  if (isSluiceError(error, "bug")) return error;
  return isSluiceError(explained, "store") ? explained : new EngineFailure(plain.message, { cause: error });
}
