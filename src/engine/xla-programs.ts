// The compiled programs of a graph, by shape of batch and group of devices. The ones that were used last are kept, as many as fit into
// a bound of bytes; all that were ever compiled on this machine lie on its disk (pjrt/executable-cache.ts), from where loading takes a
// fraction of the time.

import {
  type HloOutput,
  type HloParameter,
  type HloShape,
  lowerToStableHlo,
  parametersOf,
} from "../graph/stablehlo.js";
import { compileCached } from "./pjrt/executable-cache.js";
import { returnFreedMemory } from "./pjrt/host-memory.js";
import type { Client, Device, Executable } from "./pjrt/pjrt.js";
import type { XlaModelSource } from "./xla-source.js";
import { shapeOnDevice } from "./xla-weights.js";

/** Programs of one device at most, where it is an accelerator: they lie in its own memory, and it waits while one is loaded. */
const KEPT = 48;
/** What a CPU's programs may take, those apart that are in use; and what of it is free while one is loaded, which takes twice its size. */
const KEPT_BYTES = 256 * 2 ** 20;
const LOADING_BYTES = 128 * 2 ** 20;
/**
 * What a program takes of a process's memory, for each byte that it has on the disk: XLA's description of it, which is kept, is many
 * times what is serialised. Of Qwen2.5-0.5B's shape (24 layers): 25 MiB for 64 tokens, 78 for 2,048.
 */
const MEMORY_PER_BYTE = 27;

/** A program of one shape. */
export interface XlaProgram {
  readonly executable: Executable;
  readonly outputs: readonly HloOutput[];
}

/** A program, and the bytes of memory that it takes. */
type SizedProgram = XlaProgram & { readonly bytes: number };

/** A program that is kept. */
interface Entry {
  readonly program: Promise<XlaProgram>;
  /** Executions that were asked for and have not begun yet: a program is not released under them. */
  users: number;
  /** Bytes of memory; 0 before it is there, and where it is not on the disk: to compile it again would take seconds. */
  bytes: number;
}

/** Compiles what is asked for, once. */
export class XlaPrograms {
  /** The weights, as every program takes them after the batch's two arguments. */
  readonly parameters: readonly HloParameter[];
  readonly selection: "rows" | "mean" | "max";
  readonly #client: Client;
  readonly #source: XlaModelSource;
  /** By group of devices and shape; the one that was used last comes last. */
  readonly #programs = new Map<string, Entry>();
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

  /**
   * Calls `work` with the program of a shape on the devices that share it: it is not released before that has ended.
   * @throws PjrtError where the plug-in cannot compile it, and what `work` throws.
   */
  async use<T>(
    shape: HloShape,
    group: readonly Device[],
    work: (program: XlaProgram) => Promise<T>,
  ): Promise<T> {
    const entry = this.#find(shape, group);
    entry.users += 1;
    try {
      return await work(await entry.program);
    } finally {
      entry.users -= 1;
      this.#dropOldest();
    }
  }

  /** Releases all programs; none may be in use. */
  async release(): Promise<void> {
    const programs = await Promise.allSettled(Array.from(this.#programs.values(), ({ program }) => program));
    this.#programs.clear();
    for (const program of programs) if (program.status === "fulfilled") program.value.executable.release();
  }

  #find(shape: HloShape, group: readonly Device[]): Entry {
    const name = `${shape.samples} x ${shape.length}, ${shape.rows}`;
    const key = `${group[0]?.id}: ${name}`;
    const known = this.#programs.get(key);
    if (known) {
      this.#programs.delete(key);
      this.#programs.set(key, known);
      return known;
    }
    const compiled = this.#compileInTurn(name, shape, group);
    const entry: Entry = { program: compiled, users: 0, bytes: 0 };
    this.#programs.set(key, entry);
    compiled.then(
      ({ bytes }) => {
        entry.bytes = bytes;
        this.#dropOldest();
        return returnFreedMemory();
      },
      () => this.#programs.delete(key), // Raised to whoever asked; the next one tries again.
    );
    return entry;
  }

  #compileInTurn(name: string, shape: HloShape, group: readonly Device[]): Promise<SizedProgram> {
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

  async #compile(shape: HloShape, group: readonly Device[]): Promise<SizedProgram> {
    await this.#makeRoom();
    const { graph, shapes, compute, plan } = this.#source;
    const { text, inputs, outputs } = lowerToStableHlo(graph, shapes, { shape, compute, plan });
    const weights = this.parameters.map((parameter) => ({
      dtype: parameter.dtype,
      shape: shapeOnDevice(parameter, group.length),
    }));
    const { executable, bytes } = await compileCached(this.#client, {
      text,
      parameters: [...inputs, ...weights],
      outputs: outputs.map(({ dtype, rows, parts, width }) => ({ dtype, shape: [rows / parts, width] })),
      partitions: group.length,
      devices: group,
    });
    return { executable, outputs, bytes: (bytes ?? 0) * MEMORY_PER_BYTE };
  }

  /** Before a program is loaded: by a thread that takes from an arena of its own, and not of what others have left in theirs. */
  async #makeRoom(): Promise<void> {
    const released = this.#dropOldest(KEPT_BYTES - LOADING_BYTES);
    await Promise.all(released);
    if (released.length > 0) await returnFreedMemory();
  }

  /** Releases what is beyond the bounds and not in use. @returns their ends; never rejected. */
  #dropOldest(limit = KEPT_BYTES): Promise<void>[] {
    const isCpu = this.#client.platform === "cpu";
    const groups = this.#client.devices.length / (this.#source.plan?.chips ?? 1);
    let bytes = 0;
    const released: Promise<void>[] = [];
    for (const entry of this.#programs.values()) bytes += entry.bytes;
    for (const [key, { program, users, bytes: own }] of this.#programs) {
      const areTooMany = this.#programs.size > KEPT * groups;
      if (!areTooMany && !(isCpu && bytes > limit)) break;
      if (users > 0 || (!areTooMany && own === 0)) continue;
      this.#programs.delete(key);
      bytes -= own;
      // An execution under way keeps what it needs.
      released.push(program.then(({ executable }) => executable.release()).catch(() => {}));
    }
    return released;
  }
}
