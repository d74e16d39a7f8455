// Brings a plug-in from the Python index into Sluice's cache: the library alone, complete or not at all.

import { randomUUID } from "node:crypto";
import { mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SluiceError } from "../base/errors.js";
import { type PluginDevice, pluginsFolder } from "../engine/pjrt/find-plugins.js";
import { type DownloadProgress, downloadWheel, type PythonPackage } from "../hub/python-index.js";
import { unpackLibrary } from "../hub/wheel.js";

/** The package of each plug-in, in the version that Sluice is tested with (CUDA: written to the same interface), and its library. */
export const PLUGIN_PACKAGES: Readonly<Record<PluginDevice, PythonPackage & { readonly library: string }>> = {
  cpu: { name: "lammps-jax-pjrt-cpu", version: "0.11.2", library: "pjrt_c_api_cpu_plugin.so" },
  cuda: { name: "jax-cuda13-pjrt", version: "0.11.2", library: "xla_cuda_plugin.so" },
  tpu: { name: "libtpu", version: "0.0.52", library: "libtpu.so" },
};

/** What was installed. */
export interface InstalledPlugin {
  readonly file: string;
  readonly package: string;
  readonly version: string;
  /** Of the wheel; null where it was there already. */
  readonly sha256: string | null;
}

/**
 * Installs a plug-in, unless it is there. @param version another than the tested one.
 * @throws SluiceError `config`, `data` or `store` as the download and the archive say it; nothing is left behind then.
 */
export async function installPlugin(
  device: PluginDevice,
  version: string | undefined,
  onProgress: DownloadProgress,
): Promise<InstalledPlugin> {
  const { name, library, ...tested } = PLUGIN_PACKAGES[device];
  const wanted = { name, version: version ?? tested.version };
  if (!/^[0-9A-Za-z.+!]+$/.test(wanted.version))
    throw new SluiceError("usage", "that is no version of a Python package", { found: wanted.version });
  const folder = join(pluginsFolder(), `${name}-${wanted.version}`);
  const file = join(folder, library);
  const done = { file, package: name, version: wanted.version };
  if ((await stat(file).catch(() => null))?.isFile()) return { ...done, sha256: null };
  const temporary = join(pluginsFolder(), `.${randomUUID()}`);
  try {
    await mkdir(join(temporary, "wheel"), { recursive: true, mode: 0o700 });
    const wheel = await downloadWheel(wanted, join(temporary, "wheel"), onProgress);
    const pattern = new RegExp(`^${library.replaceAll(".", "\\.")}$`);
    await mkdir(join(temporary, "plugin"), { mode: 0o700 });
    await unpackLibrary(wheel.file, pattern, join(temporary, "plugin", library));
    const origin = { ...wanted, wheel: wheel.name, sha256: wheel.sha256 };
    await writeFile(join(temporary, "plugin", "origin.json"), `${JSON.stringify(origin)}\n`);
    // Another process may have been quicker: its library is as good.
    await rename(join(temporary, "plugin"), folder).catch(async (error: unknown) => {
      if (!(await stat(file).catch(() => null))?.isFile()) throw error;
    });
    return { ...done, sha256: wheel.sha256 };
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
