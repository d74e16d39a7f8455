// All checks, one after the other: cheap ones first, so that a wrong path is said before anything is uploaded.

import { EXIT_CODES } from "../base/errors.js";
import type { ExtractOptions } from "../run/extract-options.js";
import { defaultSpoolFolder } from "../run/spool-folder.js";
import { schemeOf } from "../store/bucket-uri.js";
import type { Store } from "../store/store.js";
import { checkClock, clockUrl } from "./check-clock.js";
import { checkEngine } from "./check-engine.js";
import { checkEnvironment, checkMachine, checkSpool } from "./check-machine.js";
import { checkDataset, checkModel } from "./check-model.js";
import { checkStore } from "./check-store.js";
import type { Finding } from "./finding.js";

/** What to check. What is undefined is left out. */
export interface DoctorOptions {
  readonly model: string | undefined;
  readonly adapter: string | undefined;
  readonly dataset: string | undefined;
  readonly output: string | undefined;
  readonly spool: string | undefined;
  readonly engine: string;
  /** The library of a PJRT plug-in; null for engines that need none. */
  readonly plugin: string | null;
  readonly threads: number;
  /** The small model that ships with the project. */
  readonly bundledModel: string;
  /** As extract would be told, where model and dataset are known. */
  readonly extract: ExtractOptions | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly open: (uri: string) => Store;
  readonly signal?: AbortSignal | undefined;
}

/** Runs the checks. @throws the signal's reason, once everything is cleaned up. */
export async function* examine(options: DoctorOptions): AsyncGenerator<Finding> {
  const { model, adapter, dataset, output, spool, engine, plugin, threads, bundledModel, env, open, signal } =
    options;
  yield* checkMachine();
  yield* checkEnvironment(env);
  if (spool !== undefined) yield await checkSpool(spool);
  else if (output !== undefined && schemeOf(output) !== undefined)
    yield await checkSpool(defaultSpoolFolder());
  if (model !== undefined) yield* checkModel(model, adapter, { engine, signal });
  if (dataset !== undefined) yield* checkDataset(dataset, options.extract, signal);
  signal?.throwIfAborted();
  yield await checkEngine({ engine, plugin, threads }, bundledModel);
  signal?.throwIfAborted();
  if (output === undefined) return;
  yield await checkClock(clockUrl(output, env), signal);
  yield* checkStore({ output, open, signal });
}

/** The program's exit code: 0 where nothing failed, else that of the worst: what no start of the same command can mend comes first. */
export function exitCodeOf(findings: readonly Finding[]): number {
  const kinds = findings.flatMap(({ state, kind }) => (state === "failure" && kind ? [kind] : []));
  if (kinds.length === 0) return 0;
  return kinds.every((kind) => kind === "store") ? EXIT_CODES.store : EXIT_CODES.config;
}
