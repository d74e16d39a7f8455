// The compiled programs of a graph, by shape of batch and device. The ones that were used last are kept; all that were ever
// compiled on this machine lie on its disk (pjrt/executable-cache.ts).

import { bytesOf } from "../base/dtype.js";
import type { Graph } from "../graph/graph.js";
import {
  type HloOutput,
  type HloParameter,
  type HloShape,
  lowerToStableHlo,
  parametersOf,
} from "../graph/stablehlo.js";
import type { Weights } from "../graph/weights.js";
import { compileCached } from "./pjrt/executable-cache.js";
import type { Client, Device, Executable } from "./pjrt/pjrt.js";

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
  readonly #graph: Graph;
  readonly #weights: Weights;
  readonly #compute: "float32" | "bfloat16";
  /** By device and shape; the one that was used last comes last. */
  readonly #programs = new Map<string, Promise<XlaProgram>>();
  /** By shape: its compilation for the first device that asked. The others load what that leaves on the disk. */
  readonly #first = new Map<string, Promise<unknown>>();

  constructor(client: Client, graph: Graph, weights: Weights, compute: "float32" | "bfloat16") {
    this.#client = client;
    this.#graph = graph;
    this.#weights = weights;
    this.#compute = compute;
    this.parameters = parametersOf(graph, weights, compute);
    const reduce = graph.nodes.find((node) => node.op === "reduceRows");
    this.selection = reduce?.op === "reduceRows" ? reduce.kind : "rows";
  }

  /** The program of a shape on a device. @throws PjrtError where the plug-in cannot compile it. */
  find(shape: HloShape, device: Device): Promise<XlaProgram> {
    const name = `${shape.samples} x ${shape.length}, ${shape.rows}`;
    const key = `${device.id}: ${name}`;
    const program = this.#programs.get(key) ?? this.#compileInTurn(name, shape, device);
    this.#programs.delete(key);
    this.#programs.set(key, program);
    program.catch(() => this.#programs.delete(key)); // Raised to whoever asked; the next one tries again.
    this.#dropOldest();
    return program;
  }

  /** Bytes of an output, padding included. */
  bytesOf(output: HloOutput | undefined): number {
    return output ? output.rows * output.width * bytesOf(output.dtype) : 0;
  }

  /** Releases all programs; none may be in use. */
  async release(): Promise<void> {
    const programs = await Promise.allSettled(this.#programs.values());
    this.#programs.clear();
    for (const program of programs) if (program.status === "fulfilled") program.value.executable.release();
  }

  #compileInTurn(name: string, shape: HloShape, device: Device): Promise<XlaProgram> {
    const first = this.#first.get(name);
    if (first)
      return first.then(
        () => this.#compile(shape, device),
        () => this.#compile(shape, device),
      );
    const program = this.#compile(shape, device);
    this.#first.set(name, program);
    return program;
  }

  async #compile(shape: HloShape, device: Device): Promise<XlaProgram> {
    const { text, inputs, outputs } = lowerToStableHlo(this.#graph, this.#weights, {
      shape,
      compute: this.#compute,
    });
    const { executable } = await compileCached(this.#client, {
      text,
      parameters: [...inputs, ...this.parameters].map(({ dtype, shape }) => ({ dtype, shape })),
      outputs: outputs.map(({ dtype, rows, width }) => ({ dtype, shape: [rows, width] })),
      devices: [device],
    });
    return { executable, outputs };
  }

  #dropOldest(): void {
    const [oldest] = this.#programs;
    if (!oldest || this.#programs.size <= KEPT * this.#client.devices.length) return;
    this.#programs.delete(oldest[0]);
    // An execution under way keeps what it needs.
    oldest[1].then(({ executable }) => executable.release()).catch(() => {});
  }
}
