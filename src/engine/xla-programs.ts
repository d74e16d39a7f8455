// The compiled programs of a graph, by shape of batch and group of devices. The ones that were used last are kept; all that were ever
// compiled on this machine lie on its disk (pjrt/executable-cache.ts).

import {
  type HloOutput,
  type HloParameter,
  type HloShape,
  lowerToStableHlo,
  parametersOf,
} from "../graph/stablehlo.js";
import { compileCached } from "./pjrt/executable-cache.js";
import type { Client, Device, Executable } from "./pjrt/pjrt.js";
import type { XlaModelSource } from "./xla-source.js";
import { shapeOnDevice } from "./xla-weights.js";

/** Programs of one device at most: an accelerator's lie in its own memory. */
const KEPT = 48;

/** A program of one shape. */
export interface XlaProgram {
  readonly executable: Executable;
  readonly outputs: readonly HloOutput[];
}

/** Compiles what is asked for, once. */
export class XlaPrograms {
  /** The weights, as every program takes them after the batch's two arguments. */
  readonly parameters: readonly HloParameter[];
  readonly selection: "rows" | "mean" | "max";
  readonly #client: Client;
  readonly #source: XlaModelSource;
  /** By group of devices and shape; the one that was used last comes last. */
  readonly #programs = new Map<string, Promise<XlaProgram>>();
  /** By shape: its compilation for the first group that asked. The others load what that leaves on the disk. */
  readonly #first = new Map<string, Promise<unknown>>();

  constructor(client: Client, source: XlaModelSource) {
    const { graph, shapes } = source;
    this.#client = client;
    this.#source = source;
    this.parameters = parametersOf(graph, shapes, source);
    const reduce = graph.nodes.find((node) => node.op === "reduceRows");
    this.selection = reduce?.op === "reduceRows" ? reduce.kind : "rows";
  }

  /** The program of a shape on the devices that share it. @throws PjrtError where the plug-in cannot compile it. */
  find(shape: HloShape, group: readonly Device[]): Promise<XlaProgram> {
    const name = `${shape.samples} x ${shape.length}, ${shape.rows}`;
    const key = `${group[0]?.id}: ${name}`;
    const program = this.#programs.get(key) ?? this.#compileInTurn(name, shape, group);
    this.#programs.delete(key);
    this.#programs.set(key, program);
    program.catch(() => this.#programs.delete(key)); // Raised to whoever asked; the next one tries again.
    this.#dropOldest();
    return program;
  }

  /** Releases all programs; none may be in use. */
  async release(): Promise<void> {
    const programs = await Promise.allSettled(this.#programs.values());
    this.#programs.clear();
    for (const program of programs) if (program.status === "fulfilled") program.value.executable.release();
  }

  #compileInTurn(name: string, shape: HloShape, group: readonly Device[]): Promise<XlaProgram> {
    const first = this.#first.get(name);
    if (first)
      return first.then(
        () => this.#compile(shape, group),
        () => this.#compile(shape, group),
      );
    const program = this.#compile(shape, group);
    this.#first.set(name, program);
    return program;
  }

  async #compile(shape: HloShape, group: readonly Device[]): Promise<XlaProgram> {
    const { graph, shapes, compute, plan } = this.#source;
    const { text, inputs, outputs } = lowerToStableHlo(graph, shapes, { shape, compute, plan });
    const weights = this.parameters.map((parameter) => ({
      dtype: parameter.dtype,
      shape: shapeOnDevice(parameter, group.length),
    }));
    const { executable } = await compileCached(this.#client, {
      text,
      parameters: [...inputs, ...weights],
      outputs: outputs.map(({ dtype, rows, parts, width }) => ({ dtype, shape: [rows / parts, width] })),
      partitions: group.length,
      devices: group,
    });
    return { executable, outputs };
  }

  #dropOldest(): void {
    const [oldest] = this.#programs;
    const groups = this.#client.devices.length / (this.#source.plan?.chips ?? 1);
    if (!oldest || this.#programs.size <= KEPT * groups) return;
    this.#programs.delete(oldest[0]);
    // An execution under way keeps what it needs.
    oldest[1].then(({ executable }) => executable.release()).catch(() => {});
  }
}
