// TPUs of this machine, and the environment that libtpu reads before it starts. Sluice runs each host of a slice by itself:
// workers share nothing but the store, so none has to wait for its neighbours, and one that is pre-empted stops nobody else.

import { readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";

/** The TPU of this machine. */
export interface Tpu {
  readonly chips: number;
  /** `v4`, `v5e`, `v5p`, `v6e`, `v7x`, `v3`; null where the machine does not show it. */
  readonly generation: string | null;
}

/** Google's PCI vendor, and its TPUs among its devices (jax/_src/hardware_utils.py). */
const GOOGLE = "0x1ae0";
const GENERATIONS: Readonly<Record<string, string>> = {
  "0x0027": "v3",
  "0x005e": "v4",
  "0x0062": "v5p",
  "0x0063": "v5e",
  "0x006f": "v6e",
  "0x0076": "v7x",
};

/** Chips of one host as libtpu wants them: a box. */
const BOUNDS: Readonly<Record<number, string>> = { 1: "1,1,1", 2: "1,2,1", 4: "2,2,1", 8: "2,4,1" };

/**
 * The chips that this machine has: TPUs on its PCI bus; or device files `/dev/accel0`, `/dev/vfio/0` where its firmware says
 * Google (elsewhere such files belong to others). @param root another root than `/`, for tests.
 */
export function findTpu(root = "/"): Tpu | null {
  const bus = join(root, "sys/bus/pci/devices");
  const generations = namesIn(bus)
    .filter((name) => textOf(join(bus, name, "vendor")) === GOOGLE)
    .map((name) => GENERATIONS[textOf(join(bus, name, "device"))])
    .filter((generation) => generation !== undefined);
  if (generations.length > 0) return { chips: generations.length, generation: generations[0] ?? null };
  if (!/google/i.test(textOf(join(root, "sys/class/dmi/id/product_name")))) return null;
  const accel = namesIn(join(root, "dev")).filter((name) => /^accel\d+$/.test(name)).length;
  const vfio = namesIn(join(root, "dev/vfio")).filter((name) => /^\d+$/.test(name)).length;
  return accel + vfio > 0 ? { chips: accel || vfio, generation: null } : null;
}

/** Whether a library is libtpu. */
export function isLibtpu(file: string): boolean {
  return /^libtpu.*\.so/.test(basename(file));
}

/**
 * What libtpu must find in its environment to take this host's chips and wait for nobody. TPU_WORKER_ID and WORKER_ID, which
 * mean Sluice's worker and the stream it begins with, mean the place in the slice to libtpu: one host has place 0.
 * Undefined: to be removed. Both spellings of each variable are set, for older and newer versions.
 */
export function tpuEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  tpu: Tpu | null,
): Record<string, string | undefined> {
  // Without it, libtpu asks the cloud's metadata service, for minutes where there is none.
  const apart = { TPU_SKIP_MDS_QUERY: env.TPU_SKIP_MDS_QUERY ?? "1" };
  if (env.SLUICE_TPU_TOPOLOGY === "keep") return apart;
  const visible = env.TPU_VISIBLE_CHIPS || env.TPU_VISIBLE_DEVICES;
  const chips = visible ? visible.split(",").length : (tpu?.chips ?? 1);
  const bounds = BOUNDS[chips] ?? `1,${chips},1`;
  const betweenSlices = Object.keys(env).filter((name) => name.startsWith("MEGASCALE_"));
  return {
    ...apart,
    TPU_WORKER_ID: "0",
    WORKER_ID: undefined,
    CLOUD_TPU_TASK_ID: undefined,
    TPU_WORKER_HOSTNAMES: "localhost",
    TPU_PROCESS_BOUNDS: "1,1,1",
    TPU_HOST_BOUNDS: "1,1,1",
    TPU_CHIPS_PER_PROCESS_BOUNDS: bounds,
    TPU_CHIPS_PER_HOST_BOUNDS: bounds,
    TPU_PROCESS_ADDRESSES: undefined,
    ...Object.fromEntries(betweenSlices.map((name) => [name, undefined])),
  };
}

/** Sets this process's own environment: Node writes it through to the C library's, which libtpu reads. */
export function prepareForLibtpu(tpu: Tpu | null): void {
  for (const [name, value] of Object.entries(tpuEnvironment(process.env, tpu))) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function textOf(file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch {
    return "";
  }
}
