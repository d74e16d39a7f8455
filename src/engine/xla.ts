// XLA through a PJRT plug-in: one way to CPUs, GPUs and TPUs. Weights are brought to each device once; a program is compiled
// for each shape of batch, of which there are few (plan/batch-shapes.ts). Batches go to the devices in turn, and the next
// ones are enqueued while the outputs of the last are copied and written. Where one device is too small for the model, groups of them
// share it: a group computes one program together, and batches go to the groups in turn.

import { basename } from "node:path";
import { bytesOf } from "../base/dtype.js";
import { isSluiceError, messageOf, SluiceError } from "../base/errors.js";
import type { Graph } from "../graph/graph.js";
import type { HloOutput } from "../graph/stablehlo.js";
import type { Weights } from "../graph/weights.js";
import { SHAPE_RULE } from "../plan/batch-shapes.js";
import { describeCpu } from "./cpu.js";
import { requireDeviceMemory } from "./device-memory.js";
import type { Engine, Execution, LoadedModel, TapOutput, TokenBatch } from "./engine.js";
import { deviceOf } from "./pjrt/find-plugins.js";
import { returnFreedMemory } from "./pjrt/host-memory.js";
import type { Client, Device, DeviceBuffer } from "./pjrt/pjrt.js";
import { openPlugin } from "./pjrt/plugin.js";
import { padBatch, uploadBatch } from "./xla-batch.js";
import { groupDevices } from "./xla-groups.js";
import { XlaPrograms } from "./xla-programs.js";
import { prepareModel } from "./xla-source.js";
import { uploadWeights } from "./xla-weights.js";

/** What the engine is told. */
export interface XlaOptions {
  /** The plug-in's library. */
  readonly plugin: string;
  readonly compute: "float32" | "bfloat16";
  /** CPU plug-in: threads, and devices that it shows (as many as share the model). */
  readonly threads: number;
  readonly cpuDevices?: number;
  /** Devices that share the model, each with a part of the weights (1): a divisor of the machine's devices. */
  readonly tensorParallel?: number;
}

/** The {@link Engine} on a PJRT plug-in. */
export function xlaEngine(options: XlaOptions): Engine {
  return {
    name: "xla",
    async load(graph: Graph, weights: Weights): Promise<LoadedModel> {
      process.env.NPROC = String(options.threads); // XLA's own variable for the size of its thread pools on a CPU.
      const client = await startClient(options);
      try {
        return await XlaModel.load(client, graph, weights, options);
      } catch (error) {
        await client.release().catch(() => {}); // Refused where weights are left on the devices: the process ends with them.
        if (isSluiceError(error)) throw error;
        throw new SluiceError("config", "XLA cannot load the model", {
          found: messageOf(error),
          cause: error,
        });
      }
    },
  };
}

/** `cpu_device_count` is an option of CPU plug-ins alone; others refuse what they do not know. */
async function startClient(options: XlaOptions): Promise<Client> {
  const plugin = await openPlugin(options.plugin);
  const cpuDevices = options.cpuDevices ?? options.tensorParallel ?? 1;
  const client = await plugin.createClient(deviceOf(plugin.file) === "cpu" ? { cpuDevices } : {});
  if (client.platform !== "cpu" || client.devices.length === cpuDevices) return client;
  // A CPU plug-in by another name, which shows as many devices as it likes.
  await client.release();
  return plugin.createClient({ cpuDevices });
}

/** Devices that compute a batch together, and the weights on each. */
interface Place {
  readonly group: readonly Device[];
  readonly weights: readonly (readonly DeviceBuffer[])[];
}

class XlaModel implements LoadedModel {
  readonly execution: Execution;
  readonly ahead: number;
  readonly #client: Client;
  readonly #programs: XlaPrograms;
  readonly #places: readonly Place[];
  /** Host memory of the outputs of each batch under way and of the one that is looked at, in turn; it only grows. */
  readonly #staging: Uint8Array[][];
  #runs = 0;

