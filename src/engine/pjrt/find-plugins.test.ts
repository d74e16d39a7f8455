import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { deviceOf, findPlugins, pluginsFolder } from "./find-plugins.js";

let root = "";
let before: string | undefined;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "sluice-find-plugins-"));
  before = process.env.XDG_CACHE_HOME;
  process.env.XDG_CACHE_HOME = join(root, "cache");
});
afterEach(() => {
  rmSync(root, { recursive: true });
  if (before === undefined) delete process.env.XDG_CACHE_HOME;
  else process.env.XDG_CACHE_HOME = before;
});

function touch(...path: string[]): string {
  const file = join(root, ...path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, "");
  return file;
}

/** Those under the test's own folder: this machine may have others. */
const found = (env: Record<string, string>) =>
  findPlugins(env, join(root, "home"))
    .filter(({ file }) => file.startsWith(root))
    .map(({ file, device, source }) => [file.slice(root.length + 1), device, source]);

it("finds what the environment names first, then the installed ones, then those of Python", () => {
  touch("named", "pjrt_c_api_cpu_plugin.so");
  touch("named", "libunrelated.so");
  touch("tpu", "libtpu.so");
  touch("cache/sluice/plugins/libtpu-0.0.52/libtpu.so");
  touch("cache/sluice/plugins/.half/plugin/libtpu.so");
  touch("venv/bin/python3");
  touch("venv/lib/python3.12/site-packages/jax_plugins/xla_cuda13/xla_cuda_plugin.so");
  touch("home/.local/lib/python3.11/site-packages/libtpu/libtpu.so");
  expect(pluginsFolder()).toBe(join(root, "cache/sluice/plugins"));
  const venv = join(root, "venv/lib/python3.12/site-packages");
  const local = join(root, "home/.local/lib/python3.11/site-packages");
  expect(
    found({
      PJRT_PLUGIN_LIBRARY_PATH: `${join(root, "named")}:${join(root, "absent")}`,
      TPU_LIBRARY_PATH: join(root, "tpu/libtpu.so"),
      PATH: join(root, "venv/bin"),
    }),
  ).toEqual([
    ["named/pjrt_c_api_cpu_plugin.so", "cpu", "PJRT_PLUGIN_LIBRARY_PATH"],
    ["tpu/libtpu.so", "tpu", "TPU_LIBRARY_PATH"],
    ["cache/sluice/plugins/libtpu-0.0.52/libtpu.so", "tpu", "sluice plugins install"],
    [`${venv.slice(root.length + 1)}/jax_plugins/xla_cuda13/xla_cuda_plugin.so`, "cuda", `Python: ${venv}`],
    [`${local.slice(root.length + 1)}/libtpu/libtpu.so`, "tpu", `Python: ${local}`],
  ]);
});

it("names a library once, however many ways lead to it, and takes a file as well as a folder", () => {
  const file = touch("named", "pjrt_c_api_cpu_plugin.so");
  symlinkSync(join(root, "named"), join(root, "also"));
  expect(found({ PJRT_PLUGIN_LIBRARY_PATH: `${file}:${join(root, "also")}` })).toEqual([
    ["named/pjrt_c_api_cpu_plugin.so", "cpu", "PJRT_PLUGIN_LIBRARY_PATH"],
  ]);
  expect(found({})).toEqual([]);
});

it("tells the device by the name", () => {
  expect(deviceOf("/a/jax_plugins/xla_cuda12/xla_cuda_plugin.so")).toBe("cuda");
  expect(deviceOf("/a/xla_cpu_pjrt/xla_cpu_pjrt.so")).toBe("cpu");
  expect(deviceOf("/a/libtpu/libtpu.so")).toBe("tpu");
  expect(deviceOf("/a/pjrt_plugin_other.so")).toBeNull();
});
