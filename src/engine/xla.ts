// XLA through a PJRT plug-in: one way to CPUs, GPUs and TPUs. Weights are brought to each device once; a program is compiled
// for each shape of batch, of which there are few (plan/batch-shapes.ts). Batches go to the devices in turn, and the next
// ones are enqueued while the outputs of the last are copied and written.

import { basename } from "node:path";
import { isSluiceError, messageOf, SluiceError } from "../base/errors.js";
import { type Graph, weightsOf } from "../graph/graph.js";
import type { Weights } from "../graph/weights.js";
import { SHAPE_RULE } from "../plan/batch-shapes.js";
import { describeCpu } from "./cpu.js";
import type { Engine, Execution, LoadedModel, TapOutput, TokenBatch } from "./engine.js";
import { storeMadeWeights } from "./made-weights.js";
import { deviceOf } from "./pjrt/find-plugins.js";
import type { Client, Device, DeviceBuffer } from "./pjrt/pjrt.js";
import { openPlugin } from "./pjrt/plugin.js";
import { type HloBatch, padBatch } from "./xla-batch.js";
import { XlaPrograms } from "./xla-programs.js";
import { uploadWeights } from "./xla-weights.js";

/** What the engine is told. */
export interface XlaOptions {
  /** The plug-in's library. */
  readonly plugin: string;
  readonly compute: "float32" | "bfloat16";
  /** CPU plug-in: threads, and devices that it shows (1). */
  readonly threads: number;
  readonly cpuDevices?: number;
}

/** The {@link Engine} on a PJRT plug-in. */
export function xlaEngine(options: XlaOptions): Engine {
  return {
    name: "xla",
    async load(graph: Graph, weights: Weights): Promise<LoadedModel> {
      process.env.NPROC = String(options.threads); // XLA's own variable for the size of its thread pools on a CPU.
      const plugin = await openPlugin(options.plugin);
      const client = await plugin.createClient(isCpu(options) ? { cpuDevices: options.cpuDevices ?? 1 } : {});
      try {
        return await XlaModel.load(client, graph, weights, options);
      } catch (error) {
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
function isCpu({ plugin }: XlaOptions): boolean {
  return deviceOf(plugin) === "cpu";
}

/** A device with the weights on it. */
interface Place {
  readonly device: Device;
  readonly weights: readonly DeviceBuffer[];
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
    const stored = storeMadeWeights(weights, weightsOf(graph));
    const programs = new XlaPrograms(client, graph, stored, options.compute);
    const places: Place[] = [];
    for (const device of client.devices)
      places.push({ device, weights: await uploadWeights(client, device, programs.parameters, stored) });
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
    const { executable, outputs } = await this.#programs.find(padded.shape, place.device);
    const inputs = this.#upload(padded, place.device);
    const results = await executable.execute([[...inputs, ...place.weights]]).finally(() => {
      for (const input of inputs) input.release();
    });
    const buffers = results.outputs[0] ?? [];
    try {
      const copies = buffers.map((buffer, i) =>
        buffer.toHost(take(staging, i, this.#programs.bytesOf(outputs[i]))),
      );
      const copied = await Promise.allSettled(copies);
      await results.done; // What went wrong on the device is said here.
      return outputs.map((output, i) => {
        const copy = copied[i];
        if (copy?.status !== "fulfilled") throw copy?.reason ?? new Error(`no output ${output.name}`);
        const rows = selection === "rows" ? batch.rows.length : batch.samples;
        const bytes = (this.#programs.bytesOf(output) / output.rows) * rows;
        return {
          name: output.name,
          rows,
          width: output.width,
          dtype: output.dtype,
          data: copy.value.subarray(0, bytes),
        };
      });
    } finally {
      for (const buffer of buffers) buffer.release();
    }
  }

  async close(): Promise<void> {
    await this.#client.drain();
    for (const { weights } of this.#places) for (const buffer of weights) buffer.release();
    await this.#programs.release();
    await this.#client.release();
  }

  #upload({ shape, tokens, selector }: HloBatch, device: Device): DeviceBuffer[] {
    const { samples, length } = shape;
    const upload = (values: Int32Array | Float32Array, dims: readonly number[]) =>
      this.#client.upload(
        new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
        { dtype: values instanceof Int32Array ? "int32" : "float32", shape: dims },
        device,
        "copy",
      );
    return [
      upload(tokens, [samples, length]),
      upload(selector, selector instanceof Int32Array ? [shape.rows] : [samples, length]),
    ];
  }
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
  return {
    engine: "xla",
    plugin: basename(plugin.file),
    pjrt: plugin.apiVersion,
    stablehlo: plugin.stablehloVersion ?? "unknown",
    version: platformVersion,
    platform,
    device: kind,
    devices: devices.length,
    compute: options.compute,
    shapes: SHAPE_RULE,
    ...(platform === "cpu" ? { ...describeCpu(), threads: options.threads } : {}),
  };
}
