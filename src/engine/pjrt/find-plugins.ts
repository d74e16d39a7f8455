// Where plug-ins are: named by the environment, installed by `sluice plugins install`, or brought by Python packages (JAX's,
// libtpu), which users of accelerators usually have. Only names are looked at here; nothing is loaded.

import { readdirSync, realpathSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { basename, delimiter, dirname, join } from "node:path";
import { cacheFolder } from "../../base/cache-folder.js";
import { isLibtpu } from "./tpu.js";

/** What a plug-in drives, by its name. */
export type PluginDevice = "cpu" | "cuda" | "tpu";

/** A library that is a plug-in by its name. */
export interface FoundPlugin {
  readonly file: string;
  /** Null where its name does not say. */
  readonly device: PluginDevice | null;
  /** `PJRT_PLUGIN_LIBRARY_PATH`, `TPU_LIBRARY_PATH`, `sluice plugins install`, `Python: FOLDER`, `system`. */
  readonly source: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Libraries within a folder of Python packages; `*` is one name. */
const PYTHON_LIBRARIES = [
  "libtpu/libtpu.so",
  "jax_plugins/*/*.so",
  "lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so",
  "xla_plugins/*/*.so",
];
const SYSTEM_LIBRARIES = ["/lib/libtpu.so", "/usr/lib/libtpu.so", "/usr/local/lib/libtpu.so"];

/** Where `sluice plugins install` puts libraries: a folder each. */
export function pluginsFolder(): string {
  return cacheFolder("plugins");
}

/** All plug-ins, in the order in which they are preferred; each library once. */
export function findPlugins(env: Environment = process.env, home = homedir()): FoundPlugin[] {
  const found: FoundPlugin[] = [];
  const seen = new Set<string>();
  const add = (source: string, files: readonly string[]) => {
    for (const file of files) {
      if (!isFile(file)) continue;
      const path = realpathSync(file);
      if (seen.has(path)) continue;
      seen.add(path);
      found.push({ file, device: deviceOf(file), source });
    }
  };
  for (const place of listOf(env.PJRT_PLUGIN_LIBRARY_PATH))
    add("PJRT_PLUGIN_LIBRARY_PATH", isFile(place) ? [place] : pluginsIn(place));
  if (env.TPU_LIBRARY_PATH) add("TPU_LIBRARY_PATH", [env.TPU_LIBRARY_PATH]);
  add(
    "sluice plugins install",
    namesIn(pluginsFolder())
      .reverse()
      .flatMap((name) => pluginsIn(join(pluginsFolder(), name))),
  );
  for (const folder of pythonFolders(env, home))
    add(
      `Python: ${folder}`,
      PYTHON_LIBRARIES.flatMap((pattern) => expand(folder, pattern.split("/"))),
    );
  add("system", SYSTEM_LIBRARIES);
  return found;
}

/** What the environment's variables name where there is no plug-in: a slip of the pen, or a folder that is gone. */
export function emptyPlaces(
  env: Environment = process.env,
): { readonly variable: string; readonly path: string }[] {
  const places = [
    ...listOf(env.PJRT_PLUGIN_LIBRARY_PATH).map((path) => ({ variable: "PJRT_PLUGIN_LIBRARY_PATH", path })),
    ...(env.TPU_LIBRARY_PATH ? [{ variable: "TPU_LIBRARY_PATH", path: env.TPU_LIBRARY_PATH }] : []),
  ];
  return places.filter(
    ({ variable, path }) =>
      !isFile(path) && (variable === "TPU_LIBRARY_PATH" || !pluginsIn(path).some(isFile)),
  );
}

/** The preferred plug-in for a device; undefined where there is none. */
export function findPluginFor(device: PluginDevice, env: Environment = process.env): FoundPlugin | undefined {
  return findPlugins(env).find((plugin) => plugin.device === device);
}

/** What a library drives, as far as its name and those of its folders tell. */
export function deviceOf(file: string): PluginDevice | null {
  if (isLibtpu(file)) return "tpu";
  const name = [basename(dirname(file)), basename(file)].join("/").toLowerCase();
  if (/cuda|gpu/.test(name)) return "cuda";
  if (/cpu/.test(name)) return "cpu";
  return /tpu/.test(name) ? "tpu" : null;
}

function pluginsIn(folder: string): string[] {
  return namesIn(folder)
    .filter((name) => /^libtpu.*\.so$|pjrt.*\.so$|^xla_.*plugin.*\.so$/.test(name))
    .map((name) => join(folder, name));
}

/** Folders of packages of the active environment, of each Python on the PATH, and of the user. */
function pythonFolders(env: Environment, home: string): string[] {
  const onPath = listOf(env.PATH).filter((folder) => namesIn(folder).some((name) => /^python3?$/.test(name)));
  const prefixes = [env.VIRTUAL_ENV, env.CONDA_PREFIX, ...onPath.map(dirname), join(home, ".local")];
  const folders = prefixes.flatMap((prefix) =>
    prefix
      ? [
          ...expand(prefix, ["lib", "python3.*", "site-packages"]),
          ...expand(prefix, ["lib", "python3.*", "dist-packages"]),
          ...expand(prefix, ["lib", "python3", "dist-packages"]),
        ]
      : [],
  );
  return [...new Set(folders)];
}

/** The paths under a folder that fit a pattern, part by part. */
function expand(folder: string, [part, ...rest]: readonly string[]): string[] {
  if (part === undefined) return [folder];
  if (!part.includes("*")) return expand(join(folder, part), rest).filter((path) => exists(path));
  const pattern = new RegExp(`^${part.replaceAll(".", "\\.").replaceAll("*", ".*")}$`);
  return namesIn(folder)
    .filter((name) => pattern.test(name))
    .sort()
    .reverse()
    .flatMap((name) => expand(join(folder, name), rest));
}

function listOf(paths: string | undefined): string[] {
  return (paths ?? "").split(delimiter).filter((path) => path !== "");
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch {
    return [];
  }
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}
