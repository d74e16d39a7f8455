// `sluice plugins`: which PJRT plug-ins this machine has, what `--engine auto` makes of them, and how to get one.

import type { Command } from "commander";
import { messageOf, SluiceError } from "../base/errors.js";
import { formatBytes } from "../base/format-bytes.js";
import { chooseEngine, describeTpu, findDevices, type MachineDevices } from "../engine/choose-engine.js";
import { emptyPlaces, type FoundPlugin, type PluginDevice } from "../engine/pjrt/find-plugins.js";
import { type ProbeReply, probePlugin } from "../engine/pjrt/probe.js";
import { type InstalledPlugin, installPlugin, PLUGIN_PACKAGES } from "./install-plugin.js";
import { formatTable, ProgressLine } from "./render.js";

type ProbedPlugin = FoundPlugin & ProbeReply;

/** Adds the command. */
export function registerPlugins(program: Command): void {
  const plugins = program
    .command("plugins")
    .description("PJRT plug-ins for CPU, CUDA and TPU: which there are, and getting one")
    .option("--json", "print one JSON document")
    .addHelpText("after", "\nExample:\n  sluice plugins\n  sluice plugins install tpu")
    .allowExcessArguments()
    .action(async ({ json }: { json?: boolean }, command: Command) => {
      const [word] = command.args;
      if (word !== undefined)
        throw new SluiceError("usage", "sluice plugins has no such command", {
          found: word,
          expected: "install, or nothing: the plug-ins are listed",
        });
      const devices = findDevices();
      const probed = await Promise.all(
        devices.plugins.map(
          async (plugin): Promise<ProbedPlugin> => ({ ...plugin, ...(await probePlugin(plugin.file)) }),
        ),
      );
      const text = json ? JSON.stringify(describeAll(devices, probed)) : render(devices, probed);
      process.stdout.write(`${text}\n`);
    });
  plugins
    .command("install <device>")
    .description(
      "download the plug-in for cpu, cuda or tpu from the Python index, check it, keep its library in the cache",
    )
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nThe index is pip's (PIP_INDEX_URL, pip.conf), else PyPI. DEVICE==VERSION takes\nanother version than the tested one.\n" +
        "\nExample:\n  sluice plugins install tpu\n  sluice plugins install tpu==0.0.50",
    )
    .action(async (wanted: string, _flags: unknown, command: Command) => {
      const { device, version } = parseWanted(wanted);
      const installed = await install(device, version);
      process.stdout.write(
        command.optsWithGlobals<{ json?: boolean }>().json
          ? `${JSON.stringify(installed)}\n`
          : `${installed.sha256 === null ? "already there:" : "installed"} ${installed.file}\n`,
      );
    });
}

function parseWanted(wanted: string): {
  readonly device: PluginDevice;
  readonly version: string | undefined;
} {
  const [device = "", version] = wanted.split("==");
  if (Object.hasOwn(PLUGIN_PACKAGES, device)) return { device: device as PluginDevice, version };
  throw new SluiceError("usage", "there is no such plug-in", {
    found: device,
    expected: Object.keys(PLUGIN_PACKAGES).join(", "),
  });
}

async function install(device: PluginDevice, version: string | undefined): Promise<InstalledPlugin> {
  const { name } = PLUGIN_PACKAGES[device];
  let progress = `${name}: asking the index`;
  const line = new ProgressLine(() => progress);
  try {
    return await installPlugin(device, version, (done, total) => {
      progress = `${name}: ${formatBytes(done)}${total === undefined ? "" : ` of ${formatBytes(total)}`}`;
    });
  } finally {
    line.stop();
  }
}

/** What `--engine auto` takes, or why it takes nothing. */
function choiceOf(
  devices: MachineDevices,
): { engine: string; device: string; note?: string } | { reason: string } {
  try {
    return chooseEngine(devices);
  } catch (error) {
    return { reason: messageOf(error) };
  }
}

function describeAll(devices: MachineDevices, plugins: readonly ProbedPlugin[]): unknown {
  return {
    tpu: devices.tpu,
    cuda_gpus: devices.cudaGpus,
    auto: choiceOf(devices),
    nothing_at: emptyPlaces(),
    plugins: plugins.map(({ file, device, source, ...reply }) => ({
      file,
      device,
      source,
      ...("reason" in reply
        ? { usable: false, reason: reply.reason }
        : {
            usable: true,
            pjrt_api: reply.apiVersion,
            stablehlo: reply.stablehloVersion,
            stablehlo_minimum: reply.stablehloMinimum,
          }),
    })),
  };
}

function render(devices: MachineDevices, plugins: readonly ProbedPlugin[]): string {
  const rows = plugins.map((plugin) => {
    const versions =
      "reason" in plugin
        ? ["-", "-"]
        : [plugin.apiVersion, `${plugin.stablehloMinimum ?? "?"} to ${plugin.stablehloVersion ?? "?"}`];
    return [plugin.device ?? "?", ...versions, plugin.source, plugin.file];
  });
  const choice = choiceOf(devices);
  const machine = [
    devices.tpu ? describeTpu(devices.tpu) : "no TPU",
    devices.cudaGpus > 0 ? `CUDA GPUs: ${devices.cudaGpus}` : "no CUDA GPU",
  ].join(", ");
  return [
    plugins.length > 0
      ? formatTable(["for", "PJRT API", "StableHLO", "found by", "library"], rows)
      : "no PJRT plug-in found: `sluice plugins install cpu`, `cuda` or `tpu` gets one",
    ...plugins.flatMap((plugin) =>
      "reason" in plugin
        ? [
            plugin.reason.includes(plugin.file)
              ? plugin.reason
              : `${plugin.file} cannot be used: ${plugin.reason}`,
          ]
        : [],
    ),
    ...emptyPlaces().map(({ variable, path }) => `${variable} names ${path}, where there is no plug-in`),
    "",
    `this machine: ${machine}`,
    "reason" in choice
      ? `--engine auto: ${choice.reason}`
      : `--engine auto takes ${choice.engine} on ${choice.device}${choice.note ? ` (${choice.note})` : ""}`,
  ].join("\n");
}
