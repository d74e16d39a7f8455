// Opening a plug-in: a shared library with one entry point.

import { realpath } from "node:fs/promises";
import { messageOf, SluiceError } from "../../base/errors.js";
import { PjrtApi } from "./call.js";
import { PjrtClient } from "./client.js";
import { Events } from "./events.js";
import { type Attributes, decodeNamedValues, encodeNamedValues, type NamedValue } from "./named-values.js";
import type { Client, ClientOptions, Plugin } from "./pjrt.js";
import { findTpu, isLibtpu, prepareForLibtpu } from "./tpu.js";

/** absl's log: errors come as PjrtErrors too; what is fatal is still said. */
const LOG_LEVEL_FATAL = "3";

/** One plug-in per file: it is initialised once, and stays. */
const opened = new Map<string, PjrtPlugin>();

/**
 * Loads a plug-in into this process, for good. A library that is none may end the process: `sluice plugins` looks from a child.
 * @throws SluiceError `config` where the file is missing, is no plug-in, or refuses.
 */
export async function openPlugin(file: string): Promise<Plugin> {
  const path = await realpath(file).catch((cause: unknown) => {
    throw refusal(file, cause);
  });
  const known = opened.get(path);
  if (known) return known;
  process.env.TF_CPP_MIN_LOG_LEVEL ??= LOG_LEVEL_FATAL;
  if (isLibtpu(path)) prepareForLibtpu(findTpu());
  // libtpu kills a Node that ends by itself (SIGPROF): by process.exit it ends well.
  if (opened.size === 0) process.once("beforeExit", (code) => process.exit(code));
  try {
    const plugin = new PjrtPlugin(new PjrtApi(path));
    opened.set(path, plugin);
    return plugin;
  } catch (cause) {
    throw refusal(file, cause);
  }
}

class PjrtPlugin implements Plugin {
  readonly file: string;
  readonly apiVersion: string;
  readonly stablehloVersion: string | undefined;
  readonly stablehloMinimum: string | undefined;
  readonly #api: PjrtApi;
  readonly #events: Events;

  constructor(api: PjrtApi) {
    this.#api = api;
    this.#events = new Events(api);
    this.file = api.file;
    this.apiVersion = api.version;
    api.call("PJRT_Plugin_Initialize", {});
    const told = api.call("PJRT_Plugin_Attributes", {});
    const attributes = decodeNamedValues(told.pointer("attributes"), told.number("num_attributes"));
    this.stablehloVersion = versionText(attributes.stablehlo_current_version);
    this.stablehloMinimum = versionText(attributes.stablehlo_minimum_version);
  }

  async createClient(options: ClientOptions = {}): Promise<Client> {
    const { list, count } = encodeNamedValues(namedOptions(options));
    try {
      const args = await this.#events.during(
        this.#api.callOnThread("PJRT_Client_Create", {
          ...(count > 0 ? { create_options: list } : {}),
          num_options: count,
        }),
      );
      return await this.#take(args.pointer("client"));
    } catch (cause) {
      const found = messageOf(cause);
      if (isLibtpu(this.file) && findTpu() === null)
        throw new SluiceError("config", "this machine has no TPU", {
          found: `${this.file} says: ${found}`,
          fix: "Run on a TPU VM, or with --device cpu.",
          cause,
        });
      throw new SluiceError("config", `${this.file} cannot start`, { found, cause });
    }
  }

  /** A client that cannot even say what it is does not keep its devices. */
  async #take(client: bigint): Promise<Client> {
    try {
      return new PjrtClient(this, this.#api, this.#events, client);
    } catch (error) {
      await this.#events.during(this.#api.callOnThread("PJRT_Client_Destroy", { client })).catch(() => {});
      throw error;
    }
  }
}

function namedOptions({
  cpuDevices,
  memoryFraction,
  preallocate,
}: ClientOptions): Record<string, NamedValue> {
  const named: Record<string, NamedValue> = {};
  const check = (name: string, value: number, isRight: boolean) => {
    if (!isRight) throw new SluiceError("bug", `${name} is out of range`, { found: value });
  };
  if (cpuDevices !== undefined) {
    check("cpuDevices", cpuDevices, Number.isSafeInteger(cpuDevices) && cpuDevices >= 1);
    named.cpu_device_count = { type: "int64", value: cpuDevices };
  }
  if (memoryFraction !== undefined) {
    check("memoryFraction", memoryFraction, memoryFraction > 0 && memoryFraction <= 1);
    named.memory_fraction = { type: "float", value: memoryFraction };
  }
  if (preallocate !== undefined) named.preallocate = { type: "bool", value: preallocate };
  return named;
}

function versionText(value: Attributes[string] | undefined): string | undefined {
  return Array.isArray(value) ? value.join(".") : typeof value === "string" ? value : undefined;
}

function refusal(file: string, cause: unknown): SluiceError {
  return new SluiceError("config", `${file} cannot be used as a PJRT plug-in`, {
    found: messageOf(cause),
    expected: "a shared library with the PJRT C API, such as libtpu.so",
    fix: "`sluice plugins` lists those there are, and how to get one.",
    cause,
  });
}