  static async load(client: Client, graph: Graph, weights: Weights, options: XlaOptions): Promise<XlaModel> {
    const groups = groupDevices(client.devices, options.tensorParallel ?? 1);
    const source = prepareModel(graph, weights, options);
    const programs = new XlaPrograms(client, source);
    requireDeviceMemory(programs.parameters, {
      devices: client.devices.length,
      tensorParallel: groups[0]?.length ?? 1,
      limit: client.devices[0]?.memory()?.limit ?? null,
    });
    const places: Place[] = [];
    for (const group of groups)
      places.push({ group, weights: await uploadWeights(client, group, programs.parameters, source) });
    await returnFreedMemory();
    return new XlaModel(client, programs, places, options);
  }

  constructor(client: Client, programs: XlaPrograms, places: readonly Place[], options: XlaOptions) {
    this.#client = client;
    this.#programs = programs;
    this.#places = places;
    this.ahead = places.length;
    this.#staging = Array.from({ length: this.ahead + 1 }, () => []);
    this.execution = describe(client, options);
  }

  async run(batch: TokenBatch): Promise<readonly TapOutput[]> {
    const turn = this.#runs++;
    const place = this.#places[turn % this.#places.length];
    const staging = this.#staging[turn % this.#staging.length];
    if (!place || !staging) throw new SluiceError("bug", "XLA: there is no device");
    const { selection } = this.#programs;
    const padded = padBatch(batch, selection);
    const { results, outputs } = await this.#programs.use(padded.shape, place.group, async (program) => {
      const inputs = uploadBatch(this.#client, padded, place.group);
      const args = place.weights.map((weights, d) => [...(inputs[d] ?? []), ...weights]);
      const results = await program.executable.execute(args).finally(() => {
        for (const input of inputs.flat()) input.release();
      });
      return { results, outputs: program.outputs };
    });
    try {
      const rows = selection === "rows" ? batch.rows.length : batch.samples;
      const copies = outputs.map((output, i) => {
        const buffers = results.outputs.flatMap((list) => list[i] ?? []);
        return copyRows(output, rows, buffers, take(staging, i, output.rows * rowBytes(output)));
      });
      const copied = await Promise.allSettled(copies);
      await results.done; // What went wrong on the device is said here.
      return outputs.map(({ name, width, dtype }, i) => {
        const copy = copied[i];
        if (copy?.status !== "fulfilled") throw copy?.reason ?? new Error(`no output ${name}`);
        return { name, rows, width, dtype, data: copy.value };
      });
    } finally {
      for (const buffer of results.outputs.flat()) buffer.release();
    }
  }

  async close(): Promise<void> {
    await this.#client.drain();
    for (const { weights } of this.#places) for (const buffer of weights.flat()) buffer.release();
    await this.#programs.release();
    await this.#client.release();
  }
}

/** The first rows of an output: from each device its own, or all from the first. */
async function copyRows(
  output: HloOutput,
  rows: number,
  buffers: readonly DeviceBuffer[],
  target: Uint8Array,
): Promise<Uint8Array> {
  const each = (output.rows / output.parts) * rowBytes(output);
  const wanted = rows * rowBytes(output);
  const holders = buffers.slice(0, output.parts).filter((_, part) => part * each < wanted);
  await Promise.all(
    holders.map((buffer, part) => buffer.toHost(target.subarray(part * each, (part + 1) * each))),
  );
  return target.subarray(0, wanted);
}

function rowBytes({ width, dtype }: HloOutput): number {
  return width * bytesOf(dtype);
}

/** The first bytes of a place that is kept from batch to batch. */
function take(staging: Uint8Array[], i: number, bytes: number): Uint8Array {
  const kept = staging[i];
  if (kept && kept.length >= bytes) return kept.subarray(0, bytes);
  const made = new Uint8Array(new ArrayBuffer(bytes)); // Memory that never moves, however small.
  staging[i] = made;
  return made;
}

function describe({ plugin, platform, platformVersion, devices }: Client, options: XlaOptions): Execution {
  const kind = devices[0]?.kind ?? platform;
  const { tensorParallel = 1 } = options;
  return {
    engine: "xla",
    plugin: basename(plugin.file),
    pjrt: plugin.apiVersion,
    stablehlo: plugin.stablehloVersion ?? "unknown",
    version: platformVersion,
    platform,
    device: kind,
    devices: devices.length,
    ...(tensorParallel > 1 ? { tensor_parallel: tensorParallel } : {}),
    compute: options.compute,
    shapes: SHAPE_RULE,
    ...(platform === "cpu" ? { ...describeCpu(), threads: options.threads } : {}),
  };
}
